"""The Helm chart renders valid manifests, whose settings the services accept."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from memgpt.config import ServiceSection, load_config
from memgpt_agent.config import AgentSettings
from memgpt_loader.config import LoaderSettings
from memgpt_memory.config import MemorySettings
from memgpt_runtime.server.http_endpoint import LIVE_SECONDS

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "memgpt"
EXAMPLES = [None, *sorted((CHART / "ci").glob("*-values.yaml"))]
VERSIONS = ("1.31", "1.34", "1.37")
SETTINGS: dict[str, type[ServiceSection]] = {
    "agent": AgentSettings,
    "loader": LoaderSettings,
    "memory": MemorySettings,
}
CUSTOM_RESOURCES = ("ServiceMonitor", "PrometheusRule")

Manifest = dict[str, Any]


def name_of(example: Path | None) -> str:
    return example.stem if example else "default"


class Chart:
    """Renders the chart with the real `helm`."""

    def __init__(self, helm: Path) -> None:
        self._helm = helm

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [self._helm, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def values(self, example: Path | None) -> list[str | Path]:
        return ["--values", example] if example else []

    def render(
        self, example: Path | None, *settings: str, release: str = "memgpt", namespace: str = "default"
    ) -> list[Manifest]:
        options = ["--kube-version=1.34.0", f"--namespace={namespace}", *self.values(example)]
        done = self.run("template", release, CHART, *options, *(f"--set={setting}" for setting in settings))
        assert done.returncode == 0, done.stderr
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@pytest.fixture(scope="module")
def chart(helm: Path) -> Chart:
    return Chart(helm)


def deployments(manifests: list[Manifest]) -> dict[str, Manifest]:
    found = [each for each in manifests if each["kind"] == "Deployment"]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in found}


def variables(deployment: Manifest) -> list[Manifest]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return list(container["env"])


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_the_chart_passes_lint(chart: Chart, example: Path | None) -> None:
    done = chart.run("lint", "--strict", CHART, *chart.values(example))
    assert done.returncode == 0, done.stdout + done.stderr


ACCEPTED = {
    "container-image-pull-policy": "images have versions, and nodes keep them",
    "container-resources": "no limit of processor time: it would slow down a pod though the node is idle",
    "deployment-has-host-podantiaffinity": "topologySpreadConstraints do that, and let all pods run on one node",
    "pod-networkpolicy": "models, tools and Milvus are anywhere: the chart cannot know where pods connect to",
    "memory deployment-replicas": "Memory holds its store alone",
    "memory deployment-strategy": "a second Memory on the same store is refused",
    "loader deployment-replicas": "one Loader is enough for a start",
    "production networkpolicy-targets-pod": "Milvus is not part of the chart",
    "openshift pod-networkpolicy": "the example has none",
    "openshift container-security-context-user-group-id": "OpenShift chooses the user ids",
}
"""What kube-score says about the chart, and why it stays so."""


def findings(kube_score: Path, manifests: list[Manifest]) -> set[tuple[str, str, str]]:
    """Return what kube-score finds: the component, the check, and what it says."""
    done = subprocess.run(
        [kube_score, "score", "--kubernetes-version=v1.34", "--output-format=json", "-"],
        input=yaml.safe_dump_all(manifests),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = set()
    for scored in json.loads(done.stdout):
        component = scored["object_meta"].get("labels", {}).get("app.kubernetes.io/component", "")
        for check in scored["checks"]:
            if not check["skipped"] and check["grade"] <= 5:  # a warning, or worse
                found |= {(component, check["check"]["id"], each["summary"]) for each in check["comments"]}
    return found


def accepted(component: str, check: str, said: str, variant: str) -> bool:
    if check == "container-resources":
        return said == "CPU limit is not set"
    if check == "pod-networkpolicy" and variant != "openshift":
        return said == "The pod does not have a matching egress NetworkPolicy"
    return any(key in ACCEPTED for key in (check, f"{component} {check}", f"{variant} {check}"))


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_kube_score_finds_nothing_else(chart: Chart, kube_score: Path, example: Path | None) -> None:
    variant = name_of(example).removesuffix("-values")
    found = findings(kube_score, chart.render(example))
    assert {check for _, check, _ in found} >= {"container-resources", "deployment-strategy"}, "it was asked"
    assert {each for each in found if not accepted(*each, variant)} == set()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_manifests_fit_the_schemas_of_kubernetes(chart: Chart, example: Path | None, version: str) -> None:
    manifests = chart.render(example)
    assert len(manifests) >= 9
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM_RESOURCES:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_the_services_accept_the_settings(chart: Chart, example: Path | None, tmp_path: Path) -> None:
    for service, deployment in deployments(chart.render(example)).items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {each["name"]: each.get("value", "secret") for each in container["env"]}
        environ = {**environment, "MEMGPT_HOME": str(tmp_path)}
        config = load_config(service, SETTINGS[service], environ=environ)
        assert config.service.metrics_port == 9464


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_pods_are_restricted_and_drain_in_time(chart: Chart, example: Path | None) -> None:
    for deployment in deployments(chart.render(example)).values():
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        stopping = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
        stopping += float(environment["MEMGPT_SERVER_DRAIN_PAUSE"]) + float(environment["MEMGPT_SERVER_DRAIN_GRACE"])
        assert pod["terminationGracePeriodSeconds"] >= stopping + 7
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["timeoutSeconds"] > LIVE_SECONDS, "the service says itself that it hangs"


@pytest.mark.parametrize(("options", "resource"), [((), "requests.cpu"), (("agent", "memory", "loader"), "limits.cpu")])
def test_threads_follow_the_limits_of_the_container(chart: Chart, options: tuple[str, ...], resource: str) -> None:
    """Without a limit, Kubernetes would say how many cores the node has."""
    limits = [f"--set={service}.resources.limits.cpu=2" for service in options]
    done = chart.run("template", "memgpt", CHART, "--kube-version", "1.34.0", *limits)
    for deployment in deployments([each for each in yaml.safe_load_all(done.stdout) if each]).values():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        (threads,) = (each for each in container["env"] if each["name"] == "OPENBLAS_NUM_THREADS")
        assert threads["valueFrom"] == {"resourceFieldRef": {"resource": resource}}
        assert container["resources"]["requests"]["cpu"]
    assert "MALLOC_ARENA_MAX=2" in (CHART.parents[2] / "Dockerfile").read_text()


def test_spans_name_their_pod(chart: Chart) -> None:
    for service, deployment in deployments(chart.render(CHART / "ci" / "production-values.yaml")).items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {each["name"]: each for each in container["env"]}
        attributes = dict(pair.split("=") for pair in environment["OTEL_RESOURCE_ATTRIBUTES"]["value"].split(","))
        assert attributes["k8s.container.name"] == service
        assert attributes["service.instance.id"] == attributes["k8s.pod.uid"]
        names = list(environment)
        for value in attributes.values():
            if value.startswith("$("):  # Kubernetes fills in variables that come before
                assert names.index(value[2:-1]) < names.index("OTEL_RESOURCE_ATTRIBUTES")
                assert environment[value[2:-1]]["valueFrom"]["fieldRef"]


@pytest.mark.parametrize(
    ("service", "name", "value"),
    [
        ("agent", "OTEL_RESOURCE_ATTRIBUTES", "team=a"),
        ("memory", "MEMGPT_SERVER_LOG_LEVEL", "debug"),
        ("loader", "MEMGPT_LOADER_SPOOL_BYTES", "1000000000"),
        ("agent", "MEMGPT_AGENT_API_KEY", "none"),
    ],
)
def test_own_variables_take_the_place_of_the_charts(chart: Chart, service: str, name: str, value: str) -> None:
    """Kubernetes refuses a variable that is listed twice, on server-side apply."""
    manifests = chart.render(CHART / "ci" / "production-values.yaml", f"{service}.env.{name}={value}")
    for component, deployment in deployments(manifests).items():
        found = variables(deployment)
        assert len({each["name"] for each in found}) == len(found)
        if component == service:
            assert [each for each in found if each["name"] == name] == [{"name": name, "value": value}]


def test_a_longer_drain_of_one_service_is_waited_for(chart: Chart) -> None:
    own = deployments(chart.render(None, "loader.env.MEMGPT_SERVER_DRAIN_GRACE=120.5"))
    seconds = {name: each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] for name, each in own.items()}
    assert seconds == {"agent": 46, "memory": 46, "loader": 137}


def test_large_numbers_of_a_file_are_written_out(chart: Chart, tmp_path: Path) -> None:
    """Helm reads them as floating-point numbers: 1048576 would become 1.048576e+06."""
    values = tmp_path / "values.yaml"
    values.write_text(
        "model: {name: large, contextWindow: 1048576}\n"
        "server: {maxConnectionAge: 31536000}\n"
        "loader: {env: {MEMGPT_LOADER_MAX_FILE_BYTES: 268435456, MEMGPT_LOADER_PARSER_SECONDS: 0.5}}\n"
    )
    found = deployments(chart.render(values))
    agent, loader = (
        {each["name"]: each.get("value") for each in variables(found[name])} for name in ("agent", "loader")
    )
    assert agent["MEMGPT_AGENT_CONTEXT_WINDOW"] == "1048576"
    assert agent["MEMGPT_SERVER_MAX_CONNECTION_AGE"] == "31536000"
    assert loader["MEMGPT_LOADER_MAX_FILE_BYTES"] == "268435456"
    assert loader["MEMGPT_LOADER_PARSER_SECONDS"] == "0.5"


@pytest.mark.parametrize("size", [None, "1Gi"])
def test_uploads_leave_room_on_their_volume(chart: Chart, size: str | None) -> None:
    """Kubernetes evicts a pod with more on a volume than its size."""
    loader = deployments(chart.render(None, *([f"loader.spoolSize={size}"] if size else [])))["loader"]
    (volume,) = (each for each in loader["spec"]["template"]["spec"]["volumes"] if each["name"] == "data")
    quota = next(int(each["value"]) for each in variables(loader) if each["name"] == "MEMGPT_LOADER_SPOOL_BYTES")
    assert 0.85 < quota / (int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) << 30) < 0.95


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ("loader.spoolSize=256Mi", 241591910),
        ("loader.env.MEMGPT_LOADER_SPOOL_BYTES=100000000", 100_000_000),
        ("loader.spoolSize=256Mi,loader.env.MEMGPT_LOADER_MAX_FILE_BYTES=1000000", 1_000_000),
        ("loader.spoolSize=285Mi", 256 << 20),
    ],
)
def test_no_file_may_be_larger_than_the_spool(chart: Chart, tmp_path: Path, values: str, limit: int) -> None:
    """The Loader would not start."""
    loader = deployments(chart.render(None, values))["loader"]
    environ = {each["name"]: each.get("value", "secret") for each in variables(loader)}
    config = load_config("loader", LoaderSettings, environ={**environ, "MEMGPT_HOME": str(tmp_path)})
    assert config.service.max_file_bytes == limit


def test_the_longest_release_has_valid_names(chart: Chart) -> None:
    manifests = chart.render(CHART / "ci" / "production-values.yaml", release="r" * 53)
    services = [each["metadata"]["name"] for each in manifests if each["kind"] == "Service"]
    assert len(services) == len(set(services)) == 5
    assert max(map(len, services)) <= 63
    labels = [each["metadata"]["labels"] for each in manifests]
    assert max(len(value) for each in labels for value in each.values()) <= 63


def test_a_long_release_keeps_its_names(chart: Chart) -> None:
    """With another claim, Memory would start empty after an upgrade."""
    manifests = chart.render(None, release="r" * 53)
    for kind, services in (("PersistentVolumeClaim", ["memory"]), ("Deployment", ["agent", "loader", "memory"])):
        names = [each["metadata"]["name"] for each in manifests if each["kind"] == kind]
        assert sorted(names) == [f"{'r' * 50}-{service}" for service in services]


@pytest.mark.parametrize("other", [("memgpt-2", "default"), ("memgpt", "staging")], ids=["release", "namespace"])
def test_two_releases_have_nothing_in_common(chart: Chart, other: tuple[str, str]) -> None:
    """Also in the namespace of Milvus, which both may use."""

    def rendered(release: str, namespace: str) -> set[tuple[str, ...]]:
        manifests = chart.render(CHART / "ci" / "production-values.yaml", release=release, namespace=namespace)
        found: set[tuple[str, ...]] = set()
        for each in manifests:
            metadata = each["metadata"]
            found.add((each["kind"], metadata["namespace"], metadata["name"]))
            if each["kind"] in ("Service", "Deployment", "ServiceMonitor", "PodDisruptionBudget"):
                found.add(("pods", metadata["namespace"], str(each["spec"]["selector"])))
        return found

    assert rendered("memgpt", "default").isdisjoint(rendered(*other))


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_metrics_stay_inside_the_cluster(chart: Chart, kind: str) -> None:
    settings = [f"{name}.service.type={kind}" for name in ("agent", "loader", "memory")]
    manifests = chart.render(None, *settings, "metrics.serviceMonitor.enabled=true")
    services = [each for each in manifests if each["kind"] == "Service"]
    ports = {each["metadata"]["name"]: [port["name"] for port in each["spec"]["ports"]] for each in services}
    outside = {each["metadata"]["name"] for each in services if each["spec"]["type"] == kind}
    assert outside == {"memgpt-agent", "memgpt-loader", "memgpt-memory"}
    assert {port for name in outside for port in ports[name]} == {"grpc"}
    (monitor,) = (each["spec"] for each in manifests if each["kind"] == "ServiceMonitor")
    wanted = monitor["selector"]["matchLabels"].items()
    scraped = [each for each in services if wanted <= each["metadata"]["labels"].items()]
    pods = {str(each["spec"]["selector"]) for each in scraped if "metrics" in ports[each["metadata"]["name"]]}
    assert len(pods) == 3
    assert {each["metadata"]["labels"][monitor["jobLabel"]] for each in scraped} == {"memgpt"}, "the release"


def test_a_local_transformer_is_mounted_for_memory_alone(chart: Chart) -> None:
    for service, deployment in deployments(chart.render(CHART / "ci" / "transformer-values.yaml")).items():
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        environment = {each["name"]: each.get("value") for each in container["env"]}
        mounts = {each["name"]: each for each in container["volumeMounts"]}
        volumes = {each["name"]: each for each in pod["volumes"]}
        assert ("models" in mounts) == ("models" in volumes) == (service == "memory")
        if service == "memory":
            assert mounts["models"] == {"name": "models", "mountPath": "/models", "readOnly": True}
            assert volumes["models"]["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
            assert environment["MEMGPT_MEMORY_EMBEDDING_FOLDER"] == "/models/all-minilm-l6-v2-q"
        assert environment.get("MEMGPT_LOADER_OCR_LANGUAGES") == ("eng+deu" if service == "loader" else None)


def test_memory_is_never_updated_by_rolling(chart: Chart) -> None:
    memory = deployments(chart.render(None))["memory"]
    assert memory["spec"]["strategy"] == {"type": "Recreate"}
    assert memory["spec"]["replicas"] == 1


def test_only_the_services_reach_memory(chart: Chart) -> None:
    policies = {each["metadata"]["name"]: each for each in chart.render(None) if each["kind"] == "NetworkPolicy"}
    grpc_rule = policies["memgpt-memory"]["spec"]["ingress"][0]
    callers = [each["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for each in grpc_rule["from"]]
    assert callers == ["agent", "loader"]
    assert grpc_rule["ports"] == [{"port": "grpc"}, {"port": 15008}]
    for service in ("agent", "loader"):
        assert policies[f"memgpt-{service}"]["spec"]["ingress"][0]["ports"] == grpc_rule["ports"]


def test_only_memory_reaches_milvus(chart: Chart) -> None:
    manifests = chart.render(CHART / "ci" / "production-values.yaml")
    (policy,) = (each for each in manifests if each["metadata"]["namespace"] == "milvus")
    grpc_rule, metrics_rule = policy["spec"]["ingress"]
    own, memory = grpc_rule["from"]
    assert own["podSelector"] == policy["spec"]["podSelector"]
    assert memory["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "default"}
    pods = {name: each["spec"]["template"]["metadata"]["labels"] for name, each in deployments(manifests).items()}
    selected = memory["podSelector"]["matchLabels"].items()
    assert [name for name, labels in pods.items() if selected <= labels.items()] == ["memory"]
    (prometheus,) = metrics_rule["from"]
    assert prometheus["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert metrics_rule["ports"] == [{"port": 9091}]
    assert "from" in grpc_rule


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_every_variant_has_policies_budgets_and_headless_services(chart: Chart, example: Path | None) -> None:
    manifests = [each for each in chart.render(example) if each["metadata"]["namespace"] != "milvus"]
    pods = {name: each["spec"]["template"]["metadata"]["labels"] for name, each in deployments(manifests).items()}

    def selecting(kind: str, *path: str) -> dict[str, Manifest]:
        """Return the specs of a kind by the component that they select."""
        found = {}
        for spec in (each["spec"] for each in manifests if each["kind"] == kind):
            labels = spec
            for key in path:
                labels = labels[key]
            (component,) = [name for name, own in pods.items() if labels.items() <= own.items()]
            found[component, spec.get("clusterIP")] = spec
        return {f"{name} {address}" if address else name: spec for (name, address), spec in found.items()}

    expected = set() if example and example.stem == "openshift-values" else {"agent", "loader", "memory"}
    assert set(selecting("NetworkPolicy", "podSelector", "matchLabels")) == expected
    budgets = selecting("PodDisruptionBudget", "selector", "matchLabels")
    assert {name: spec["maxUnavailable"] for name, spec in budgets.items()} == {"agent": 1, "loader": 1}
    services = selecting("Service", "selector")
    assert set(services) == {"agent", "loader", "memory", "agent None", "loader None"}
    for name in ("agent", "loader"):
        headless, balanced = services[f"{name} None"], services[name]
        assert headless["ports"] == [port for port in balanced["ports"] if port["name"] == "grpc"]
        assert "publishNotReadyAddresses" not in headless, "a pod that drains gets no calls"


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_services_need_credentials_and_share_a_key(chart: Chart, example: Path | None) -> None:
    manifests = chart.render(example)
    (secret,) = (each for each in manifests if each["kind"] == "Secret")
    assert len(base64.b64decode(secret["data"]["service-key"])) >= 32
    for service, deployment in deployments(manifests).items():
        pod = deployment["spec"]["template"]["spec"]
        environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert environment["MEMGPT_SERVER_SERVICE_KEY_FILE"] == "/etc/memgpt/credentials/service-key"
        assert ("MEMGPT_MEMORY_FIRST_KEY_FILE" in environment) == (service == "memory")
        (volume,) = (each for each in pod["volumes"] if each["name"] == "credentials")
        assert volume["secret"]["secretName"] == secret["metadata"]["name"]


def test_a_secret_of_the_users_is_taken(chart: Chart) -> None:
    done = chart.run("template", "memgpt", CHART, "--kube-version", "1.34.0", "--set", "credentials.existingSecret=own")
    manifests = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert not [each for each in manifests if each["kind"] == "Secret"]
    assert done.stdout.count('secretName: "own"') == 3


def test_anonymous_callers_only_if_told(chart: Chart) -> None:
    done = chart.run(
        "template", "memgpt", CHART, "--kube-version", "1.34.0", "--set", "credentials.allowAnonymous=true"
    )
    assert done.stdout.count("MEMGPT_SERVER_ALLOW_ANONYMOUS") == 3
    assert "SERVICE_KEY" not in done.stdout


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("agent.replica=2", "replica"),
        ("memory.replicas=2", "replicas"),
        ("milvus.uri=milvus:19530", "uri"),
        ("server.logLevel=loud", "logLevel"),
        ("tls.enabled=true", "tls.existingSecret is required"),
        ("tls.clientCertificates=true", "needs tls.enabled"),
        ("agent.spoolSize=4Gi", "spoolSize"),
        ("embedding.kind=onnx", "embedding.volume is required"),
        ("embedding.path=../model", "path"),
        ("loader.ocrLanguages=eng deu", "ocrLanguages"),
        ("loader.env.MEMGPT_LOADER_SPOOL_BYTES=5000000000", "more than loader.spoolSize"),
        ("loader.spoolSize=1Gi,loader.env.MEMGPT_LOADER_MAX_FILE_BYTES=1073741824", "or raise loader.spoolSize"),
        ("loader.spoolSize=5Gi", "raise loader.resources.limits.ephemeral-storage"),
        ("loader.resources.limits.ephemeral-storage=4G", "raise loader.resources.limits.ephemeral-storage"),
    ],
)
def test_wrong_values_are_refused_by_name(chart: Chart, setting: str, problem: str) -> None:
    done = chart.run("template", "memgpt", CHART, "--kube-version", "1.34.0", "--set", setting)
    assert done.returncode != 0
    assert problem in done.stderr


def test_alerts_and_dashboards_are_those_of_the_repository(chart: Chart) -> None:
    manifests = {manifest["kind"]: manifest for manifest in chart.render(CHART / "ci" / "production-values.yaml")}
    monitoring = CHART.parents[1] / "monitoring"
    assert manifests["PrometheusRule"]["spec"] == yaml.safe_load((monitoring / "alerts.yml").read_text())
    dashboards = {f"memgpt-{file.name}": file.read_text() for file in (monitoring / "grafana/dashboards").iterdir()}
    assert manifests["ConfigMap"]["data"] == dashboards
    assert manifests["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
