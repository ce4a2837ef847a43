"""The bill of materials of a release: CycloneDX 1.6, with every dependency of the suite and of each client.

Python's come from the lock file, those of npm from `package-lock.json`, those of Go from the modules of the packages
that the client imports, and those of Java from Maven's resolution. Each has the hashes of the files that its registry
serves.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GO_MODULE = "github.com/memgpt-milvus/memgpt-milvus/clients/go"
MAVEN_GROUP = "io.memgptmilvus"
MAVEN_ARTIFACT = "memgpt-milvus-client"

_PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^\s;]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_ARTIFACT = re.compile(r"^\s*([\w.-]+):([\w.-]+):jar(?::[\w.-]+)?:([\w.-]+):(?:compile|runtime):([^\s]+\.jar)")
"""A line of Maven's list, such as `io.grpc:grpc-stub:jar:1.76.0:compile:/…/grpc-stub-1.76.0.jar -- module io.grpc`."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that is needed.

    Attributes:
        name: Its name; of Maven with its group before a colon.
        version: Its version.
        purl: Its package URL (https://github.com/package-url/purl-spec).
        url: Where its registry has it.
        algorithm: Algorithm of the hashes, by its name in CycloneDX.
        hashes: Hash of each of its files, in hexadecimal digits.
    """

    name: str
    version: str
    purl: str
    url: str
    algorithm: str
    hashes: Sequence[str]

    def component(self) -> dict[str, object]:
        """Return it as a component of CycloneDX."""
        group, _, name = self.name.rpartition(":")
        return {
            "type": "library",
            "bom-ref": self.purl,
            **({"group": group} if group else {}),
            "name": name,
            "version": self.version,
            "purl": self.purl,
            "externalReferences": [
                {
                    "type": "distribution",
                    "url": self.url,
                    "hashes": [{"alg": self.algorithm, "content": each} for each in self.hashes],
                }
            ],
        }


def document(version: str) -> dict[str, object]:
    """Return the bill of materials of a version."""
    clients = {
        f"pkg:golang/{GO_MODULE}@v{version}": list(_go()),
        f"pkg:npm/memgpt-milvus@{version}": list(_npm()),
        f"pkg:maven/{MAVEN_GROUP}/{MAVEN_ARTIFACT}@{version}": list(_maven()),
    }
    root, python = f"pkg:pypi/memgpt-milvus@{version}", list(_python())
    needed = {each.purl: each for group in (python, *clients.values()) for each in group}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _own(root, "application", version)},
        "components": [
            *(_own(purl, "library", version) for purl in clients),
            *(each.component() for each in needed.values()),
        ],
        "dependencies": [
            {"ref": root, "dependsOn": [each.purl for each in python]},
            *({"ref": purl, "dependsOn": [each.purl for each in group]} for purl, group in clients.items()),
        ],
    }


def _own(purl: str, kind: str, version: str) -> dict[str, object]:
    """Return a component of this repository."""
    name = purl.rpartition("@")[0].partition("/")[2]
    return {
        "type": kind,
        "bom-ref": purl,
        "name": name if "golang" in purl else name.rpartition("/")[2],
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def _run(*command: str | Path, folder: Path = ROOT) -> str:
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def _python() -> Iterator[Dependency]:
    """Yield what a complete installation needs, from the lock file."""
    options = (
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
        "--generate-hashes",
        "--no-annotate",
        "--no-header",
    )
    uv = ROOT / "scripts" / "uv"
    pins = _run(uv, "pip", "compile", "pyproject.toml", "--constraints", "constraints.txt", *options)
    found = list(_PIN.finditer(pins))
    for pin, following in zip(found, [*found[1:], None], strict=True):
        name, version = pin["name"], pin["version"]
        hashes = _HASH.findall(pins, pin.end(), following.start() if following else len(pins))
        url = f"https://pypi.org/project/{name}/{version}/"
        yield Dependency(name, version, f"pkg:pypi/{name}@{version}", url, "SHA-256", hashes)


def _npm() -> Iterator[Dependency]:
    """Yield what the TypeScript client needs, from its lock file: not what only its development needs."""
    lock = json.loads((ROOT / "clients" / "typescript" / "package-lock.json").read_text())
    peers = set(lock["packages"][""].get("peerDependencies", ()))
    for path, package in lock["packages"].items():
        name = path.rpartition("node_modules/")[2]
        if not path or (package.get("dev") and name not in peers):
            continue
        version = package["version"]
        algorithm, _, digest = package["integrity"].partition("-")
        purl = f"pkg:npm/{name.replace('@', '%40')}@{version}"
        hashes = [base64.b64decode(digest).hex()]
        url = f"https://registry.npmjs.org/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        yield Dependency(name, version, purl, url, algorithm.upper().replace("SHA", "SHA-"), hashes)


def _go() -> Iterator[Dependency]:
    """Yield the modules of the packages that the Go client imports."""
    folder = ROOT / "clients" / "go"
    template = "{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}}{{end}}{{end}}"
    modules = sorted(set(_run("go", "list", "-deps", "-f", template, "./...", folder=folder).split()))
    decoder, text = json.JSONDecoder(), _run("go", "mod", "download", "-json", *modules, folder=folder)
    position = 0
    while position < len(text.rstrip()):
        module, position = decoder.raw_decode(text, text.index("{", position))
        path, version = module["Path"], module["Version"]
        escaped = re.sub("[A-Z]", lambda letter: f"!{letter[0].lower()}", path)
        digest = hashlib.sha256(Path(module["Zip"]).read_bytes()).hexdigest()
        url = f"https://proxy.golang.org/{escaped}/@v/{version}.zip"
        yield Dependency(path, version, f"pkg:golang/{path}@{version}", url, "SHA-256", [digest])


def _maven() -> Iterator[Dependency]:
    """Yield what the Java client needs at run time."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "dependencies"
        options = (f"-DoutputFile={listed}", "-DoutputAbsoluteArtifactFilename=true", "-DincludeScope=runtime")
        _run("mvn", "--quiet", "--batch-mode", "dependency:list", *options, folder=ROOT / "clients" / "java")
        lines = listed.read_text()
    # Maven marks modules and optional artifacts in colors and words after the file.
    for line in re.sub(r"\x1b\[[0-9;]*m", "", lines).splitlines():
        match = _ARTIFACT.match(line)
        if match is None:
            continue
        group, artifact, version, file = match.groups()
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        url = f"https://repo.maven.apache.org/maven2/{group.replace('.', '/')}/{artifact}/{version}/{Path(file).name}"
        purl = f"pkg:maven/{group}/{artifact}@{version}"
        yield Dependency(f"{group}:{artifact}", version, purl, url, "SHA-256", [digest])


if __name__ == "__main__":
    json.dump(document(sys.argv[1]), sys.stdout, indent=1)
