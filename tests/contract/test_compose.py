"""The Compose profiles: two Agents behind Envoy, a model on Ollama, monitoring."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from memgpt.config import load_config
from memgpt_agent.config import AgentSettings

from scripts.envoy import Variant, render
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_envoy_finds_both_agents_by_one_name() -> None:
    config = yaml.safe_load(render(Variant(plaintext=True)))
    hosts = {}
    for cluster in config["static_resources"]["clusters"]:
        (group,) = cluster["load_assignment"]["endpoints"]
        (endpoint,) = group["lb_endpoints"]
        hosts[cluster["name"]] = endpoint["endpoint"]["address"]["socket_address"]["address"]
        assert cluster["cluster_type"]["name"] == "envoy.clusters.dns", "all addresses of the name"
    assert hosts == {"agent": "agent", "loader": "loader"}
    second = COMPOSE["agent-2"]
    assert second["networks"]["suite"]["aliases"] == ["agent"]
    assert second["image"] == COMPOSE["agent"]["image"]
    assert second["environment"] == COMPOSE["agent"]["environment"]
    assert second["ports"] == [], "the first one has the port"


def test_extras_are_chosen_by_variables() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for service, argument, extra in (("memory", "ONNX", "onnx"), ("loader", "OCR_LANGUAGES", "ocr")):
        assert COMPOSE[service]["build"]["args"] == {"SERVICE": service, argument: f"${{{argument}:-}}"}
        assert f"${{{argument}:+--extra {extra}}}" in dockerfile
        project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"]
        assert extra in project["optional-dependencies"]
    memory = COMPOSE["memory"]
    assert "${EMBEDDING_FOLDER:-models}:/models:ro" in memory["volumes"], "a folder of the host, or an empty volume"
    assert memory["environment"]["MEMGPT_MEMORY_EMBEDDING_FOLDER"] == "/models"
    assert "MEMGPT_LOADER_OCR_LANGUAGES" in COMPOSE["loader"]["environment"]


def test_only_the_profile_starts_them() -> None:
    assert {name for name, service in COMPOSE.items() if "edge" in service.get("profiles", ())} == {"agent-2", "edge"}
    assert COMPOSE["edge"]["ports"] == ["${EDGE_PUBLISH:-127.0.0.1:8080}:8080"], "on loopback: it has no TLS"
    assert "memory" not in COMPOSE["edge"]["depends_on"]


def test_each_profile_starts_its_own_services_beside_those_of_the_suite() -> None:
    profiles: dict[str, set[str]] = {}
    for name, service in COMPOSE.items():
        for profile in service.get("profiles", [""]):
            profiles.setdefault(profile, set()).add(name)
    assert profiles == {
        "": {"milvus", "memory", "loader", "agent"},
        "edge": {"agent-2", "edge"},
        "ollama": {"ollama"},
        "monitoring": {"prometheus", "grafana", "collector"},
    }
    for service in COMPOSE.values():  # a service of a profile would be missing without it
        needed = [COMPOSE[name].get("profiles") for name in service.get("depends_on", ())]
        assert all(each in (None, service.get("profiles")) for each in needed)


@pytest.mark.parametrize("name", [name for name, service in COMPOSE.items() if "volumes" in service])
def test_files_and_volumes_exist(name: str) -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    for source, target, *_ in (each.rsplit(":", 2) for each in COMPOSE[name]["volumes"] if "$" not in each):
        source = source if source.startswith((".", "/")) or target.startswith("/") else source.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source.split(":")[0] in declared


def test_the_agent_is_connected_to_ollama(tmp_path: Path) -> None:
    lines = (ROOT / "deploy/ollama/ollama.env").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert variables.keys() <= COMPOSE["agent"]["environment"].keys(), "the container gets them"
    settings = load_config("agent", AgentSettings, environ={**variables, "MEMGPT_HOME": str(tmp_path)}).service
    assert settings.base_url == "http://ollama:11434/v1"
    assert set(COMPOSE["ollama"]["networks"]) <= set(COMPOSE["agent"]["networks"])
    own = COMPOSE["ollama"]["environment"]
    assert own["MODEL"] == f"${{MEMGPT_AGENT_MODEL:-{settings.model}}}"
    assert own["OLLAMA_CONTEXT_LENGTH"] == f"${{MEMGPT_AGENT_CONTEXT_WINDOW:-{settings.context_window}}}"


OLLAMA = """#!/bin/sh
echo "$@" >>"$CALLS"
case $1 in
  serve) trap 'echo stopped >>"$CALLS"; exit 0' TERM; while :; do sleep 0.05; done ;;
  pull) [ "$(grep -c pull "$CALLS")" -gt 1 ] ;;
esac
"""


def test_ollama_serves_while_its_model_is_pulled_and_stops_at_once(tmp_path: Path) -> None:
    """Its first attempt to pull fails, as without a network."""
    for name, script in (("ollama", OLLAMA), ("sleep", "#!/bin/sh\nexec /bin/sleep 0.01\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "MODEL": "small:1b"}
    served = subprocess.Popen(["sh", ROOT / "deploy/ollama/serve.sh"], env=environment, start_new_session=True)
    try:
        wait_until(lambda: calls.exists() and calls.read_text().count("pull small:1b") == 2)
        served.send_signal(signal.SIGTERM)
        served.wait(60)
        assert calls.read_text().endswith("stopped\n")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(served.pid, signal.SIGKILL)
        served.wait(60)


def test_ollama_that_cannot_start_ends_its_container(tmp_path: Path) -> None:
    for name, script in (("ollama", "#!/bin/sh\nexit 1\n"), ("sleep", "#!/bin/sh\nexec /bin/sleep 0.01\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "MODEL": "small:1b"}
    served = subprocess.run(["sh", ROOT / "deploy/ollama/serve.sh"], env=environment, check=False, timeout=60)
    assert served.returncode


def test_prometheus_and_traces_find_the_services() -> None:
    folder = ROOT / "deploy/monitoring"
    (scraped,) = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    (names,) = scraped["dns_sd_configs"]
    assert set(names["names"]) == {"agent", "memory", "loader"}
    for name in names["names"]:
        assert COMPOSE[name]["environment"][f"MEMGPT_{name.upper()}_METRICS_PORT"] == names["port"]
        assert COMPOSE[name]["environment"]["MEMGPT_SERVER_METRICS_HOST"] == "0.0.0.0"
        assert "http://collector:4317" in COMPOSE[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    receivers = yaml.safe_load((folder / "collector.yml").read_text())["receivers"]
    assert receivers["otlp"]["protocols"]["grpc"]["endpoint"] == "0.0.0.0:4317"


def test_every_builder_finds_what_the_images_copy() -> None:
    """The classic builder does not look into an excluded folder for a file that a wildcard lets in again."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    assert not [each for each in patterns if each.startswith("!") and "*" in each]
    for source in re.findall(r"^COPY ((?!--)[\w./ ]+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        for file in source.split():
            wanted = [f"!{each}" for each in (Path(file), *Path(file).parents)]
            assert any(each in wanted or each.startswith(f"!{file}/") for each in patterns), file


def test_the_image_has_what_the_configuration_names() -> None:
    dockerfile = (ROOT / "deploy/envoy/Dockerfile").read_text()
    files = set(re.findall(r"/etc/envoy/[\w./]+", render(Variant(plaintext=True, tokens=False))))
    assert files == {"/etc/envoy/memgpt.pb"}
    assert all(file in dockerfile for file in files)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for source in re.findall(r"^COPY ((?!--)[\w./ ]+) \S+$", dockerfile, re.MULTILINE):
        assert all(f"!{each}" in allowed for each in source.split())
