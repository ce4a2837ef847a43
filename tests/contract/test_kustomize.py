"""Kustomize and Istio say the same as the Helm chart and Envoy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from scripts import envoy
from scripts.kustomize import SECRET, TARGET, files, render

Manifest = dict[str, Any]

VERSIONS = ("1.31", "1.34", "1.37")
CUSTOM = ("monitoring.coreos.com/", "cert-manager.io/", "networking.istio.io/", "security.istio.io/")

ALL = {"credentials.existingSecret": SECRET, "networkPolicy.enabled": "false"}
CASES: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "base": ((), {}),
    "network policies": (("network-policies",), {"networkPolicy.enabled": "true"}),
    "monitoring": (
        ("monitoring",),
        {"metrics.serviceMonitor.enabled": "true", "metrics.prometheusRule.enabled": "true"},
    ),
    "external Milvus": (
        ("external-milvus",),
        {"milvus.uri": "http://milvus.milvus.svc:19530", "milvus.existingSecret": "milvus-token"},
    ),
    "certificates": (
        ("tls",),
        {
            "tls.enabled": "true",
            "tls.existingSecret": "memgpt-tls",
            "tls.clientCertificates": "true",
            "credentials.allowPlaintext": "false",
        },
    ),
    "mesh": (("mesh",), {"server.maxConnectionAge": "0"}),
    "local transformer": (
        ("local-transformer",),
        {
            "embedding.kind": "onnx",
            "embedding.path": "model",
            "embedding.volume.persistentVolumeClaim.claimName": "memgpt-models",
            "embedding.volume.persistentVolumeClaim.readOnly": "true",
        },
    ),
    "text in pictures": (("ocr",), {"loader.ocrLanguages": "eng"}),
}
"""Components, and the chart's values that say the same."""


def build(kustomize: Path, folder: Path) -> list[Manifest]:
    command = [str(kustomize), "build", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def overlay(kustomize: Path, folder: Path, components: Sequence[str]) -> list[Manifest]:
    """Build the base with components, from a copy: Kustomize takes relative paths only."""
    copy = folder / "kustomize"
    subprocess.run(["cp", "-r", str(TARGET), str(copy)], check=True)
    own = copy / "overlays" / "own"
    own.mkdir()
    text = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../base"],
        "components": [f"../../components/{component}" for component in components],
    }
    (own / "kustomization.yaml").write_text(yaml.safe_dump(text))
    return build(kustomize, own)


def normalized(manifests: Sequence[Manifest]) -> dict[tuple[str, str], Manifest]:
    """Return manifests by kind and name, with what has no order sorted by name, and without what only Istio reads."""
    found = {}
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            template = manifest["spec"]["template"]
            template["metadata"]["labels"].pop("sidecar.istio.io/inject", None)
            template["metadata"].pop("annotations", None)
            (container,) = template["spec"]["containers"]
            for entries in (container["env"], container["volumeMounts"], template["spec"]["volumes"]):
                entries.sort(key=lambda entry: str(entry["name"]))
        manifest["metadata"].setdefault("namespace", "memgpt")
        found[manifest["kind"], manifest["metadata"]["name"]] = manifest
    return found


def test_the_generated_parts_are_those_of_the_chart(helm: Path) -> None:
    assert {path: (TARGET / path).read_text() for path in files()} == files()


@pytest.mark.parametrize("case", CASES)
def test_components_say_what_the_chart_says(helm: Path, kustomize: Path, tmp_path: Path, case: str) -> None:
    components, values = CASES[case]
    built = overlay(kustomize, tmp_path, components)
    kept = [each for each in built if not each["apiVersion"].startswith(CUSTOM[1:])]
    assert normalized(kept) == normalized(render({**ALL, **values}))


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_fit_the_schemas_of_kubernetes(kustomize: Path, tmp_path: Path, version: str) -> None:
    every = sorted(each.name for each in (TARGET / "components").iterdir())
    for manifests in (overlay(kustomize, tmp_path, every), build(kustomize, TARGET / "overlays" / "production")):
        assert len(manifests) >= 14
        for manifest in manifests:
            if not manifest["apiVersion"].startswith(CUSTOM):
                kubernetes_validate.validate(manifest, version, strict=True)


def test_certificates_have_the_names_of_all_services(kustomize: Path, tmp_path: Path) -> None:
    manifests = overlay(kustomize, tmp_path, ["tls"])
    services = {each["metadata"]["name"] for each in manifests if each["kind"] == "Service"}
    (certificate,) = (each["spec"] for each in manifests if each["kind"] == "Certificate")
    assert set(certificate["dnsNames"]) == services | {f"{name}.memgpt.svc" for name in services}


def test_the_policy_for_milvus_is_the_charts(helm: Path, kustomize: Path) -> None:
    built = build(kustomize, TARGET / "milvus-policy")
    rendered = [
        each
        for each in render({"networkPolicy.milvus.namespace": "milvus"})
        if each["metadata"]["namespace"] == "milvus"
    ]
    assert built == rendered
    for version in VERSIONS:
        kubernetes_validate.validate(built[0], version, strict=True)


def mesh(name: str, kind: str) -> Manifest:
    found: list[Manifest] = []
    for path in (TARGET / "components" / "mesh").glob("*.yaml"):
        found += yaml.safe_load_all(path.read_text())
    return next(each for each in found if each["kind"] == kind and each["metadata"]["name"] == name)


@pytest.mark.parametrize("service", ["agent", "loader"])
def test_the_mesh_repeats_what_envoy_repeats(service: str) -> None:
    source = yaml.safe_load(envoy.SOURCE.read_text())
    manager = source["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    route = next(each for each in host["routes"] if each["name"] == f"{service}-repeatable")
    repeatable, others = mesh(f"memgpt-{service}", "VirtualService")["spec"]["http"]
    assert repeatable["match"] == [{"uri": {"regex": route["match"]["safe_regex"]["regex"]}}]
    assert repeatable["retries"]["retryOn"] == route["route"]["retry_policy"]["retry_on"]
    assert others["retries"]["retryOn"] == host["retry_policy"]["retry_on"]
    for each in (repeatable, others):
        assert each["timeout"] == "0s"
        assert each["headers"]["request"]["remove"] == manager["route_config"]["request_headers_to_remove"]


def test_the_mesh_repeats_no_calls_between_services() -> None:
    (route,) = mesh("memgpt-memory", "VirtualService")["spec"]["http"]
    assert route["retries"] == {"attempts": 0}
    assert "headers" not in route, "Agent and Loader name the caller"


def test_the_mesh_knows_every_name_of_a_service(kustomize: Path) -> None:
    """Istio's default retries hold for a name without a VirtualService."""
    services = {each["metadata"]["name"] for each in build(kustomize, TARGET / "base") if each["kind"] == "Service"}
    hosts = {
        host
        for name in ("agent", "loader", "memory")
        for host in mesh(f"memgpt-{name}", "VirtualService")["spec"]["hosts"]
    }
    assert hosts == services


def test_sidecars_leave_after_the_services(kustomize: Path, tmp_path: Path) -> None:
    """A service that drains still needs its way to Memory, to release its leases."""
    found = [each for each in overlay(kustomize, tmp_path, ["mesh"]) if each["kind"] == "Deployment"]
    assert len(found) == 3
    for template in (each["spec"]["template"] for each in found):
        proxy = json.loads(template["metadata"]["annotations"]["proxy.istio.io/config"])
        assert proxy["holdApplicationUntilProxyStarts"] is True
        assert (
            int(proxy["terminationDrainDuration"].removesuffix("s"))
            >= template["spec"]["terminationGracePeriodSeconds"]
        )


def test_only_the_services_reach_memory_in_the_mesh(kustomize: Path) -> None:
    (account,) = (each for each in build(kustomize, TARGET / "base") if each["kind"] == "ServiceAccount")
    rule, metrics = mesh("memgpt-memory", "AuthorizationPolicy")["spec"]["rules"]
    name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
    assert rule["from"] == [{"source": {"principals": [f"cluster.local/ns/{namespace}/sa/{name}"]}}]
    assert metrics["to"] == [{"operation": {"ports": ["9464"]}}]
    assert mesh("memgpt", "PeerAuthentication")["spec"]["mtls"] == {"mode": "STRICT"}
