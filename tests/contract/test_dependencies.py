"""Each distribution declares the packages that it imports, and no others."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("gen", "libs", "clients", "services")
FOLDERS = [path.parent for part in PARTS for path in sorted(ROOT.glob(f"{part}/*/pyproject.toml"))]
PROVIDERS = packages_distributions()
INDIRECT = {
    "cryptography",  # pypdf: AES
    "wordllama",  # only its weights are read
    "tzdata",  # zoneinfo, where the system has no time zones
}
"""Packages that other packages import if they are installed."""
_OTEL = {"opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc"}
OPTIONAL = {
    "memgpt-milvus-agent": {"tokenizers"},
    "memgpt-milvus-cli": {"pymilvus"},
    "memgpt-milvus-client": _OTEL,
    "memgpt-milvus-loader": {"pillow", "tesserocr"},
    "memgpt-milvus-memory": {"onnxruntime"},
    "memgpt-milvus-runtime": _OTEL,
}
"""Packages that only a setting or an option of a distribution requires, and whose absence has its own error."""


PARTS_OF_MEMGPT = {"cli": "cli", "client": "client", "config": "config", "endpoints": "config"}
"""Distributions of the packages in the namespace `memgpt`; all others are stubs."""


def imported(folder: Path) -> set[str]:
    """Return the full names of the modules that the code in a folder imports."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    return names


def distributions(module: str) -> set[str]:
    """Return the distributions that may provide a module."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return set()
    if top == "memgpt":
        part = module.split(".")[1] if "." in module else ""
        return {f"memgpt-milvus-{PARTS_OF_MEMGPT.get(part, 'protos')}"}
    if top.startswith("memgpt_"):
        return {top.replace("memgpt_", "memgpt-milvus-")}
    if module.startswith("google.rpc"):
        return {"googleapis-common-protos"}
    if top == "google":
        return {"protobuf"}
    return {re.sub(r"[-_.]+", "-", name).lower() for name in PROVIDERS.get(top, [top])}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_it_declares_what_it_imports(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!~;\[ ]", each)[0].lower() for each in project["dependencies"]}
    used = [found for module in imported(folder) if (found := distributions(module) - {project["name"]})]
    optional = OPTIONAL.get(project["name"], set())
    unknown = {frozenset(each) for each in used if not each & (declared | optional)}
    assert not unknown, "imported, but not declared"
    unused = declared - INDIRECT - {name for each in used for name in each}
    assert not unused, "declared, but not imported"


def test_all_versions_are_the_same() -> None:
    texts = [(folder / "pyproject.toml").read_text() for folder in (ROOT, *FOLDERS)]
    version = tomllib.loads(texts[0])["project"]["version"]
    assert {tomllib.loads(text)["project"]["version"] for text in texts} == {version}
    assert {pin for text in texts for pin in re.findall(r'"memgpt-milvus-\w+==([^"]+)"', text)} == {version}
