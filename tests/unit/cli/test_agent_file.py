"""Exported Agent Files: by the format's schema, and back again without a loss."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import jsonschema
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.cli.agent_file import Model, Written, write_agent_file
from memgpt.cli.call_arguments import renamed
from memgpt.cli.errors import CliError
from memgpt.cli.imports.bounded import parse_json
from memgpt.cli.imports.letta.agent_file import read_agent_file
from memgpt.cli.imports.plan import Options, plan_agents
from memgpt.cli.imports.report import Report
from memgpt.memory.v1.agent_pb2 import Agent, Attachment
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportEnd, ExportHeader, ExportRewind, ExportWindow
from memgpt.memory.v1.block_pb2 import Block
from memgpt.memory.v1.heartbeat_pb2 import Heartbeats
from memgpt.memory.v1.message_pb2 import ROLE_ASSISTANT, ROLE_TOOL, ROLE_USER, FunctionCall, Message
from memgpt.memory.v1.passage_pb2 import Passage
from memgpt.memory.v1.tool_pb2 import ToolFunction, ToolServer

from tests.support import letta_files

SCHEMA = json.loads((Path(__file__).parents[2] / "data/letta/agent_file_v2.schema.json").read_text())
MODEL = Model("gpt-4o-mini", 8_192)


def conversation(count: int = 12) -> Iterator[Message]:
    """Messages of every kind; two have the same time, and one is earlier than the one before."""
    for number in range(count):
        time = Timestamp(seconds=1_700_000_000 + number - 3 * (number == 7), nanos=123_000)
        call_id = f"c{number - number % 3}"
        match number % 3:
            case 0:
                text = json.dumps({"type": "user_message", "message": f"Höi {number}", "time": "now"})
                yield Message(sequence=number, role=ROLE_USER, text=text, create_time=time)
            case 1:
                name, arguments = "core_memory_append", '{"name": "human", "content": "漢字"}'
                if number > 6:
                    name, arguments = "send_message", '{"message": not JSON'
                yield Message(
                    sequence=number,
                    role=ROLE_ASSISTANT,
                    text=f"thought {number}" if number != 4 else "",
                    function_call=FunctionCall(call_id=call_id, name=name, arguments=arguments),
                    create_time=time,
                )
            case _:
                status = "Failed" if number == 5 else "OK"
                text = json.dumps({"status": status, "message": "None", "time": "now"})
                yield Message(sequence=number, role=ROLE_TOOL, text=text, call_id=call_id, create_time=time)


def exported(messages: Sequence[Message], **window: Any) -> list[AgentPiece]:
    agent = Agent(
        name="Zoë",
        system="Be kind.",
        time_zone="Europe/Berlin",
        description="A friend.",
        tags=["a", "ü"],
        create_time=Timestamp(seconds=1_690_000_000),
        attachments=[Attachment(source_name="paper")],
    )
    blocks = [
        Block(label="human", value="Ünïcode", limit=50, description="Who the user is."),
        Block(label="rules", value="", limit=2_000, read_only=True),
    ]
    return [
        AgentPiece(header=ExportHeader(format_version=1)),
        AgentPiece(agent=agent),
        *(AgentPiece(block=block) for block in blocks),
        AgentPiece(window=ExportWindow(**window)),
        *(AgentPiece(message=message) for message in messages),
        AgentPiece(passage=Passage(text="a note")),
        AgentPiece(end=ExportEnd(block_count=2, message_count=len(messages), passage_count=1)),
    ]


def written(pieces: Iterable[AgentPiece]) -> tuple[Any, Written]:
    target = io.BytesIO()
    result = write_agent_file(pieces, target, MODEL)
    value = parse_json(target.getvalue(), "exported.af")
    jsonschema.validate(value, SCHEMA)
    return value, result


def imported(value: Any) -> list[AgentPiece]:
    with Report() as report:
        contents = read_agent_file(value, "exported.af", report)
        (plan,) = plan_agents(contents, "letta", Options(system="keep"), report)
        return list(plan.pieces(""))


def kept(pieces: Iterable[AgentPiece]) -> list[AgentPiece]:
    """Blocks, window and messages."""
    return [piece for piece in pieces if piece.WhichOneof("piece") in ("block", "window", "message")]


def test_an_agent_comes_back_with_blocks_window_calls_and_summary() -> None:
    pieces = exported(list(conversation()), start_sequence=6, summary="We spoke of\nmany things.")
    value, result = written(pieces)
    assert (result.messages, result.passages, result.sources, result.taken_back) == (12, 1, ("paper",), 0)
    back = imported(value)
    assert kept(back) == kept(pieces)
    agent = back[1].agent
    assert (agent.name, agent.system, agent.time_zone) == ("Zoë", "Be kind.", "Europe/Berlin")
    assert (agent.description, list(agent.tags)) == ("A friend.", ["a", "ü"])


def noticed(value: Any) -> str:
    with Report() as report:
        (notice,) = read_agent_file(value, "exported.af", report).notices
        return notice


def test_a_file_of_our_own_is_known_for_what_it_has() -> None:
    rewinds = [ExportRewind(first=9, end=12)]
    pieces = exported(list(conversation()), start_sequence=6, summary="Much.", rewinds=rewinds)
    server = ToolServer(address="tools:1", functions=[ToolFunction(name="f")])
    pieces[4:4] = [AgentPiece(tool_server=server), AgentPiece(heartbeats=Heartbeats(plan="{}"))]
    pieces[1].agent.user_id = "ada"
    pieces[1].agent.note_ttl.seconds = 3_600
    value, result = written(pieces)
    lacks = "1 note, data source paper, 3 messages that were taken back, tool service tools:1, heartbeats, user"
    lacks += ", time to live"
    assert ", ".join(result.left_out) == lacks
    notice = noticed(value)
    assert f"9 messages, all that the exported agent had; not in the file: {lacks}" in notice
    assert "may be missing" not in notice
    value["agents"][0]["messages"].pop()
    assert "has been changed since it was exported, and others may be missing" in noticed(value)


@pytest.mark.parametrize("left_out", ["5", '{"a": 1}', "[", "[1, null]", ""])
def test_a_changed_note_of_what_is_missing_is_no_crash(left_out: str) -> None:
    value, _ = written(exported(list(conversation()), start_sequence=0))
    value["metadata"]["left_out"] = left_out
    if left_out in ("", "[1, null]"):
        assert "12 messages" in noticed(value)
    else:
        with pytest.raises(CliError, match="metadata"):
            noticed(value)


def test_the_window_begins_with_the_instructions_as_letta_wants_them() -> None:
    value, _ = written(exported(list(conversation()), start_sequence=9, summary="Much."))
    agent = value["agents"][0]
    by_id = {message["id"]: message for message in agent["messages"]}
    window = [by_id[message_id] for message_id in agent["in_context_message_ids"]]
    assert [message["role"] for message in window] == ["system", "user", "user", "assistant", "tool"]
    assert window[0]["content"] == [{"type": "text", "text": "Be kind."}]
    assert "Much." in window[1]["content"][0]["text"]


def test_calls_have_the_names_of_arguments_that_letta_knows() -> None:
    value, _ = written(exported(list(conversation()), start_sequence=0))
    calls = [m["tool_calls"][0]["function"] for m in value["agents"][0]["messages"] if m.get("tool_calls")]
    assert json.loads(calls[0]["arguments"]) == {"label": "human", "content": "漢字"}
    returns = [m["tool_returns"][0]["status"] for m in value["agents"][0]["messages"] if m.get("tool_returns")]
    assert returns == ["success", "error", "success", "success"]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"content":"\\u6f22",\t"name" : "human"}',
        '{"content": "\\"name\\": x", "name": {"name": 1}}',
        '{"content": {"name": 1}, "name": "human"}',
        '{"name": "a", "name": "b"}',
        '{"name": "a", "label": "b"}',
        '["name"]',
        '{"name": "human", "content',
        "[" * 100_000,
    ],
)
def test_arguments_come_back_as_the_model_wrote_them(arguments: str) -> None:
    there = renamed(arguments, "name", "label")
    back = renamed(there, "label", "name")
    assert back == arguments or json.loads(back) == json.loads(arguments)
    assert (there == arguments) == ("label" in arguments or arguments[-1] != "}")


def test_what_was_taken_back_stays_out() -> None:
    rewinds = [ExportRewind(first=0, end=3), ExportRewind(first=9, end=10), ExportRewind(first=11, end=12)]
    messages = [message for message in conversation() if message.sequence not in (10,)]
    value, result = written(exported(messages, start_sequence=3, rewinds=rewinds))
    assert (result.messages, result.taken_back) == (6, 5)
    assert len(value["agents"][0]["messages"]) == 7


def test_an_empty_agent_is_a_valid_file() -> None:
    value, _ = written(exported([], start_sequence=0))
    assert value["agents"][0]["in_context_message_ids"] == ["message-0"]
    assert [piece.WhichOneof("piece") for piece in imported(value)].count("message") == 0


def test_a_stream_that_ends_early_is_refused() -> None:
    with pytest.raises(CliError, match="no window"):
        write_agent_file(exported([])[:3], io.BytesIO(), MODEL)


@pytest.mark.parametrize("shape", letta_files.SHAPES, ids=str)
def test_every_shape_comes_back_the_same(shape: str) -> None:
    with Report() as report:
        contents = read_agent_file(letta_files.SHAPES[shape](), "first.af", report, all_agents=True)
        for plan in plan_agents(contents, "letta", Options(), report):
            pieces = list(plan.pieces("Our preset."))
            assert kept(imported(written(pieces)[0])) == kept(pieces)


def test_a_long_history_is_written_as_it_is_read() -> None:
    class Target(io.RawIOBase):
        size = largest = 0

        def write(self, data: Any) -> int:
            self.size += len(data)
            self.largest = max(self.largest, len(data))
            return len(data)

    target, read = Target(), 0

    def pieces() -> Iterator[AgentPiece]:
        nonlocal read
        for piece in exported(list(conversation(30_000)), start_sequence=29_990):
            read += 1
            assert target.size >= (read - 1_000) * 100, "what was read is written"
            yield piece

    write_agent_file(pieces(), cast("IO[bytes]", target), MODEL)
    assert target.largest < 1 << 20
