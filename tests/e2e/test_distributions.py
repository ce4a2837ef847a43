"""Each distribution works when it is built as a wheel and installed alone outside the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.suite import PAPER, QUESTION

ROOT = Path(__file__).parents[2]
OWN: dict[str, set[str]] = {
    "memgpt_milvus": set(),
    "memgpt_milvus_agent": {"memgpt_agent"},
    "memgpt_milvus_cli": {"memgpt/cli"},
    "memgpt_milvus_client": {"memgpt/client"},
    "memgpt_milvus_config": {"memgpt/config", "memgpt/endpoints"},
    "memgpt_milvus_loader": {"memgpt_loader"},
    "memgpt_milvus_memory": {"memgpt_memory"},
    "memgpt_milvus_protos": {"memgpt/agent", "memgpt/common", "memgpt/loader", "memgpt/memory", "memgpt/tool"},
    "memgpt_milvus_runtime": {"memgpt_runtime"},
}
"""Packages of each wheel: none of another project, and none in two wheels."""


class Installed:
    """An environment with some of the wheels, and the folder that its programs run in."""

    def __init__(self, folder: Path) -> None:
        self.environment = folder / "environment"
        self.work = folder / "work"
        self.work.mkdir()

    def run(self, program: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of its programs without settings from the tests' environment."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("MEMGPT_", "PYTHON"))}
        environ |= {"MEMGPT_HOME": str(self.work / "home"), "COLUMNS": "200", "NO_COLOR": "1"}
        command: list[str | Path] = [self.environment / "bin" / program, *arguments]
        return subprocess.run(
            command, cwd=self.work, env=environ, input=text, capture_output=True, text=True, timeout=180, check=False
        )

    def python(self, code: str) -> str:
        """Return the output of Python code."""
        done = self.run("python", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def has(self, *modules: str) -> set[str]:
        """Return the modules that it can import."""
        code = f"import importlib.util as u; print(*(m for m in {modules!r} if u.find_spec(m)))"
        return set(self.python(code).split())


def uv(*arguments: str | Path) -> None:
    """Run uv with the package index that is configured on this machine."""
    done = subprocess.run([ROOT / "scripts" / "uv", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    uv("build", "--quiet", "--all-packages", "--wheel", "--build-constraints", "constraints.txt", "--out-dir", folder)
    return folder


@pytest.fixture(scope="module")
def install(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Installed]:
    def installed(distribution: str) -> Installed:
        target = Installed(tmp_path_factory.mktemp(distribution))
        python = target.environment / "bin" / "python"
        uv("venv", "--quiet", "--python", sys.executable, target.environment)
        options = ("--quiet", "--python", python, "--find-links", wheels, "--constraints", "constraints.txt")
        uv("pip", "install", *options, distribution)
        return target

    return installed


def test_each_wheel_holds_its_own_packages_and_the_license(wheels: Path) -> None:
    built = {wheel.name.split("-")[0]: wheel for wheel in wheels.glob("*.whl")}
    assert built.keys() == OWN.keys()
    for name, wheel in built.items():
        files = zipfile.ZipFile(wheel).namelist()
        code = [file.split("/") for file in files if ".dist-info/" not in file]
        packages = {"/".join(parts[: 2 if parts[0] == "memgpt" else 1]) for parts in code}
        assert packages == OWN[name], name
        assert any(file.endswith("/LICENSE") for file in files), name
        typed = {file.removesuffix("/py.typed") for file in files if file.endswith("/py.typed")}
        assert typed == OWN[name], name


def test_the_client_brings_the_stubs_and_nothing_of_a_server(install: Callable[[str], Installed]) -> None:
    client = install("memgpt-milvus-client")
    names = client.python("import importlib.metadata as m; print(*(d.name for d in m.distributions()))").split()
    assert set(names) == {
        "googleapis-common-protos",
        "grpcio",
        "memgpt-milvus-client",
        "memgpt-milvus-protos",
        "protobuf",
        "typing_extensions",
    }
    assert client.has("buf", "memgpt_runtime", "memgpt.cli", "memgpt.config") == set()
    imports = (
        "import memgpt.client, memgpt.tool.v1.tool_service_pb2_grpc, memgpt.memory.v1.agent_state_service_pb2_grpc"
    )
    assert client.python(f"{imports}; print(memgpt.client.Reason.AGENT_NOT_FOUND)") == "AGENT_NOT_FOUND\n"


def test_the_command_line_brings_no_service_and_says_how_to_install_one(install: Callable[[str], Installed]) -> None:
    cli = install("memgpt-milvus-cli")
    assert cli.has("memgpt_runtime", "memgpt_agent", "pymilvus", "openai", "protovalidate", "structlog") == set()
    assert cli.run("memgpt", "version").stdout.strip() == "0.1.0"
    refused = cli.run("memgpt", "list", "agents")
    assert refused.returncode == 2
    command = r"pip install memgpt-milvus-memory memgpt-milvus-loader memgpt-milvus-agent"
    assert re.search(command, refused.stderr), refused.stderr


def test_the_tutorial_runs_on_the_whole(install: Callable[[str], Installed]) -> None:
    whole = install("memgpt-milvus")
    assert whole.has("buf") == set()
    assert whole.run("memgpt", "quickstart").returncode == 0
    loaded = whole.run("memgpt", "load", "directory", "--name", "paper", "--input-files", str(PAPER))
    assert loaded.returncode == 0, loaded.stderr
    chat = whole.run("memgpt", "run", "--persona", "memgpt_doc", text=f"/attach paper\n{QUESTION}\n/exit\n")
    assert chat.returncode == 0, chat.stderr
    assert re.search(r"“.*” \(.*p(age|\.) ?\d+", chat.stdout), chat.stdout
