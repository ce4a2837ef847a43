"""Reading of Letta's Agent Files: every shape as the mapping says, and hostile files refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from memgpt.cli.errors import CliError
from memgpt.cli.imports import bounded
from memgpt.cli.imports.bring import write_tools
from memgpt.cli.imports.documents import plan_sources
from memgpt.cli.imports.letta.agent_file import read_agent_file, read_agent_files
from memgpt.cli.imports.letta.core_memory import UNSHARED
from memgpt.cli.imports.pieces import Contents, Source, Tool
from memgpt.cli.imports.plan import AgentPlan, Options, plan_agents
from memgpt.cli.imports.report import Kind, Report
from memgpt.cli.imports.shared_blocks import plan_shared_blocks
from memgpt.cli.imports.stock_prompts import is_stock_prompt
from memgpt.cli.terminal.ui import Ui
from memgpt.memory.v1 import message_pb2 as pb

from tests.support import letta_files


@pytest.fixture
def report() -> Iterator[Report]:
    with Report() as opened:
        yield opened


def read(value: Any, report: Report, **options: Any) -> Contents:
    return read_agent_file(value, "test.af", report, **options)


def plan(value: Any, report: Report, **options: Any) -> list[AgentPlan]:
    return plan_agents(read(value, report, **options), "letta", Options(), report)


def messages(planned: AgentPlan) -> list[pb.Message]:
    return [piece.message for piece in planned.pieces("") if piece.HasField("message")]


def told(planned: AgentPlan) -> list[str]:
    """What each message says, in short."""
    lines = []
    for message in messages(planned):
        role = pb.Role.Name(message.role).removeprefix("ROLE_").lower()
        call = message.function_call
        try:
            words = json.loads(message.text)["message"]
        except (ValueError, KeyError, TypeError):
            words = message.text
        lines.append(f"{role}: {words}" + (f" | {call.name}({call.arguments})" if call.name else ""))
    return lines


def entries(report: Report) -> list[dict[str, Any]]:
    target = io.BytesIO()
    report.save(target, {"format": "letta"})
    found: list[dict[str, Any]] = json.loads(target.getvalue())["entries"]
    return found


def test_v1_early(report: Report) -> None:
    (agent,) = plan(letta_files.v1_early(), report)
    assert told(agent) == ['assistant: Greet them. | send_message({"message": "Hi"})', "tool: None", "user: Hello"]
    assert agent.window_start == 2
    assert agent.blocks == []
    assert report.count(Kind.LEFT_OUT, "core memory; this early Agent File has none") == 1


def test_v1_early_in_any_order_and_without_a_window(report: Report) -> None:
    value = letta_files.v1_early()
    del value["message_ids"]
    value["messages"].reverse()
    (agent,) = plan(value, report)
    assert told(agent) == ['assistant: Greet them. | send_message({"message": "Hi"})', "tool: None", "user: Hello"]
    assert agent.window_start == 0
    assert report.count(Kind.CHANGED, "window is not in the file; it became the last 50 messages") == 1
    assert report.count(Kind.CHANGED, "call without a result; a failed one was made") == 0


def test_v1(report: Report) -> None:
    contents = read(letta_files.v1(), report)
    (agent,) = plan_agents(contents, "letta", Options(), report)
    assert (agent.name, agent.settings.description, list(agent.settings.tags)) == (
        "Ada's friend",
        "A friend.",
        ["friend", "v1"],
    )
    assert told(agent) == [
        "user: My name is Ada",
        "assistant: Remember that. | core_memory_append("
        '{"name": "human", "content": "Ada", "request_heartbeat": true})',
        "tool: None",
        'assistant: Now greet her. | send_message({"message": "Hello Ada"})',
        "tool: None",
        "user: plain words",
    ]
    assert agent.window_start == 3, "a result in the window brings its call"
    assert agent.summary == "She is Ada."
    assert [(b.label, b.value, b.description) for b in agent.blocks] == [
        ("persona", "I am a friend.", ""),
        ("human", "Ada", "Who the user is."),
    ]
    assert messages(agent)[0].create_time.ToJsonString() == "2025-03-01T10:01:00.000123Z", "times are UTC"
    assert report.count(Kind.LEFT_OUT, "system message; it is composed for every call") == 3
    assert [tool.name for tool in contents.tools] == ["../../weather"]
    assert "archival memory" in contents.notices[0].lower()


def test_no_secret_reaches_the_report(report: Report) -> None:
    for shape in (letta_files.v1(), letta_files.v2_skills()):
        plan(shape, report)
    whole = json.dumps(entries(report))
    assert "planted" not in whole
    assert "API_KEY" in whole
    assert "TOKEN" in whole


def test_v2_with_a_hole(report: Report) -> None:
    contents = read(letta_files.v2_hole(), report)
    (agent,) = plan_agents(contents, "letta", Options(), report)
    assert (agent.message_count, agent.window_start) == (60, 50)
    assert told(agent)[49:51] == ["user: message 49", "user: message 120"]
    assert "others may be missing" in contents.notices[0]
    assert agent.settings.time_zone == "Europe/Berlin"


def test_v2_with_skills(report: Report) -> None:
    contents = read(letta_files.v2_skills(), report)
    assert [(d.name, d.text) for d in contents.sources[0].documents] == [
        ("rules.pdf", "Rule one: be kind."),
        ("notes.md", "# Notes\n\nNone."),
        ("empty.txt", ""),
    ]
    assert contents.sources[0].description == "How we work.\nQuote the rule."
    assert [(d.name, d.text) for d in contents.sources[1].documents] == [
        ("slack/SKILL.md", "Post it."),
        ("slack/scripts/api_key.py", "print('this ran')"),
    ]
    assert contents.agents[0].source_names == ("handbook", "skills")
    handbook, skills = plan_sources(contents.sources, report)
    assert (handbook.count, skills.count) == (2, 2)
    assert report.count(Kind.LEFT_OUT, "document without text") == 1
    lost = {entry["what"]: entry["value"] for entry in entries(report)}
    assert lost["skill that is only an address"] == {"name": "web", "source_url": "letta:web"}
    assert lost["address of a skill"] == "letta:slack"
    assert lost["version of the skill"] == 3
    assert "1 message of the context window" in contents.notices[0]


def test_letta_v1_agent(report: Report) -> None:
    (agent,) = plan(letta_files.letta_v1_agent(), report)
    assert told(agent) == [
        "user: Hello",
        'assistant: She greets. | send_message({"message": "Hello! How are you?"})',
        "tool: None",
        "user: Look:\n[image]",
        'assistant:  | send_message({"message": "Let me look."})',
        "tool: None",
        'assistant:  | web_search({"query": "x"})',
        "tool: found it",
        "assistant:  | archival_memory_search({})",
        "tool: no such memory",
        'assistant: I will say it. | send_message({"message": "It is there."})',
        "tool: None",
    ]
    assert json.loads(messages(agent)[9].text)["status"] == "Failed"
    ids = [message.function_call.call_id or message.call_id for message in messages(agent)]
    assert all(len(call_id) <= 29 for call_id in ids)
    assert report.count(Kind.LEFT_OUT, "reasoning that its provider redacted") == 1


def test_text_of_a_memgpt_agent_is_a_thought_and_never_shown(report: Report) -> None:
    value = letta_files.letta_v1_agent()
    value["agents"][0]["agent_type"] = "memgpt_agent"
    (agent,) = plan(value, report)
    assert told(agent)[1] == "assistant: She greets.\nHello! How are you?"


def test_a_sleeptime_group(report: Report) -> None:
    (agent,) = plan(letta_files.sleeptime_group(), report)
    assert agent.name == "Max"
    assert report.count(Kind.CHANGED, UNSHARED) == 1
    with Report() as every:
        main, twin = plan(letta_files.sleeptime_group(), every, all_agents=True)
        assert (main.name, twin.name) == ("Max", "Max-sleeptime")
        assert [block.label for block in twin.blocks] == ["human"]
        (shared,) = plan_shared_blocks([main, twin])
        assert [(agent.name, label) for agent, label in shared.agents] == [("Max", "human"), ("Max-sleeptime", "human")]
        assert every.count(Kind.CHANGED, UNSHARED) == 0
        assert every.count(Kind.LEFT_OUT, "block that is not in the file") == 1
        assert every.count(Kind.LEFT_OUT, "group; each agent stands on its own") == 1


def test_approvals(report: Report) -> None:
    (agent,) = plan(letta_files.approvals(), report)
    lines = told(agent)
    assert lines[1:3] == ['assistant:  | send_message({"message": "May I?"})', "tool: None"]
    assert lines[3:] == [
        'assistant:  | delete_file({"path": "x"})',
        "tool: deleted",
        'assistant:  | delete_file({"path": "y"})',
        "tool: Error: denied: not that one",
        'assistant:  | delete_file({"path": "z"})',
        "tool: The result was not in the imported file.",
    ]
    assert report.count(Kind.LEFT_OUT, "answer to an approval; the result has it") == 2


def test_a_doubly_encoded_file(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "double.af"
    path.write_text("\ufeff" + json.dumps(letta_files.doubly_encoded()), encoding="utf-8")
    assert [agent.name for agent in read_agent_files([path], report).agents] == ["Max"]
    assert report.count(Kind.CHANGED, "the file was a JSON string that held the JSON") == 1


def test_a_file_that_windows_wrote_and_times_that_are_numbers(report: Report, tmp_path: Path) -> None:
    value = letta_files.v2(letta_files.v2_agent([letta_files.v2_message(0, "user", "Hällo", created_at=1759312800)]))
    path = tmp_path / "windows.af"
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-16")
    (agent,) = plan_agents(read_agent_files([path], report), "letta", Options(), report)
    assert told(agent) == ["user: Hällo"]
    assert messages(agent)[0].create_time.seconds == 1759312800


def test_over_long_values(report: Report) -> None:
    (agent,) = plan(letta_files.over_long(), report)
    assert [len(block.value) for block in agent.blocks] == [20_000, 18]
    assert [block.limit for block in agent.blocks] == [20_000, 18]
    assert (len(agent.settings.system), len(agent.summary), len(agent.name)) == (65_536, 20_000, 128)
    assert (agent.settings.time_zone, len(agent.settings.tags)) == ("UTC", 32)
    assert agent.passage_count == 1
    first = messages(agent)[0].text
    assert 1 << 19 < len(first.encode()) <= 1 << 20
    lost = [entry for entry in entries(report) if entry["kind"] == "left out"]
    cut = next(entry["value"] for entry in lost if entry["what"] == "rest of a message over 1 MiB")
    assert json.loads(first)["message"] + cut == "ü" * 600_000, "nothing of it is lost"


def test_equal_labels(report: Report) -> None:
    own, git = plan(letta_files.equal_labels(), report)
    assert [block.label for block in own.blocks] == [
        "system_human",
        "system_human_2",
        "system_human_3",
        "etc_passwd",
        "system",
        "block",
        "notes_day_md",
    ]
    assert [(block.label, block.value) for block in git.blocks] == [
        ("human", "value 0"),
        ("human_2", "value 1"),
        ("block", "value 4"),
    ]
    notes = [piece.passage for piece in git.pieces("") if piece.HasField("passage")]
    assert [list(note.tags) for note in notes] == [
        ["block:system_human"],
        ["block:../../etc/passwd"],
        ["block:日本"],
        ["block:notes/day.md"],
    ]


def test_templates_are_profiles(report: Report) -> None:
    profiles = read(letta_files.templates(), report).profiles
    assert [(each.kind.value, each.name, each.text) for each in profiles] == [
        ("persona", "sam", "I am Sam."),
        ("human", "bob", "Their name is Bob."),
    ]


def test_sources_of_several_files_keep_apart_unless_they_are_equal(report: Report, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.af" for n in range(3)]
    for number, path in enumerate(paths):
        value = letta_files.v2_skills()
        value["agents"][0]["name"] = f"agent {number}"
        if number == 2:
            value["files"][0]["content"] = "Rule two."
        path.write_text(json.dumps(value))
    contents = read_agent_files(paths, report)
    assert [source.name for source in contents.sources] == ["handbook", "skills", "handbook-2"]
    assert [agent.source_names for agent in contents.agents] == [
        ("handbook", "skills"),
        ("handbook", "skills"),
        ("handbook-2", "skills"),
    ]


@pytest.mark.parametrize("shape", letta_files.SHAPES, ids=str)
def test_the_plan_of_every_shape_is_the_same_twice(shape: str) -> None:
    with Report() as first, Report() as second:
        value = letta_files.SHAPES[shape]()
        one, two = plan(value, first, all_agents=True), plan(value, second, all_agents=True)
        assert [each.origin for each in one] == [each.origin for each in two]
        assert entries(first) == entries(second)


def test_stock_instructions_are_known_by_their_digest_alone(tmp_path: Path) -> None:
    assert not is_stock_prompt("You are kind.")
    assert not is_stock_prompt("")


def nested(depth: int) -> str:
    return '{"agents": ' + "[" * depth + "]" * depth + "}"


def hostile() -> Iterator[tuple[str, str, str]]:
    """Name, text of the file, and the reason that it is refused with."""
    cut = json.dumps(letta_files.v1())[:-7]
    yield "deep", nested(130), "nested more than 128"
    yield "very deep", nested(100_000), "nested more than 128"
    yield "wide", "[" + "[]," * 2_100_000 + "[]]", "more than 2,000,000"
    yield "cut short", cut, "not valid JSON"
    yield "not a number", '{"agents": [NaN]}', "not valid JSON"
    yield "a number beyond all", '{"agents": [1e999]}', "not valid JSON"
    yield "a huge number", '{"agents": [' + "9" * 5_000 + "]}", "not valid JSON"
    yield "another file", '{"header": {"format_version": 1}}', "not an Agent File"
    yield "a list", "[]", "not an Agent File"
    yield "three times encoded", json.dumps(json.dumps("{}")), "not an Agent File"
    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "two agents of one id": lambda v: v["agents"].append(v["agents"][0]),
        "two messages of one id": lambda v: v["agents"][0]["messages"].append(v["agents"][0]["messages"][0]),
        "an agent without an id": lambda v: v["agents"][0].pop("id"),
        "a name that is an object": lambda v: v["agents"][0].update(name={"x": 1}),
        "messages that are text": lambda v: v["agents"][0].update(messages="many"),
        "a message that is a number": lambda v: v["agents"][0]["messages"].append(7),
        "block ids that are objects": lambda v: v["agents"][0].update(block_ids=[{}]),
        "a limit that is text": lambda v: v["blocks"][0].update(limit="10"),
        "tool calls that are text": lambda v: v["agents"][0]["messages"][0].update(role="assistant", tool_calls=["x"]),
    }
    for name, change in changes.items():
        value = letta_files.v2(letta_files.v2_agent([letta_files.v2_message(0, "user", "Hi")]))
        change(value)
        yield name, json.dumps(value), "test.af: "


@pytest.mark.parametrize(("content", "reason"), [pytest.param(*rest, id=name) for name, *rest in hostile()])
def test_a_hostile_file_is_refused_with_a_reason(report: Report, tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "test.af"
    path.write_text(content)
    with pytest.raises(CliError) as refused:
        read_agent_files([path], report)
    assert reason in refused.value.message
    assert len(refused.value.message) < 400


def test_a_file_over_the_limit_and_one_that_is_no_text_are_refused(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "test.af"
    path.write_bytes(b'{"agents": "\xff"}')
    with pytest.raises(CliError, match="not UTF-8"):
        read_agent_files([path], report)
    path.write_text(" " * 1_025)
    with pytest.raises(CliError, match="larger than"):
        bounded.read_json(path, 1_024)


def test_lone_surrogates_and_controls_do_not_get_through(report: Report) -> None:
    value = letta_files.v2(letta_files.v2_agent([letta_files.v2_message(0, "user", "a\\ud800b")], name="x\\u202ey"))
    parsed = bounded.parse_json(json.dumps(value).replace("\\\\u", "\\u"), "test.af")
    (agent,) = plan(parsed, report)
    assert agent.name == "xy"
    assert told(agent) == ["user: a\ufffdb"]


def test_tools_are_written_under_safe_names_and_run_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    tools = (
        Tool("../../weather", '{"name": "weather"}', "raise SystemExit('this ran')"),
        Tool("..", "", "one"),
        Tool("WEATHER\x00/é", '{"other": 1}', ""),
        Tool("nothing"),
    )
    for _ in range(2):  # the same import again finds its own files
        write_tools(Ui(), folder, tools)
    found = {path.name: path for path in folder.iterdir()}
    assert sorted(found) == ["WEATHER_2.json", "unnamed.txt", "weather.json", "weather.txt"]
    assert all(not path.stat().st_mode & 0o111 for path in found.values())
    assert [path.name for path in tmp_path.iterdir()] == ["tools"]
    found["weather.txt"].write_text("the user's own")
    with pytest.raises(CliError, match="exists already"):
        write_tools(Ui(), folder, tools)
    found["weather.txt"].unlink()
    outside = tmp_path / "outside"
    found["weather.txt"].symlink_to(outside)
    with pytest.raises(CliError, match="exists already"):
        write_tools(Ui(), folder, tools)
    assert not outside.exists()


def test_documents_get_names_of_their_own_that_are_never_paths(report: Report) -> None:
    from memgpt.cli.imports.pieces import Document

    documents = tuple(Document(name, "text") for name in ("../../x", "a.PDF", "a.pdf.txt", "\x00", "long" * 400))
    (source,) = plan_sources([Source("s" * 200, documents=documents)], report)
    assert source.count == 5
    assert len(source.name) == 128


def test_credentials_of_tool_servers_are_not_in_the_report() -> None:
    servers = [
        {"server_url": "https://ada:sk-1@example.org/mcp?api_key=sk-2&region=eu&sig=sk-3#top"},
        {"server_url": "https://example.org/mcp/sk-6-0123456789-abcdefgh==/sse/long-names-without-numbers"},
        {"stdio_config": {"command": "serve", "args": ["--token", "sk-4"], "env": {"KEY": "sk-5"}}},
    ]
    with Report() as report:
        read_agent_file({"agents": [], "mcp_servers": servers}, "a.af", report)
        saved = io.BytesIO()
        report.save(saved, {})
    text = saved.getvalue().decode()
    assert "sk-" not in text
    assert "https://[withheld]@example.org/mcp?api_key=[withheld]&region=eu&sig=[withheld]#top" in text
    assert "https://example.org/mcp/[withheld]/sse/long-names-without-numbers" in text
    assert '"command": "serve"' in text
