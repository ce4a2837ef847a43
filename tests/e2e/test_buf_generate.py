"""`buf generate` into an empty folder gives code that compiles in Go, TypeScript and Java."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.support import toolchains
from tests.support.toolchains import CLIENTS, ROOT

_GO_MODULE = "github.com/memgpt-milvus/memgpt-milvus/clients/go"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `buf generate` filled with the plugins of the clients."""
    toolchains.require("go", "node", "npm", "java", "mvn")
    plugins, out = tmp_path_factory.mktemp("plugins"), tmp_path_factory.mktemp("generated")
    for name in ("protoc-gen-go", "protoc-gen-go-grpc"):
        package = f"google.golang.org/{'grpc' if name.endswith('grpc') else 'protobuf'}/cmd/{name}"
        toolchains.run("go", "build", "-modfile=go.tool.mod", "-o", plugins, package, cwd=CLIENTS / "go")
    (plugins / "protoc-gen-es").symlink_to(toolchains.node_modules() / ".bin/protoc-gen-es")
    with toolchains.alone(CLIENTS / "java"):
        toolchains.run("mvn", "-q", "-B", "initialize", cwd=CLIENTS / "java")
        for name in ("protoc", "protoc-gen-grpc-java"):
            shutil.copy(CLIENTS / f"java/target/tools/{name}.exe", plugins / name)
    for name in ("protoc", "protoc-gen-grpc-java"):
        (plugins / name).chmod(0o755)
    buf = Path(sys.executable).with_name("buf")
    toolchains.run(buf, "generate", "--output", out, cwd=ROOT, path=[plugins])
    return out


def test_go(generated: Path) -> None:
    toolchains.go_module(generated / "go", _GO_MODULE)
    toolchains.run("go", "build", "-mod=mod", "./...", cwd=generated / "go")


def test_typescript(generated: Path) -> None:
    folder = generated / "typescript"
    (folder / "node_modules").symlink_to(toolchains.node_modules())
    options = ("--noEmit", "--strict", "--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022")
    tsc = folder / "node_modules/.bin/tsc"
    toolchains.run(tsc, *options, "--skipLibCheck", *sorted(folder.glob("memgpt/**/*.ts")), cwd=folder)


def test_java(generated: Path, tmp_path: Path) -> None:
    dependencies = toolchains.java_class_path(client=False)
    sources = sorted((generated / "java").rglob("*.java"))
    assert sources
    (tmp_path / "sources.txt").write_text("\n".join(map(str, sources)))
    toolchains.run(
        "javac", "-nowarn", "-d", tmp_path, "-cp", dependencies, f"@{tmp_path / 'sources.txt'}", cwd=tmp_path
    )
