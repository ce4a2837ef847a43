"""Build everything that a release publishes into `dist`.

memgpt_milvus*.whl           a wheel of each distribution; `pip install --find-links dist memgpt-milvus` installs all
memgpt-VERSION.binpb         descriptor set of the contracts, with comments
memgpt-protos-VERSION.tar.gz the contracts, what they import, and the configuration of buf
memgpt-VERSION.cdx.json      bill of materials (CycloneDX 1.6): every dependency with its hashes
SHA256SUMS                   checksums of all of them
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

_ARCHIVED = ("LICENSE", "buf.yaml", "buf.gen.yaml", "protos", "third_party")
_PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^\s;]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def _run(*command: str | Path) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def wheels() -> None:
    """Build a wheel of each distribution."""
    options = ("--all-packages", "--wheel", "--build-constraints", "constraints.txt")
    _run(ROOT / "scripts" / "uv", "build", "--quiet", *options, "--out-dir", DIST)
    (DIST / ".gitignore").unlink(missing_ok=True)


def descriptors() -> None:
    """Compile the contracts to a descriptor set."""
    buf = Path(sys.executable).parent / "buf"
    _run(buf, "build", "protos", "--output", DIST / f"memgpt-{VERSION}.binpb")


def archive() -> None:
    """Pack the contracts reproducibly: the same files result in the same bytes."""
    name = f"memgpt-protos-{VERSION}"

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        info.mode = 0o755 if info.isdir() else 0o644
        return info

    with (
        (DIST / f"{name}.tar.gz").open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for part in _ARCHIVED:
            tar.add(ROOT / part, f"{name}/{part}", filter=plain)


def _components() -> Iterator[dict[str, object]]:
    """Yield the components of a complete installation, from the lock file."""
    options = (
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
        "--generate-hashes",
        "--no-annotate",
        "--no-header",
    )
    pins = _run(
        ROOT / "scripts" / "uv", "pip", "compile", "pyproject.toml", "--constraints", "constraints.txt", *options
    )
    found = list(_PIN.finditer(pins))
    for pin, following in zip(found, [*found[1:], None], strict=True):
        name, version = pin["name"], pin["version"]
        hashes = _HASH.findall(pins, pin.end(), following.start() if following else len(pins))
        reference = f"pkg:pypi/{name}@{version}"
        yield {
            "type": "library",
            "bom-ref": reference,
            "name": name,
            "version": version,
            "purl": reference,
            # One hash for each file that the index has of the package.
            "externalReferences": [
                {
                    "type": "distribution",
                    "url": f"https://pypi.org/project/{name}/{version}/",
                    "hashes": [{"alg": "SHA-256", "content": each} for each in hashes],
                }
            ],
        }


def bill_of_materials() -> None:
    """Write the bill of materials."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": f"pkg:pypi/memgpt-milvus@{VERSION}",
                "name": "memgpt-milvus",
                "version": VERSION,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": list(_components()),
    }
    (DIST / f"memgpt-{VERSION}.cdx.json").write_text(json.dumps(document, indent=1) + "\n")


def checksums() -> None:
    """Write the checksum of every file."""
    files = sorted(path for path in DIST.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (DIST / "SHA256SUMS").write_text("".join(lines))


def main() -> None:
    """Build the release; the previous content of `dist` is removed."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for step in (wheels, descriptors, archive, bill_of_materials, checksums):
        step()
    print("".join(f"dist/{path.name}\n" for path in sorted(DIST.iterdir())), end="")


if __name__ == "__main__":
    main()
