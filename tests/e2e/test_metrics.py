"""The Prometheus metrics of each service after real work, from its real endpoint."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.client import MemGPT, ServiceError
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from prometheus_client.parser import text_string_to_metric_families

from tests.support.ports import free_ports
from tests.support.scripted_llm import Reply, Request, ScriptedLLM, Status, call, say
from tests.support.suite import Suite

Numbers = dict[tuple[str, str], float]


def answer(request: Request) -> Reply:
    if "Fail." in str(request.messages[-1]["content"]):
        return Status(401)
    return call("send_message", message="Fine.") if request.functions else say("A summary.")


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return dict(zip(("memory", "loader", "agent"), free_ports(3), strict=True))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Suite]:
    listening = {f"MEMGPT_{name.upper()}_METRICS_PORT": str(port) for name, port in ports.items()}
    with ScriptedLLM(answer) as llm:
        model = {"MEMGPT_AGENT_MODEL": llm.model, "MEMGPT_AGENT_BASE_URL": llm.base_url, "MEMGPT_AGENT_MODE": "tools"}
        with Suite(tmp_path_factory.mktemp("home"), **listening, **model) as started:
            yield started


@pytest.fixture(scope="module")
def client(suite: Suite) -> Iterator[MemGPT]:
    with suite.client() as client:
        yield client


def scrape(port: int) -> Numbers:
    """Every sample of our own, by its name and the value of its label; there is never more than one."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for sample in samples
        if sample.name.startswith("memgpt_") and not sample.name.endswith(("_bucket", "_created"))
    }


def test_the_agents(ports: dict[str, int], client: MemGPT) -> None:
    agent = client.agents.create(agent_pb.CreateAgentRequest(name="Ada")).agent_id
    for text in ("One.", "Two."):
        list(client.agents.send(agent_pb.SendMessageRequest(agent_id=agent, text=text)))
    assert client.agents.summarize(agent).evicted_count > 0
    with pytest.raises(ServiceError):
        list(client.agents.send(agent_pb.SendMessageRequest(agent_id=agent, text="Fail.")))

    numbers = scrape(ports["agent"])
    states = {state: numbers["memgpt_agent_turns_total", state] for state in ("completed", "suspended", "failed")}
    assert states == {"completed": 3, "suspended": 1, "failed": 0}, "a summary on request is a turn as well"
    assert numbers["memgpt_agent_steps_total", ""] == 3
    assert numbers["memgpt_agent_evictions_total", ""] == 1
    assert numbers["memgpt_agent_turns_running", ""] == 0
    assert numbers["memgpt_agent_model_seconds_count", "answered"] == 3
    assert numbers["memgpt_agent_model_seconds_sum", "answered"] > 0
    assert numbers["memgpt_agent_model_seconds_count", "refused"] == 1
    assert numbers["memgpt_agent_tokens_total", "prompt"] == 300
    assert numbers["memgpt_agent_tokens_total", "completion"] == 30


def test_the_loaders(ports: dict[str, int], suite: Suite, tmp_path: Path) -> None:
    for name, data in {"tea.txt": b"Green tea.", "empty.txt": b"", "noise.bin": bytes(range(256)) * 9}.items():
        (tmp_path / name).write_bytes(data)
    for _ in range(2):
        suite.run("load", "directory", "--name", "tea", "--input-dir", str(tmp_path))

    numbers = scrape(ports["loader"])
    states = ("loaded", "unchanged", "failed", "cancelled", "empty", "skipped")
    ended = {state: numbers["memgpt_loader_files_total", state] for state in states}
    assert (ended["loaded"], ended["unchanged"], ended["failed"], ended["cancelled"]) == (1, 1, 0, 0)
    assert numbers["memgpt_loader_passages_total", ""] == 1
    assert numbers["memgpt_loader_files_waiting", ""] == 0


def test_memorys(ports: dict[str, int], suite: Suite, client: MemGPT, tmp_path: Path) -> None:
    (tmp_path / "coffee.txt").write_text("Coffee is black.")
    before = scrape(ports["memory"])
    suite.cli("load", "directory", "--name", "coffee", "--input-dir", str(tmp_path))
    scope = archival_pb.PassageScope(source_id=client.sources.find("coffee").source_id)
    for query in ("black", "black", "white"):
        request = archival_pb.SearchPassagesRequest(scope=scope, query=query)
        assert client.memory.search_passages(request).hits

    after = scrape(ports["memory"])
    assert after.keys() == before.keys(), "every sample is there from the first"
    grown = {key: after[key] - before[key] for key in after}
    assert grown["memgpt_memory_rows_written_total", "passages"] == 1
    assert grown["memgpt_memory_rows_written_total", "messages"] == 0
    assert grown["memgpt_memory_rows_written_total", "records"] > 1
    assert after["memgpt_memory_rows_waiting", ""] == 0
    assert grown["memgpt_memory_rankings_total", "hit"] == 1
    assert grown["memgpt_memory_rankings_total", "miss"] == 2
    assert grown["memgpt_memory_milvus_seconds_count", "upsert"] > 1
    assert grown["memgpt_memory_milvus_seconds_count", "search"] > 0
    assert grown["memgpt_memory_milvus_seconds_sum", "search"] > 0
