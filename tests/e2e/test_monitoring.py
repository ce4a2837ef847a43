"""Alerts and dashboards return data from a real Prometheus that scrapes a running suite."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.missing import missing_tool
from tests.support.ports import free_ports
from tests.support.suite import Suite
from tests.support.waiting import wait_until

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
SERVICES = ("memory", "loader", "agent")
GONE = {"MemGPTMemoryGone", "MemGPTLoaderGone", "MemGPTAgentGone"}
VARIABLES = {"$__rate_interval": "1m", "$namespace": ".*", "$job": ".*"}
"""What Grafana fills in, with all namespaces and releases chosen."""


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing_tool(f"{name} is not installed; on Debian it is in the package prometheus")
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> dict[str, str]:
    """Return every query by where it is: those of dashboards, and what the alerts compare."""
    found = {}
    for file in sorted((MONITORING / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                place = f"{file.stem}: {panel['title']} {target['refId']}"
                found[place] = target["expr"]
                for name, value in VARIABLES.items():
                    found[place] = found[place].replace(name, value)
    for rule in alerts():
        if rule["alert"] in GONE:
            continue  # true while there is no data
        expression, operator, _ = rule["expr"].rsplit(" ", 2)
        assert operator in (">", "=="), rule["alert"]
        found[rule["alert"]] = expression
    return found


class Prometheus:
    """A Prometheus process."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **parameters: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=60) as response:
            return json.load(response)["data"]

    def wait(self, expression: str, count: int) -> None:
        """Wait until it listens and an expression has so many results."""
        wait_until(lambda: len(self.get("query", query=expression)["result"]) >= count, ignore=OSError)


@contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[Prometheus]:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "alerts.yml")]
    job = config["scrape_configs"][0]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": targets}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    command = [
        program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Prometheus(f"127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def test_panels_and_alerts_tell_releases_apart() -> None:
    for file in (MONITORING / "grafana" / "dashboards").glob("*.json"):
        dashboard = json.loads(file.read_text())
        assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource", "namespace", "job"]
        for target in (target for panel in dashboard["panels"] for target in panel["targets"]):
            selectors = target["expr"].count("{")
            assert selectors == target["expr"].count('{namespace=~"$namespace", job=~"$job"') > 0, target["expr"]
    for rule in alerts():
        assert "sum(" not in rule["expr"], rule["alert"]
        assert rule["expr"].count("sum by (") == rule["expr"].count("sum by (namespace, job"), rule["alert"]
        calls = rule["expr"].count("grpc_server_handled_total")
        assert calls == rule["expr"].count('grpc_server_handled_total{grpc_service=~"memgpt[.].+"'), rule["alert"]


def test_promtool_accepts_the_rules() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "rules", MONITORING / "alerts.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    """The cases are in ``alerts_test.yml``."""
    file = MONITORING / "alerts_test.yml"
    done = subprocess.run([program("promtool"), "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    cases = [case for test in yaml.safe_load(file.read_text())["tests"] for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in alerts()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


def test_every_query_returns_data(tmp_path: Path) -> None:
    program("prometheus")
    ports = dict(zip(SERVICES, free_ports(3), strict=True))
    settings = {f"MEMGPT_{name.upper()}_METRICS_PORT": str(port) for name, port in ports.items()}
    with Suite(tmp_path / "home", **settings) as suite:
        file = tmp_path / "tea.txt"
        file.write_text("Green tea is steeped at 70 degrees.\n" * 20)
        with prometheus(tmp_path, [f"127.0.0.1:{port}" for port in ports.values()]) as server:
            # Rates need a sample of each series before its first increase.
            server.wait("memgpt_ready == 1", 3)
            suite.cli("load", "directory", "--name", "tea", "--input-files", str(file))
            with suite.client() as client:
                agent = client.agents.create()
                agent.attach("tea")
                agent.ask("How hot is the water for green tea? Search your archival memory.")
            server.wait("count_over_time(memgpt_agent_turn_seconds_count{state='completed'}[1m]) > 1", 1)
            server.wait("memgpt_agent_turn_seconds_count > 0", 1)
            server.wait("rate(grpc_server_handled_total{grpc_method='SendMessage'}[1m])", 1)
            for query in queries().values():
                server.wait(query, 1)
            alerting = server.get("alerts")["alerts"]
            rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
            suite.close()
            wait_until(lambda: {alert["labels"]["alertname"] for alert in server.get("alerts")["alerts"]} >= GONE)
    assert not [alert for alert in alerting if alert["state"] == "firing"]
    assert GONE.isdisjoint(alert["labels"]["alertname"] for alert in alerting)
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    assert len(rules) == len(alerts())
