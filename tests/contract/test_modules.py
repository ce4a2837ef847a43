"""What is written about modules holds: maps in docstrings name all of them, and rules on imports cover them."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCTS = ("services", "libs", "clients/cli", "clients/python")

NAMES = r"`+\w+`+(?:(?:, | and )`+\w+`+)*"
ENTRY = re.compile(rf"^(?:[-*|] )?({NAMES})(?=:| )|({NAMES}):", re.MULTILINE)
"""The names at the beginning of a line, and those before a colon."""

BESIDE_OTHERS = {"memgpt_loader.formats"}
"""Packages with many modules of one kind, of which the map names only the others."""


def children(package: Path) -> set[str]:
    names = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    return {name for name in names if not name.startswith("_")}


def docstring(package: Path) -> str:
    return ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""


def mapped(text: str) -> set[str]:
    return {name for match in ENTRY.finditer(text) for name in re.findall(r"`(\w+)`", match[1] or match[2])}


def maps() -> list[Path]:
    packages = [path.parent for product in PRODUCTS for path in (ROOT / product).rglob("__init__.py")]
    return sorted(package for package in packages if len(mapped(docstring(package)) & children(package)) > 1)


@pytest.mark.parametrize("package", maps(), ids=lambda package: package.name)
def test_a_map_names_what_is_there(package: Path) -> None:
    text = docstring(package)
    assert mapped(text) <= children(package), "the map names modules that do not exist"
    if ".".join(package.parts[-2:]) not in BESIDE_OTHERS:
        named = set(re.findall(r"`(\w+)", text))
        assert children(package) <= named, "the map lacks modules"


SERVICES = {
    "memgpt_memory": {"metrics", "rpc", "service"},
    "memgpt_agent": {"metrics", "rpc", "traced_model"},
    "memgpt_loader": {"metrics", "rpc"},
}
"""The services, and the modules of each that may know the transport or the database."""


@pytest.mark.parametrize("service", SERVICES)
def test_every_other_module_is_kept_from_transport_and_database(service: str) -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    kept = {
        module.removeprefix(f"{service}.")
        for contract in tools["importlinter"]["contracts"]
        if contract["type"] == "forbidden" and "grpc" in contract["forbidden_modules"]
        for module in contract["source_modules"]
        if module.startswith(f"{service}.")
    }
    package = ROOT / "services" / service.removeprefix("memgpt_") / service
    assert kept == children(package) - SERVICES[service]
