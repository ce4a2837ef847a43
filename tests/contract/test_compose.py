"""The Compose profile with two Agents behind Envoy."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from scripts.envoy import Variant, render

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_envoy_finds_both_agents_by_one_name() -> None:
    config = yaml.safe_load(render(Variant(plaintext=True)))
    hosts = {}
    for cluster in config["static_resources"]["clusters"]:
        (group,) = cluster["load_assignment"]["endpoints"]
        (endpoint,) = group["lb_endpoints"]
        hosts[cluster["name"]] = endpoint["endpoint"]["address"]["socket_address"]["address"]
        assert cluster["type"] == "STRICT_DNS", "all addresses of the name"
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
