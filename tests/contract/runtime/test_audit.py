"""The audit log as an interface: what its lines say about real calls, and what they never say."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import grpc
import memgpt.agent.v1.agent_service_pb2 as agent_pb
import memgpt.loader.v1.loader_service_pb2
import memgpt.memory.v1.archival_memory_service_pb2 as archival_pb
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from memgpt.config import ConfigError
from memgpt.memory.v1 import (
    agent_state_service_pb2,
    api_key_service_pb2,
    archival_memory_service_pb2_grpc,
    quota_service_pb2,
    tenant_pb2,
    tenant_service_pb2,
)
from memgpt_runtime import errors, reasons
from memgpt_runtime.audit import AuditLine, IdCollector, is_change
from memgpt_runtime.audit._resources import _fields
from memgpt_runtime.auth.api_keys import new_token
from memgpt_runtime.ids import new_id
from structlog.testing import capture_logs

from tests.contract.runtime.probe import KINDS, Probe, Start
from tests.support.contracts import service_methods

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "quotas-and-audit.md"
FIELDS = ["time", *(field.name for field in fields(AuditLine))]


def read(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "memory.jsonl").read_text().splitlines()]
    for line in found:
        assert list(line) == FIELDS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
        assert line["event"] in ("change", "refusal")
        assert all(isinstance(line[name], str) for name in FIELDS if name != "resource")
    return found


def test_the_guide_describes_every_field_of_a_line() -> None:
    section = GUIDE.read_text().split("## The lines of the audit log")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == FIELDS


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_of_any_kind_has_one_line(start: Start, tmp_path: Path, kind: str) -> None:
    metadata = (("x-request-id", "id-7"), ("x-memgpt-principal", "tenant=acme"))
    async with start(Probe(str).add_to, trust_principal=True, audit="file", audit_folder=tmp_path) as running:
        await running.call(kind, "a secret text", metadata=metadata)
        address = running.address
    (line,) = read(tmp_path)
    assert address
    assert re.fullmatch(r"ipv4:127\.0\.0\.1:\d+", line["peer"])
    method = "".join(part.capitalize() for part in kind.split("_"))
    assert {name: line[name] for name in FIELDS[1:] if name != "peer"} == {
        "service": "memory",
        "event": "change",
        "rpc": f"memgpt.test.v1.ProbeService/{method}",
        "tenant": "acme",
        "key": "",
        "role": "",
        "resource": {},
        "status": "OK",
        "reason": "",
        "request_id": "id-7",
        "turn_id": "",
    }


REFUSALS = {
    "missing": reasons.credential_missing("no credential"),
    "forbidden": reasons.not_permitted("not yours", permission="ADMINISTER"),
    "quota": reasons.quota_exceeded("too many", quota="agents", limit=3, tenant="acme"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_refusals_say_why_and_other_failures_are_changes(start: Start, tmp_path: Path, kind: str) -> None:
    failures: dict[str, errors.ServiceError] = {
        **REFUSALS,
        "absent": reasons.agent_not_found("no such agent", agent_id="agent_x"),
        "shed": reasons.overloaded("too many calls", limit=3),
    }

    def fail(text: str) -> None:
        raise failures[text]

    async with start(Probe(fail).add_to, audit="file", audit_folder=tmp_path) as running:
        for text in failures:
            with pytest.raises(grpc.aio.AioRpcError):
                await running.call(kind, text)
    assert [(line["event"], line["status"], line["reason"]) for line in read(tmp_path)] == [
        ("refusal", "UNAUTHENTICATED", "CREDENTIAL_MISSING"),
        ("refusal", "PERMISSION_DENIED", "NOT_PERMITTED"),
        ("refusal", "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
        ("change", "NOT_FOUND", "AGENT_NOT_FOUND"),
        ("change", "RESOURCE_EXHAUSTED", "OVERLOADED"),
    ]


@pytest.mark.parametrize("restriction", ["", ";agents=agent_7"])
async def test_a_read_of_what_a_restricted_key_does_not_see_is_a_refusal(
    start: Start, tmp_path: Path, restriction: str
) -> None:
    def add(target: Any) -> None:
        archival_memory_service_pb2_grpc.add_ArchivalMemoryServiceServicer_to_server(_Archive(), target)  # type: ignore[abstract]

    metadata = (("x-memgpt-principal", f"tenant=acme;role=reader{restriction}"),)
    async with start(add, trust_principal=True, audit="file", audit_folder=tmp_path) as running:
        stub: Any = archival_memory_service_pb2_grpc.ArchivalMemoryServiceStub(running.channel)
        for agent_id in ("agent_7", "agent_8"):
            scope = archival_pb.PassageScope(agent_id=agent_id)
            with suppress(grpc.aio.AioRpcError):
                await stub.GetPassages(
                    archival_pb.GetPassagesRequest(scope=scope, passage_ids=["p1"]), metadata=metadata
                )
    lines = [] if not (tmp_path / "memory.jsonl").exists() else read(tmp_path)
    assert [(line["event"], line["resource"]["agent_id"], line["reason"]) for line in lines] == (
        [("refusal", "agent_8", "AGENT_NOT_FOUND")] if restriction else []
    )


@pytest.mark.parametrize("kind", ["unary", "server_stream"])
async def test_a_call_that_its_caller_gave_up_has_a_line(start: Start, tmp_path: Path, kind: str) -> None:
    probe = Probe(lambda _: probe.wait())
    async with start(probe.add_to, audit="file", audit_folder=tmp_path) as running:
        call = running.unary("x") if kind == "unary" else running.server_stream("x")
        await probe.entered.wait()
        call.cancel()
        await probe.ended.wait()
    assert [line["status"] for line in read(tmp_path)] == ["CANCELLED"]


class _Archive(archival_memory_service_pb2_grpc.ArchivalMemoryServiceServicer):
    """Responds to inserts with ids; refuses every other read."""

    async def InsertPassages(self, request: Any, context: Any) -> archival_pb.InsertPassagesResponse:  # noqa: N802
        response = archival_pb.InsertPassagesResponse()
        response.passages.add(passage_id="p1", text=request.texts[0])
        return response

    async def GetPassages(self, request: Any, context: Any) -> archival_pb.GetPassagesResponse:  # noqa: N802
        if len(request.passage_ids) > 1:
            raise REFUSALS["forbidden"]
        return archival_pb.GetPassagesResponse()


async def test_lines_have_ids_and_no_contents_and_reads_only_when_refused(start: Start, tmp_path: Path) -> None:
    def add(target: Any) -> None:
        archival_memory_service_pb2_grpc.add_ArchivalMemoryServiceServicer_to_server(_Archive(), target)  # type: ignore[abstract]

    scope = archival_pb.PassageScope(agent_id="agent_7")
    async with start(add, audit="file", audit_folder=tmp_path) as running:
        stub: Any = archival_memory_service_pb2_grpc.ArchivalMemoryServiceStub(running.channel)
        await stub.InsertPassages(
            archival_pb.InsertPassagesRequest(
                agent_id="agent_7", texts=["the SECRET text"], tags=["SECRET"], request_id="r-1"
            ),
            metadata=(("authorization", "Bearer SECRET"),),
        )
        await stub.GetPassages(archival_pb.GetPassagesRequest(scope=scope, passage_ids=["p1"]))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetPassages(archival_pb.GetPassagesRequest(scope=scope, passage_ids=["p1", "p2"]))
        with pytest.raises(grpc.aio.AioRpcError):  # an invalid id may be anything
            await stub.InsertPassages(archival_pb.InsertPassagesRequest(agent_id="a SECRET that is no id", texts=["x"]))
    assert "SECRET" not in (tmp_path / "memory.jsonl").read_text()
    assert [(line["event"], line["resource"], line["status"]) for line in read(tmp_path)] == [
        ("change", {"agent_id": "agent_7", "request_id": "r-1"}, "OK"),
        ("refusal", {"passage_ids": ["p1", "p2"], "agent_id": "agent_7"}, "PERMISSION_DENIED"),
        ("change", {}, "INVALID_ARGUMENT"),
    ]


def test_ids_are_found_in_nested_messages_and_the_first_response_that_has_some() -> None:
    ids = IdCollector()
    request = agent_state_service_pb2.BeginTurnRequest(agent_id="agent_7", request_id="r-1")
    ids(request)
    ids(agent_state_service_pb2.BeginTurnResponse(queued=agent_state_service_pb2.QueuePosition(ahead=1)))
    granted = agent_state_service_pb2.BeginTurnResponse()
    granted.granted.turn.turn_id = "turn_9"
    ids(granted)
    granted.granted.turn.turn_id = "turn_10"
    ids(granted)
    assert ids.found["agent_id"] == "agent_7"
    assert ids.found["turn_id"] == "turn_9"


def test_an_import_names_the_new_agent_and_not_the_exported_one() -> None:
    for module in (agent_pb, agent_state_service_pb2):
        ids = IdCollector()
        for piece in (
            {"agent": {"agent_id": "agent_elsewhere", "user_id": "ada"}},
            {"message": {"agent_id": "agent_elsewhere", "turn_id": "turn_elsewhere", "message_id": "m_elsewhere"}},
        ):
            ids(module.ImportAgentRequest(piece=piece, request_id="r-1"))
        ids(module.ImportAgentResponse(agent={"agent_id": "agent_7", "user_id": "ada"}))
        assert ids.found == {"request_id": "r-1", "agent_id": "agent_7", "user_id": "ada"}


@pytest.mark.parametrize(
    "message",
    [
        tenant_service_pb2.CreateTenantRequest(name="acme"),
        tenant_service_pb2.DeleteTenantRequest(name="acme"),
        tenant_service_pb2.DeleteTenantResponse(tenant=tenant_pb2.Tenant(name="acme")),
        quota_service_pb2.SetQuotaRequest(tenant="acme"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_tenant_is_named(message: Message) -> None:
    ids = IdCollector()
    ids(message)
    assert ids.found == {"tenant": "acme"}


def test_every_change_says_what_it_has_changed() -> None:
    """But for profiles, which have no other ids than the names that people gave them, and for the store as a whole."""
    silent = set()
    for method in service_methods():
        assert method.containing_service is not None
        if not is_change(f"/{method.containing_service.full_name}/{method.name}"):
            continue
        if not _fields(method.input_type) and not _fields(method.output_type):
            silent.add(f"{method.containing_service.name}/{method.name}")
    assert silent == {
        *("AgentService/PutProfile", "AgentService/DeleteProfile", "ToolService/ListTools"),
        *("ProfileService/PutProfile", "ProfileService/DeleteProfile"),
        *("StoreService/Backup", "StoreService/CancelReembed", "StoreService/Compact", "StoreService/Reembed"),
    }


def test_long_lists_of_ids_are_cut() -> None:
    ids = IdCollector()
    ids(archival_pb.DeletePassagesRequest(agent_id="a", passage_ids=[f"p{number}" for number in range(1000)]))
    assert ids.found["passage_ids"] == [f"p{number}" for number in range(16)]


def test_a_token_in_place_of_an_id_is_left_out() -> None:
    token, _ = new_token(new_id("key"))
    ids = IdCollector()
    ids(api_key_service_pb2.RevokeApiKeyRequest(api_key_id=token))
    ids(archival_pb.DeletePassagesRequest(agent_id="a", passage_ids=[token, "p1"]))
    assert ids.found == {"agent_id": "a", "passage_ids": ["p1"]}


async def test_a_token_in_place_of_a_request_id_is_left_out(start: Start, tmp_path: Path) -> None:
    token, _ = new_token(new_id("key"))
    async with start(Probe(str).add_to, audit="file", audit_folder=tmp_path) as running:
        await running.call("unary", "x", metadata=(("x-request-id", token),))
    assert [line["request_id"] for line in read(tmp_path)] == ["[redacted]"]


async def test_a_failing_disk_is_logged_and_counted_and_the_call_succeeds(start: Start, tmp_path: Path) -> None:
    async with start(Probe(str).add_to, audit="file", audit_folder=tmp_path) as running:
        (tmp_path / "memory.jsonl").unlink()
        (tmp_path / "memory.jsonl").mkdir()
        with capture_logs() as logged:
            assert await running.call("unary", "x") == ["x"]
        (tmp_path / "memory.jsonl").rmdir()
        assert await running.call("unary", "x") == ["x"]
        count = running.app.metrics.registry.get_sample_value
        assert count("memgpt_audit_lines_failed_total") == 1
        assert count("memgpt_audit_lines_total", {"event": "change"}) == 1
    assert len(read(tmp_path)) == 1
    (failed,) = (entry for entry in logged if entry["event"] == "audit_write_failed")
    assert "memgpt.test.v1.ProbeService/Unary" in failed["line"]


async def test_a_folder_that_cannot_be_written_is_found_at_the_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot open the audit log .*server\.audit_folder"):
        async with start(Probe(str).add_to, audit="file", audit_folder=tmp_path / "file" / "audit"):
            pass


async def test_nothing_is_written_unless_it_is_on(start: Start, tmp_path: Path) -> None:
    async with start(Probe(str).add_to, audit_folder=tmp_path) as running:
        await running.call("unary", "x")
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240


def test_the_contract_declares_which_methods_are_changes() -> None:
    pool = descriptor_pool.Default()
    modules = (agent_pb, memgpt.loader.v1.loader_service_pb2, agent_state_service_pb2, quota_service_pb2)
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    reading = ("Get", "List", "Search", "Read", "Load", "Export", "Watch", "Find", "Resolve")
    exceptions = {"RenewLease", "ReleaseLease"}  # a lease is not stored
    for service in services:
        for method in pool.FindServiceByName(service.full_name).methods:
            reads = method.name.startswith(reading) or method.name in exceptions
            assert is_change(f"/{service.full_name}/{method.name}") is not reads, method.full_name
    assert is_change("/memgpt.test.v1.ProbeService/Unary")
