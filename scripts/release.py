"""Build everything that a release publishes into `dist`: `scripts/release.py [--out FOLDER] [STEP…]`.

memgpt_milvus*.whl            wheels     `pip install --find-links dist memgpt-milvus` installs all of them
memgpt-VERSION.binpb          contracts  descriptor set of the contracts, with comments
memgpt-protos-VERSION.tar.gz  contracts  the contracts, what they import, and the configuration of buf
memgpt-VERSION.openapi.yaml   openapi    OpenAPI document of the JSON behind Envoy
memgpt-go-VERSION.zip         go         module zip of the Go client, as a module proxy serves it
memgpt-milvus-VERSION.tgz     typescript npm package of the TypeScript client
memgpt-milvus-client-VERSION.jar, …-sources.jar  java  the Java client
memgpt-VERSION.cdx.json       materials  bill of materials (CycloneDX 1.6): every dependency, of the clients too
SHA256SUMS                    checksums  of all of them

Without steps, the folder is emptied and all steps run; they need Go, npm, and Maven.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts import materials, openapi

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

_ARCHIVED = ("LICENSE", "buf.yaml", "buf.gen.yaml", "protos", "third_party")
_MAVEN_SOURCES = "org.apache.maven.plugins:maven-source-plugin:3.3.1"

_TOOLS = {"openapi": ("go",), "typescript": ("npm",), "java": ("mvn",), "materials": ("go", "mvn")}
"""Programs that a step needs."""


def _run(*command: str | Path, folder: Path = ROOT) -> str:
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def wheels(dist: Path) -> None:
    """Build a wheel of each distribution."""
    options = ("--all-packages", "--wheel", "--build-constraints", "constraints.txt")
    _run(ROOT / "scripts" / "uv", "build", "--quiet", *options, "--out-dir", dist)
    (dist / ".gitignore").unlink(missing_ok=True)


def contracts(dist: Path) -> None:
    """Compile the contracts to a descriptor set, and pack them."""
    buf = Path(sys.executable).parent / "buf"
    _run(buf, "build", "protos", "--output", dist / f"memgpt-{VERSION}.binpb")
    _archive(dist)


def _archive(dist: Path) -> None:
    """Pack the contracts reproducibly: the same files result in the same bytes."""
    name = f"memgpt-protos-{VERSION}"

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        info.mode = 0o755 if info.isdir() else 0o644
        return info

    with (
        (dist / f"{name}.tar.gz").open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for part in _ARCHIVED:
            tar.add(ROOT / part, f"{name}/{part}", filter=plain)


def openapi_document(dist: Path) -> None:
    """Write the OpenAPI document."""
    openapi.write(dist / f"memgpt-{VERSION}.openapi.yaml", VERSION)


def go(dist: Path) -> None:
    """Zip the Go client as module proxies do (https://go.dev/ref/mod#zip-files): with the license, without dates."""
    prefix = f"{materials.GO_MODULE}@v{VERSION}"
    content = {name: ROOT / "clients" / "go" / name for name in _tracked("clients/go")}
    with zipfile.ZipFile(dist / f"memgpt-go-{VERSION}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, file in sorted({**content, "LICENSE": ROOT / "LICENSE"}.items()):
            packed.writestr(zipfile.ZipInfo(f"{prefix}/{name}"), file.read_bytes(), zipfile.ZIP_DEFLATED)


def typescript(dist: Path) -> None:
    """Build and pack the TypeScript client."""
    with _copied("clients/typescript") as folder:
        modules = ROOT / "clients" / "typescript" / "node_modules"
        if modules.exists():
            (folder / "node_modules").symlink_to(modules)
        else:
            _run("npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", folder=folder)
        shutil.copy(ROOT / "LICENSE", folder)
        _run("npm", "pack", "--silent", "--pack-destination", dist, folder=folder)


def java(dist: Path) -> None:
    """Build the Java client, and pack its sources; in its folder, where Maven compiles only what changed."""
    folder = ROOT / "clients" / "java"
    options = ("--quiet", "--batch-mode", "-DskipTests")
    _run("mvn", *options, "package", f"{_MAVEN_SOURCES}:jar-no-fork", folder=folder)
    for kind in ("", "-sources"):
        shutil.copy(folder / "target" / f"memgpt-milvus-client-{VERSION}{kind}.jar", dist)


def _tracked(folder: str) -> list[str]:
    """Return the files of a folder that belong to the repository, by their paths in it."""
    return _run("git", "ls-files", "-z", folder=ROOT / folder).rstrip("\0").split("\0")


@contextmanager
def _copied(folder: str) -> Iterator[Path]:
    """Yield a copy of a folder, so that a build leaves nothing in the tree."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in _tracked(folder):
            target = Path(scratch) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / folder / name, target)
        yield Path(scratch)


def bill_of_materials(dist: Path) -> None:
    """Write the bill of materials."""
    (dist / f"memgpt-{VERSION}.cdx.json").write_text(json.dumps(materials.document(VERSION), indent=1) + "\n")


def checksums(dist: Path) -> None:
    """Write the checksum of every file."""
    files = sorted(path for path in dist.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (dist / "SHA256SUMS").write_text("".join(lines))


STEPS: Mapping[str, Callable[[Path], None]] = {
    "wheels": wheels,
    "contracts": contracts,
    "openapi": openapi_document,
    "go": go,
    "typescript": typescript,
    "java": java,
    "materials": bill_of_materials,
    "checksums": checksums,
}


def main() -> None:
    """Build the release, or parts of it."""
    parser = argparse.ArgumentParser(description="Build what a release publishes.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER", help="where to; dist by default")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"only these: {', '.join(STEPS)}")
    options = parser.parse_args()
    if unknown := set(options.steps) - STEPS.keys():
        parser.error(f"unknown step: {', '.join(sorted(unknown))}")
    dist: Path = options.out.resolve()
    steps = options.steps or list(STEPS)
    needed = [tool for step in steps for tool in _TOOLS.get(step, ())]
    if missing := [tool for tool in needed if shutil.which(tool) is None]:
        sys.exit(f"release: not installed: {', '.join(dict.fromkeys(missing))}; install them, or name other steps")
    if not options.steps:
        shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True, exist_ok=True)
    for step in steps:
        try:
            STEPS[step](dist)
        except (subprocess.CalledProcessError, openapi.OpenApiError) as error:
            sys.exit(f"release: {step}: {error}")
    print("".join(f"{path}\n" for path in sorted(dist.iterdir())), end="")


if __name__ == "__main__":
    main()
