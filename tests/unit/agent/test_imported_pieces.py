"""Tools and heartbeats of imported agents: what Memory stores is what this service could have written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from memgpt.memory.v1.agent_pb2 import Agent
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece
from memgpt.memory.v1.heartbeat_pb2 import Heartbeats
from memgpt.memory.v1.tool_pb2 import ToolFunction, ToolServer
from memgpt_agent.heartbeat_plan import HeartbeatPlan
from memgpt_agent.remote_tools.addresses import AllowedAddresses
from memgpt_agent.rpc.imported_pieces import ImportedPieces
from memgpt_runtime.errors import InvalidArgument

BEAT = {"heartbeat_id": "hb_1", "cron": "0 9 * * *", "reason": "Dust", "created": 1.7e9}


def checks(*allowed: str) -> ImportedPieces:
    return ImportedPieces(AllowedAddresses(allowed))


def plan(**changes: Any) -> str:
    return json.dumps({"heartbeats": [{**BEAT, **changes}]})


def heartbeats(text: str, time_zone: str = "Europe/Berlin") -> str:
    pieces = [AgentPiece(agent=Agent(time_zone=time_zone)), AgentPiece(heartbeats=Heartbeats(plan=text, etag="h3"))]
    checks().check(pieces)
    assert not pieces[1].heartbeats.etag
    return pieces[1].heartbeats.plan


def server(address: str = "tools:1", **function: str) -> AgentPiece:
    given = {"name": "roll_dice", "description": "Roll dice.", "parameters": '{"type": "object"}', **function}
    return AgentPiece(tool_server=ToolServer(address=address, functions=[ToolFunction(**given)]))


def test_heartbeats_keep_their_schedules_limits_and_pause() -> None:
    wanted = {
        "heartbeats": [
            {**BEAT, "last": 1.75e9, "last_offset": 3600.0},
            {"heartbeat_id": "hb_2", "interval": 60.0, "by_agent": True},
            {"heartbeat_id": "hb_3", "at": 1.9e9},
        ],
        "paused_until": 1.8e9,
        "self_scheduled": True,
        "max_turns_per_day": 3,
        "max_tokens_per_day": 5_000,
    }
    kept = HeartbeatPlan.parse(heartbeats(json.dumps({**wanted, "unknown": 1})))
    assert kept == HeartbeatPlan.model_validate(wanted)
    assert json.loads(kept.text()) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        '{"heartbeats": 5}',
        '{"max_turns_per_day": 0}',
        '{"max_turns_per_day": 86401}',
        '{"max_tokens_per_day": -1}',
        '{"max_tokens_per_day": 9223372036854775808}',
        '{"paused_until": NaN}',
        '{"paused_until": Infinity}',
        '{"paused_until": 1e400}',
        plan(heartbeat_id=""),
        plan(heartbeat_id="../x"),
        plan(heartbeat_id="x" * 65),
        plan(reason="x" * 501),
        plan(cron=""),
        plan(cron="61 9 * * *"),
        plan(cron="0 0 30 2 *"),
        plan(at=1.9e9),
        plan(cron="", interval=0.5),
        plan(cron="", interval=1e300),
        plan(cron="", interval=-60),
        plan(cron="", at=-1),
        plan(cron="", at=1e300),
        plan(created=float("nan")),
        plan(last=float("inf")),
        plan(last_offset=1e9),
        json.dumps({"heartbeats": [BEAT, BEAT]}),
        json.dumps({"heartbeats": [{**BEAT, "heartbeat_id": f"hb_{n}"} for n in range(33)]}),
        json.dumps({"heartbeats": [{**BEAT, "heartbeat_id": f"hb_{n}", "reason": "ü" * 500} for n in range(32)]}),
    ],
)
def test_heartbeats_that_no_agent_has_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        heartbeats(text)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="time zone"):
        heartbeats(plan(), "Mars/Olympus")


def test_tools_keep_what_they_are_and_addresses_have_one_form() -> None:
    pieces = [server("Tools.Example.org:0443"), server("other:1", name="look")]
    checked = checks("tools.example.org:443")
    checked.check(pieces)
    assert [piece.tool_server.address for piece in pieces] == ["tools.example.org:443", "other:1"]
    assert checked.blocked == ["other:1"]
    # What is stored has its references resolved, and may be larger than what a server may send.
    large = json.dumps({"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(1_500)}})
    assert len(large) > 16 * 1024
    piece = server(parameters=large)
    checked.check([piece])
    assert json.loads(piece.tool_server.functions[0].parameters) == json.loads(large)


@pytest.mark.parametrize(
    "piece",
    [
        server("no address"),
        server("http://tools:1/x"),
        server("user:password@tools:1"),
        server("tools:99999"),
        server(name="send_message"),
        server(name="../x"),
        server(description=" "),
        server(parameters="[" * 50_000),
        server(parameters='{"type": "string"}'),
        server(parameters='{"$ref": "#"}'),
        server(parameters='{"$ref": "http://example.org/schema"}'),
        server(parameters='{"properties": {"inner_thoughts": {}}}'),
        AgentPiece(tool_server=ToolServer(address="a:1", functions=[server().tool_server.functions[0]] * 2)),
    ],
    ids=range(13),
)
def test_tools_that_could_not_be_registered_are_refused(piece: AgentPiece) -> None:
    with pytest.raises(InvalidArgument):
        checks("*:*").check([piece])
