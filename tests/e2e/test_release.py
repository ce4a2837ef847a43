"""What a release publishes is complete and usable, and its checksums hold."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from memgpt.agent.v1 import agent_service_pb2
from memgpt.loader.v1 import loader_service_pb2
from openapi_spec_validator import validate

from tests.support import toolchains
from tests.support.missing import missing_tool

ROOT = Path(__file__).parents[2]
VERSION = "0.1.0"
GO_MODULE = "github.com/memgpt-milvus/memgpt-milvus/clients/go"


def release(folder: Path, *steps: str) -> None:
    """Build parts of a release."""
    command = [sys.executable, "scripts/release.py", "--out", str(folder), *steps]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All but the wheels, which another test installs, and outside CI the Java client, which takes a minute."""
    for tool in ("go", "npm", "mvn"):
        if shutil.which(tool) is None:
            missing_tool(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("dist")
    java = ("java",) if os.environ.get("CI") else ()
    with toolchains.alone(ROOT / "clients/java"):
        release(folder, "contracts", "openapi", "go", "typescript", *java, "materials", "checksums")
    return folder


def test_it_is_complete_and_its_checksums_hold(dist: Path) -> None:
    expected = {
        f"memgpt-{VERSION}.binpb",
        f"memgpt-protos-{VERSION}.tar.gz",
        f"memgpt-{VERSION}.openapi.yaml",
        f"memgpt-go-{VERSION}.zip",
        f"memgpt-milvus-{VERSION}.tgz",
        f"memgpt-{VERSION}.cdx.json",
    }
    if os.environ.get("CI"):
        expected |= {f"memgpt-milvus-client-{VERSION}.jar", f"memgpt-milvus-client-{VERSION}-sources.jar"}
    assert {path.name for path in dist.iterdir()} == {*expected, "SHA256SUMS"}
    lines = [line.split("  ") for line in (dist / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == expected
    for digest, name in lines:
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest, name


def test_the_descriptor_set_has_comments_and_the_archive_all_contracts(dist: Path) -> None:
    files = FileDescriptorSet.FromString((dist / f"memgpt-{VERSION}.binpb").read_bytes())
    assert any(file.source_code_info.location for file in files.file)
    with tarfile.open(dist / f"memgpt-protos-{VERSION}.tar.gz") as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    contracts = {path.relative_to(ROOT).as_posix() for path in (ROOT / "protos").rglob("*.proto")}
    assert contracts | {"LICENSE", "buf.yaml", "third_party/buf/validate/validate.proto"} <= packed


def test_the_openapi_document_is_valid_and_has_every_method_behind_envoy(dist: Path) -> None:
    document = yaml.safe_load((dist / f"memgpt-{VERSION}.openapi.yaml").read_text())
    validate(document)
    services = [
        module.DESCRIPTOR.services_by_name[name]
        for module, name in ((agent_service_pb2, "AgentService"), (loader_service_pb2, "LoaderService"))
    ]
    methods = {
        f"/{service.full_name}/{method.name}"
        for service in services
        for method in service.methods
        if not method.client_streaming
    }
    assert set(document["paths"]) == methods | {"/memgpt.common.v1.IdentityService/WhoAmI"}
    assert document["info"]["version"] == VERSION
    schemas = document["components"]["schemas"]
    sequence = schemas["memgpt.agent.v1.TurnEvent"]["properties"]["sequence"]
    assert sequence["type"] == "string", "64-bit integers are text in protobuf's JSON"
    assert "code" in schemas["google.rpc.Status"]["properties"]


def test_go_takes_the_module_from_a_proxy(dist: Path, tmp_path: Path) -> None:
    proxy = tmp_path / "proxy" / GO_MODULE / "@v"
    proxy.mkdir(parents=True)
    shutil.copy(dist / f"memgpt-go-{VERSION}.zip", proxy / f"v{VERSION}.zip")
    with zipfile.ZipFile(proxy / f"v{VERSION}.zip") as packed:
        (proxy / f"v{VERSION}.mod").write_bytes(packed.read(f"{GO_MODULE}@v{VERSION}/go.mod"))
    (proxy / f"v{VERSION}.info").write_text(json.dumps({"Version": f"v{VERSION}"}))
    (proxy / "list").write_text(f"v{VERSION}\n")
    settings = {"GOPROXY": f"file://{tmp_path}/proxy", "GONOSUMDB": GO_MODULE, "GOFLAGS": "-modcacherw"}
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{GO_MODULE}@v{VERSION}"],
        cwd=tmp_path,
        env={**os.environ, **settings, "GOMODCACHE": str(tmp_path / "modules")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    module = Path(json.loads(done.stdout)["Dir"])
    assert (module / "LICENSE").exists()
    assert (module / "memgpt" / "agent" / "v1" / "agent_service.pb.go").exists()


def test_the_npm_package_has_what_it_exports(dist: Path) -> None:
    with tarfile.open(dist / f"memgpt-milvus-{VERSION}.tgz") as archive:
        names = set(archive.getnames())
        manifest = archive.extractfile("package/package.json")
        assert manifest is not None
        exports = json.load(manifest)["exports"]
    for export in (exports["."], exports["./node"]):
        assert {f"package/{path.removeprefix('./')}" for path in export.values()} <= names
    assert {"package/LICENSE", "package/README.md", "package/dist/gen/memgpt/agent/v1/agent_service_pb.d.ts"} <= names


@pytest.mark.skipif(not os.environ.get("CI"), reason="takes a minute; runs in CI")
def test_the_jars_have_classes_and_sources(dist: Path) -> None:
    client = "io/memgptmilvus/client/MemGPT"
    for kind, ending in (("", "class"), ("-sources", "java")):
        with zipfile.ZipFile(dist / f"memgpt-milvus-client-{VERSION}{kind}.jar") as packed:
            assert {f"{client}.{ending}", "META-INF/LICENSE"} <= set(packed.namelist())


def test_the_bill_of_materials_names_every_dependency_with_its_hashes(dist: Path) -> None:
    document = json.loads((dist / f"memgpt-{VERSION}.cdx.json").read_text())
    components = {component["bom-ref"]: component for component in document["components"]}
    assert len(components) == len(document["components"]), "each once"
    dependencies = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    for reference, expected in {
        f"pkg:pypi/memgpt-milvus@{VERSION}": {"grpcio", "protobuf", "pymilvus", "pydantic"},
        f"pkg:golang/{GO_MODULE}@v{VERSION}": {"google.golang.org/grpc", "google.golang.org/protobuf"},
        f"pkg:npm/memgpt-milvus@{VERSION}": {"@connectrpc/connect", "@connectrpc/connect-node", "@bufbuild/protobuf"},
        f"pkg:maven/io.memgptmilvus/memgpt-milvus-client@{VERSION}": {"grpc-stub", "protobuf-java", "guava"},
    }.items():
        assert expected <= {components[each]["name"] for each in dependencies[reference]}, reference
        for each in dependencies[reference]:
            (file,) = components[each]["externalReferences"]
            lengths = {"SHA-256": 64, "SHA-512": 128}
            assert file["hashes"], each
            assert all(len(one["content"]) == lengths[one["alg"]] for one in file["hashes"]), each


def test_the_bill_of_materials_has_what_the_clients_declare(dist: Path) -> None:
    """The manifests of the clients, read in another way than the bill is made."""
    document = json.loads((dist / f"memgpt-{VERSION}.cdx.json").read_text())
    purls = {component["purl"] for component in document["components"]}
    go_mod = (ROOT / "clients/go/go.mod").read_text()
    direct = re.findall(r"^\t(\S+) (v\S+)$", go_mod, re.MULTILINE)
    assert direct
    assert {f"pkg:golang/{path}@{version}" for path, version in direct} <= purls
    manifest = json.loads((ROOT / "clients/typescript/package.json").read_text())
    for name in (*manifest["dependencies"], *manifest.get("peerDependencies", ())):
        assert any(purl.startswith(f"pkg:npm/{name.replace('@', '%40')}@") for purl in purls), name
    pom = (ROOT / "clients/java/pom.xml").read_text()
    for declared in re.findall(r"<dependency>(.*?)</dependency>", pom, re.DOTALL):
        group, artifact = (re.search(rf"<{tag}>(.*?)</{tag}>", declared)[1] for tag in ("groupId", "artifactId"))  # type: ignore[index]
        found = any(purl.startswith(f"pkg:maven/{group}/{artifact}@") for purl in purls)
        assert found == ("<scope>test</scope>" not in declared), artifact
