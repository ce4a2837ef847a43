"""The example in the README of each client, run as pasted against a running suite."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import toolchains
from tests.support.edge import Edge
from tests.support.suite import Suite
from tests.support.toolchains import CLIENTS

_GO_MODULE = "github.com/memgpt-milvus/memgpt-milvus/clients/go"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with Suite(tmp_path_factory.mktemp("readmes")) as suite:
        yield suite


@pytest.fixture
def example(suite: Suite) -> Callable[..., str]:
    """A function that returns a block of code of a client's README that talks to the suite."""

    def example(client: str, language: str, number: int = 0) -> str:
        text = (CLIENTS / client / "README.md").read_text(encoding="utf-8")
        block: str = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[number]
        for port, address in (
            (50051, suite.agent_address),
            (50052, suite.memory_address),
            (50053, suite.loader_address),
        ):
            block = block.replace(f"localhost:{port}", address)
        return block

    return example


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A function that checks and runs a program in a project that has installed the client, and returns its output."""
    toolchains.require("node", "npm")
    installed = toolchains.node_modules()
    toolchains.run("npm", "run", "--silent", "build", cwd=CLIENTS / "typescript")
    project = tmp_path_factory.mktemp("project")
    (project / "node_modules").mkdir()
    for package in ("@connectrpc", "@types"):
        (project / "node_modules" / package).symlink_to(installed / package)
    (project / "node_modules/memgpt-milvus").symlink_to(CLIENTS / "typescript")
    (project / "package.json").write_text('{"type": "module"}')

    def run(program: str) -> str:
        (project / "example.ts").write_text(program, encoding="utf-8")
        options = ("--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--skipLibCheck")
        toolchains.run(installed / ".bin/tsc", *options, "example.ts", cwd=project)
        return toolchains.run(
            "node", "--import", (installed / "tsx/dist/esm/index.mjs").as_uri(), "example.ts", cwd=project
        )

    return run


@pytest.mark.parametrize("number", [0, 1], ids=["sync", "async"])
def test_python(example: Callable[..., str], tmp_path: Path, number: int) -> None:
    program = tmp_path / "example.py"
    program.write_text(example("python", "python", number), encoding="utf-8")
    assert _greets(toolchains.run(sys.executable, program, cwd=tmp_path))


def test_go(example: Callable[..., str], tmp_path: Path) -> None:
    toolchains.require("go")
    (tmp_path / "main.go").write_text(example("go", "go"), encoding="utf-8")
    toolchains.go_module(tmp_path, "example")
    toolchains.run("go", "mod", "edit", "-replace", f"{_GO_MODULE}={CLIENTS / 'go'}", cwd=tmp_path)
    assert _greets(toolchains.run("go", "run", "-mod=mod", ".", cwd=tmp_path))


def test_node(example: Callable[..., str], typescript: Callable[[str], str]) -> None:
    assert _greets(typescript(example("typescript", "ts", 0)))


def test_browser(suite: Suite, example: Callable[..., str], typescript: Callable[[str], str], tmp_path: Path) -> None:
    """Node.js has the functions of a browser that gRPC-Web needs."""
    with Edge(tmp_path, agents=[suite.agent_address]) as edge:
        edge.wait_until("agent", 1)
        assert _greets(
            typescript(example("typescript", "ts", 2).replace("https://memgpt.example.org", f"http://{edge.address}"))
        )


def test_java(example: Callable[..., str], tmp_path: Path) -> None:
    toolchains.require("java", "mvn")
    (tmp_path / "Example.java").write_text(example("java", "java"), encoding="utf-8")
    class_path = toolchains.java_class_path(client=True)
    assert _greets(toolchains.run("java", "-cp", class_path, "Example.java", cwd=tmp_path))


def _greets(output: str) -> bool:
    """Whether the agent has said something, and nothing failed."""
    return bool(output.strip()) and "Error" not in output and "REASON" not in output
