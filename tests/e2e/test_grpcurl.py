"""The suite used with `grpcurl`: only reflection, and JSON on the command line."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.suite import PAPER, PAPER_PAGES, QUESTION, Suite
from tests.support.waiting import wait_until

AGENT = "memgpt.agent.v1.AgentService"
ARCHIVE = "memgpt.memory.v1.ArchivalMemoryService"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with Suite(tmp_path_factory.mktemp("grpcurl")) as suite:
        yield suite


class Grpcurl:
    """Runs the program against one address."""

    def __init__(self, program: Path, address: str) -> None:
        self._program = program
        self._address = address

    def text(self, *arguments: str, data: dict[str, Any] | None = None, fails: bool = False) -> str:
        """Return its output; for a failing call, its error output."""
        options = ["-plaintext", "-max-time", "60", "-format-error"]
        if data is not None:
            options += ["-d", json.dumps(data)]
        run = subprocess.run(
            [self._program, *options, self._address, *arguments],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert (run.returncode != 0) is fails, run.stdout + run.stderr
        return run.stderr if fails else run.stdout

    def call(self, method: str, **data: Any) -> dict[str, Any]:
        """Return the response of a unary call."""
        answer: dict[str, Any] = json.loads(self.text(method, data=data))
        return answer

    def stream(self, method: str, **data: Any) -> list[dict[str, Any]]:
        """Return the messages of a stream."""
        text, decoder, messages = self.text(method, data=data), json.JSONDecoder(), []
        while text := text.strip():
            message, end = decoder.raw_decode(text)
            messages.append(message)
            text = text[end:]
        return messages


@pytest.fixture(scope="module")
def agent_service(suite: Suite, grpcurl: Path) -> Grpcurl:
    return Grpcurl(grpcurl, suite.agent_address)


@pytest.fixture(scope="module")
def memory_service(suite: Suite, grpcurl: Path) -> Grpcurl:
    return Grpcurl(grpcurl, suite.memory_address)


def test_lists_and_describes_every_service(suite: Suite, grpcurl: Path) -> None:
    expected = {
        suite.agent_address: {AGENT},
        suite.loader_address: {"memgpt.loader.v1.LoaderService"},
        suite.memory_address: {
            ARCHIVE,
            "memgpt.memory.v1.AgentStateService",
            "memgpt.memory.v1.BlockService",
            "memgpt.memory.v1.ProfileService",
            "memgpt.memory.v1.RecallMemoryService",
            "memgpt.memory.v1.SourceService",
            "memgpt.memory.v1.StoreService",
        },
    }
    for address, services in expected.items():
        program = Grpcurl(grpcurl, address)
        listed = set(program.text("list").split())
        assert services | {"grpc.health.v1.Health"} <= listed
        for service in services:
            described = program.text("describe", service)
            assert f"service {service.rsplit('.', 1)[1]} {{" in described
            for line in described.splitlines():
                if line.strip().startswith("rpc "):
                    request = line.split("(")[1].split(")")[0].replace("stream", "").strip()
                    assert "message " in program.text("describe", request.strip(". "))


def test_health_of_server_and_service(suite: Suite, grpcurl: Path) -> None:
    services = {
        suite.agent_address: AGENT,
        suite.loader_address: "memgpt.loader.v1.LoaderService",
        suite.memory_address: ARCHIVE,
    }
    for address, service in services.items():
        program = Grpcurl(grpcurl, address)
        # It looks for Memory first.
        wait_until(lambda program=program: program.call("grpc.health.v1.Health/Check") == {"status": "SERVING"})  # type: ignore[misc]
        assert program.call("grpc.health.v1.Health/Check", service=service) == {"status": "SERVING"}
        assert (
            json.loads(program.text("grpc.health.v1.Health/Check", data={"service": "none"}, fails=True))["code"] == 5
        )


def test_the_tutorial(suite: Suite, agent_service: Grpcurl, memory_service: Grpcurl) -> None:
    said = suite.cli("load", "directory", "--name", "paper", "--input-files", str(PAPER))
    counts = re.search(r"Loaded (\d+) passages and (\d+) documents from paper", said)
    assert counts is not None, said
    passages = int(counts[1])
    assert int(counts[2]) == PAPER_PAGES
    source = memory_service.call("memgpt.memory.v1.SourceService/GetSource", name="paper")["source"]
    assert int(source["passageCount"]) == passages

    agent = agent_service.call(f"{AGENT}/CreateAgent", persona="memgpt_doc", name="Reader")["agent"]
    agent_id = agent["agentId"]
    assert agent["persona"] == "memgpt_doc"

    attached = agent_service.call(f"{AGENT}/AttachSource", agentId=agent_id, sourceId=source["sourceId"])
    assert [one["sourceName"] for one in attached["agent"]["attachments"]] == ["paper"]
    assert int(attached["agent"]["attachments"][0]["passageCount"]) == passages

    events = [
        message["event"]
        for message in agent_service.stream(
            f"{AGENT}/SendMessage", agentId=agent_id, requestId="tutorial-1", text=QUESTION, skipVerify=True
        )
    ]
    durable = [event for event in events if "sequence" in event]
    assert [int(event["sequence"]) for event in durable] == list(range(1, len(durable) + 1))
    searches = [
        json.loads(event["functionCall"]["arguments"])
        for event in events
        if event.get("functionCall", {}).get("name") == "archival_memory_search"
    ]
    assert len(searches) >= 2
    assert [search.get("page", 0) for search in searches][:2] == [0, 1]
    answer = "\n".join(event["message"]["text"] for event in events if "message" in event)
    assert "MemGPT" in answer
    assert "page" in answer or "p." in answer
    assert events[-1]["done"]["state"] == "TURN_STATE_COMPLETED"

    # The same request again, from the middle on: the same events, and nothing runs a second time.
    replay = [
        message["event"]
        for message in agent_service.stream(
            f"{AGENT}/SendMessage",
            agentId=agent_id,
            requestId="tutorial-1",
            text=QUESTION,
            skipVerify=True,
            afterSequence=3,
        )
    ]
    assert [event for event in replay if "sequence" in event] == durable[3:]

    # Every passage once, page after page, until the token is empty.
    seen: list[str] = []
    request: dict[str, Any] = {"scope": {"agentId": agent_id}, "query": "virtual context management", "pageSize": 7}
    while True:
        page = memory_service.call(f"{ARCHIVE}/SearchPassages", **request)
        seen += [hit["passage"]["passageId"] for hit in page["hits"]]
        assert int(page["totalSize"]) == passages
        if not page.get("nextPageToken"):
            break
        request["pageToken"] = page["nextPageToken"]
    assert len(seen) == passages
    assert len(set(seen)) == passages


@pytest.mark.parametrize(
    ("service", "method", "data", "code", "says"),
    [
        ("agent", f"{AGENT}/GetAgent", {"agentId": "agent_none"}, "NotFound", "agent_none"),
        ("agent", f"{AGENT}/SendMessage", {"agentId": "agent_none", "text": "Hi"}, "NotFound", "agent_none"),
        ("agent", f"{AGENT}/SendMessage", {"agentId": "agent_none", "text": ""}, "InvalidArgument", "text"),
        ("agent", f"{AGENT}/SendMessage", {"agentId": "agent_none", "text": " \n"}, "InvalidArgument", "text"),
        ("agent", f"{AGENT}/SendMessage", {"agentId": "agent_none"}, "InvalidArgument", "input"),
        ("agent", f"{AGENT}/ListAgents", {"pageSize": -1}, "InvalidArgument", "page_size"),
        ("agent", f"{AGENT}/ListAgents", {"pageToken": "forged"}, "InvalidArgument", "page_token"),
        ("agent", f"{AGENT}/Undo", {"agentId": "agent_none"}, "NotFound", "agent_none"),
        ("agent", f"{AGENT}/CreateAgent", {"persona": "nobody"}, "NotFound", "nobody"),
        ("agent", f"{AGENT}/CreateAgent", {"timeZone": "Mars/Base"}, "InvalidArgument", "time_zone"),
        (
            "memory",
            f"{ARCHIVE}/SearchPassages",
            {"scope": {"agentId": 'x" or "1" == "1'}, "query": "q"},
            "InvalidArgument",
            "agent_id",
        ),
        ("memory", f"{ARCHIVE}/SearchPassages", {"query": "q"}, "InvalidArgument", "scope"),
    ],
)
def test_bad_input_is_named(
    agent_service: Grpcurl,
    memory_service: Grpcurl,
    service: str,
    method: str,
    data: dict[str, Any],
    code: str,
    says: str,
) -> None:
    program = agent_service if service == "agent" else memory_service
    failure = json.loads(program.text(method, data=data, fails=True))
    names = {"NotFound": 5, "InvalidArgument": 3}
    assert failure["code"] == names[code], failure
    assert says in json.dumps(failure)
    assert any(detail.get("domain") == "memgpt" for detail in failure["details"])
