"""`memgpt import letta` against real services: agents come to life, once, with everything that the file has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.client import MemGPT
from memgpt.memory.v1.agent_pb2 import Agent as AgentSettings
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportEnd, ExportHeader, ExportWindow
from memgpt.memory.v1.block_pb2 import Block, BlockEdit
from memgpt.memory.v1.message_pb2 import ROLE_ASSISTANT, ROLE_TOOL, ROLE_USER, FunctionCall, Message, Role
from memgpt.memory.v1.passage_pb2 import Passage
from memgpt.memory.v1.shared_block_pb2 import SharedBlockEdit

from tests.support import letta_files
from tests.support.suite import Suite

SCHEMA = json.loads((Path(__file__).parents[1] / "data/letta/agent_file_v2.schema.json").read_text())


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with Suite(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def client(suite: Suite) -> Iterator[MemGPT]:
    with suite.client() as connected:
        yield connected


def written(folder: Path, value: Any, name: str = "agent.af") -> str:
    path = folder / name
    path.write_text(json.dumps(value))
    return str(path)


def test_every_shape_comes_at_once_and_only_once(suite: Suite, client: MemGPT, tmp_path: Path) -> None:
    for number, (name, shape) in enumerate(letta_files.SHAPES.items()):
        value: Any = shape()
        encoded = isinstance(value, str)
        value = json.loads(value) if encoded else value
        for each in value.get("agents", [value]):
            each["name"] = f"{number} {each['name']}"
        path = written(tmp_path, json.dumps(value) if encoded else value, f"{number}.af")
        report = tmp_path / f"{number}.json"
        told = suite.cli("import", "letta", path, "--all-agents", "--report", str(report))
        head = json.loads(report.read_text())
        assert len(head["entries"]) == head["changed"] + head["left_out"], name
        for plan in head["agents"]:
            assert f"Imported agent {plan['name']}" in told
            agent = client.agents.find(plan["name"])
            context = client.agents.context(agent.agent_id)
            assert (agent.message_count, len(context.blocks)) == (plan["messages"], plan["blocks"]), name
            assert agent.info.origin == plan["origin"]
        before = {agent.agent_id: agent.info for agent in client.agents.list()}
        again = suite.cli("import", "letta", path, "--all-agents")
        assert again.count("was imported before; nothing is changed") == len(head["agents"])
        assert {agent.agent_id: agent.info for agent in client.agents.list()} == before


def test_an_agent_of_version_1_lives_on(suite: Suite, client: MemGPT, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    value = letta_files.v1() | {"name": "Living"}
    suite.cli("import", "letta", written(tmp_path, value), "--tools", str(tools), "--time-zone", "Europe/Paris")
    agent = client.agents.find("Living")
    assert (agent.info.description, list(agent.info.tags), agent.info.time_zone) == (
        "A friend.",
        ["friend", "v1"],
        "Europe/Paris",
    )
    assert sorted(path.name for path in tools.iterdir()) == ["weather.json", "weather.txt"]
    context = client.agents.context(agent.agent_id)
    assert [block.description for block in context.blocks] == ["", "Who the user is."]
    days = suite.cli(
        "search", "name", "--agent", "Living", "--messages", "--after", "2025-03-01", "--before", "2025-03-02"
    )
    assert "My name is Ada" in days
    answer = suite.cli("ask", "--agent", "Living", "What is my name?")
    assert answer.strip()
    assert client.agents.find("Living").message_count > agent.message_count
    assert "A friend." in suite.cli("show", "agent", "Living")


def test_sources_are_loaded_and_attached_and_found_by_the_agent(suite: Suite, client: MemGPT, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("This is another handbook.")
    suite.cli("load", "files", str(tmp_path / "mine.txt"), "--name", "rules")
    value = letta_files.v2_skills()
    value["agents"][0]["name"] = "Reader"
    value["sources"][0]["name"] = "rules"
    told = suite.cli("import", "letta", written(tmp_path, value))
    assert "older messages are not in the file, and neither is archival memory" in told
    agent = client.agents.find("Reader")
    attachment, skills = agent.info.attachments
    assert skills.source_name.startswith("skills")
    assert attachment.source_name == "rules-2", "the user's own source of the name stays as it is"
    assert [file.version.name for file in client.sources.find("rules").files()] == ["mine.txt"]
    assert "Rule one: be kind." in suite.cli("search", "rule", "--agent", "Reader")
    again = suite.cli("import", "letta", written(tmp_path, value))
    assert "nothing is changed" in again
    assert len(list(client.sources.find("rules-2").files())) == 2


def test_a_dry_run_needs_no_service_and_changes_nothing(suite: Suite, client: MemGPT, tmp_path: Path) -> None:
    before = [agent.name for agent in client.agents.list()]
    value = letta_files.v2_hole()
    value["agents"][0]["name"] = "Dry"
    told = suite.cli("import", "letta", written(tmp_path, value), "--dry-run", "--report", str(tmp_path / "r.json"))
    assert "60 messages (10 in the window)" in told
    assert "Nothing was imported" in told
    assert [agent.name for agent in client.agents.list()] == before
    refused = suite.run("import", "letta", written(tmp_path, value), "--dry-run", "--report", str(tmp_path / "r.json"))
    assert refused.returncode == 2
    assert "--force" in refused.stderr


def test_a_name_that_is_taken_costs_that_agent_only(suite: Suite, client: MemGPT, tmp_path: Path) -> None:
    client.agents.create("Taken")
    one = letta_files.v2(letta_files.v2_agent([letta_files.v2_message(0, "user", "one")], name="Taken"))
    two = letta_files.v2(letta_files.v2_agent([letta_files.v2_message(0, "user", "two")], name="Free"))
    paths = [written(tmp_path, one, "one.af"), written(tmp_path, two, "two.af")]
    ended = suite.run("import", "letta", *paths)
    assert ended.returncode == 1
    assert '"Taken" exists already; import it as --name "Taken-2"' in " ".join(ended.stderr.split())
    assert client.agents.find("Free").message_count == 1
    suite.cli("import", "letta", paths[0], "--name", "Taken-2")
    assert client.agents.find("Taken-2").message_count == 1


def test_profiles_come_once_and_never_over_the_users_own(suite: Suite, tmp_path: Path) -> None:
    suite.cli("add", "persona", "--name", "sam", "--text", "Mine.", "--yes")
    value = letta_files.templates()
    value["agents"][0]["name"] = "Templates"
    for _ in range(2):
        suite.cli("import", "letta", written(tmp_path, value), "--profiles")
    assert suite.cli("show", "persona", "sam") == "Mine.\n"
    assert suite.cli("show", "persona", "sam-2") == "I am Sam.\n"
    assert suite.cli("show", "human", "bob") == "Their name is Bob.\n"
    assert "sam-3" not in suite.cli("list", "personas")


def test_an_agent_goes_out_and_comes_back_by_either_format(suite: Suite, client: MemGPT, tmp_path: Path) -> None:
    first = client.agents.create(
        "Wanderer", description="Goes about.", tags=["a", "b"], time_zone="Asia/Tokyo", persona="memgpt_doc"
    )
    suite.cli(
        "add", "block", "--agent", "Wanderer", "--name", "plan", "--text", "Go.", "--description", "What is next."
    )
    suite.cli("ask", "--agent", "Wanderer", "My name is Ada and I like green tea.")
    own, agent_file = tmp_path / "w.jsonl", tmp_path / "w.af"
    suite.cli("export", "agent", "Wanderer", "-o", str(own))
    assert "as an Agent File" in suite.cli("export", "agent", "Wanderer", "--format", "af", "-o", str(agent_file))
    suite.cli("import", "agent", str(own), "--name", "By own")
    suite.cli("import", "letta", str(agent_file), "--system", "keep", "--name", "By file")

    def pieces(name: str) -> list[Any]:
        return list(client.agents.export(client.agents.find(name).agent_id))

    def content(name: str, kinds: tuple[str, ...]) -> list[Any]:
        kept = []
        for piece in pieces(name):
            kind = piece.WhichOneof("piece")
            if kind in kinds:
                value = getattr(piece, kind)
                for field in (
                    "message_id",
                    "agent_id",
                    "turn_id",
                    "step",
                    "usage",
                    "etag",
                    "update_time",
                    "passage_id",
                ):
                    if field in value.DESCRIPTOR.fields_by_name and ("turn" not in field or len(kinds) == 3):
                        value.ClearField(field)
                kept.append(value)
        return kept

    short = ("block", "window", "message")
    assert content("By file", short) == content("Wanderer", short)
    whole = ("block", "window", "message", "passage")
    assert content("By own", whole) == content("Wanderer", whole)
    for name in ("By own", "By file"):
        info = client.agents.find(name).info
        assert (info.system, info.time_zone, info.description, list(info.tags)) == (
            first.info.system,
            "Asia/Tokyo",
            "Goes about.",
            ["a", "b"],
        )
    assert suite.cli("list", "agents", "--tag", "a", "--tag", "b").count("\n") == 4


def odd_agent() -> list[AgentPiece]:
    """An agent with all that can be odd: scripts, empty texts, taken back messages, an open call, times that repeat."""
    texts = [
        "\u202eright to left",
        "e\u0301 \U0001f469\u200d\U0001f469\u200d\U0001f467",
        "\0 \ufffe \x1b[1m",
        " \n",
        "\u2028",
    ]
    messages: list[Message] = []

    def add(role: Role.ValueType, text: str, **fields: Any) -> None:
        time = Timestamp(seconds=1_700_000_000 + len(messages) // 2, nanos=123_456_000)
        messages.append(Message(sequence=len(messages), role=role, text=text, create_time=time, **fields))

    def exchange(call_id: str, name: str, arguments: str, result: str | None) -> None:
        thought = f"thought {call_id}" if len(messages) % 2 else ""
        call = FunctionCall(call_id=call_id, name=name, arguments=arguments)
        add(ROLE_ASSISTANT, thought, function_call=call)
        if result is not None:
            add(ROLE_TOOL, result, call_id=call_id)

    for number in range(120):  # the window is far behind the first fifty
        add(ROLE_USER, json.dumps({"type": "user_message", "message": texts[number % 5], "time": f"t {number}"}))
        exchange(f"c_{number}", "send_message", '{"message":"Ünï"}', '{"status": "OK", "message": "None"}')
    add(ROLE_USER, '{"type": "heartbeat", "reason": "[This is an automated system message]"}')
    exchange(
        "same id",
        "core_memory_append",
        '{"content":"漢字",\t"name" : "human"}',
        '{"status": "Failed", "message": "full"}',
    )
    exchange(
        "same id",
        "core_memory_replace",
        '{"name": "human", "old_content": "a", "new_content": ""}',
        '{"status": "OK", "message": ""}',
    )
    exchange(
        "broken", "core_memory_append", '{"name": "human", "content', '{"status": "Failed", "message": "not JSON"}'
    )
    add(ROLE_ASSISTANT, "A thought without a call.")
    exchange("open", "archival_memory_search", '{"query": "x"}', None)
    blocks = [
        Block(label="persona", value="", limit=20_000, read_only=True),
        Block(label="human", value="\u202e\n\tÜ \0", limit=7, description="two\nlines"),
        Block(label="x" * 64, value=" " * 20, limit=20),
    ]
    agent = AgentSettings(
        name="Odd", system="\tBe odd.\n\n", time_zone="Asia/Kathmandu", tags=["ü", "\U0001f469\u200d\U0001f467"]
    )
    agent.attachments.add(source_name="nowhere")
    notes = [Passage(text="\u2028 note", tags=["a b"], create_time=Timestamp(seconds=5)), Passage(text="x" * 5_000)]
    return [
        AgentPiece(header=ExportHeader(format_version=2)),
        AgentPiece(agent=agent),
        *(AgentPiece(block=block) for block in blocks),
        AgentPiece(window=ExportWindow(start_sequence=330, summary="We\nspoke: \u2028 12")),
        *(AgentPiece(message=message) for message in messages),
        *(AgentPiece(passage=note) for note in notes),
        AgentPiece(end=ExportEnd(block_count=3, message_count=len(messages), passage_count=len(notes))),
    ]


def fields(pieces: Iterable[AgentPiece], *kinds: str) -> list[Any]:
    """Return what pieces of some kinds say, without what names the agent or the time of the export."""
    found = []
    for piece in pieces:
        if (kind := piece.WhichOneof("piece")) in kinds:
            value = getattr(piece, kind)
            for field in ("agent_id", "message_id", "passage_id", "update_time", "etag", "export_time"):
                if field in value.DESCRIPTOR.fields_by_name:
                    value.ClearField(field)
            found.append(value)
    return found


def test_an_odd_agent_goes_out_and_comes_back_field_by_field(suite: Suite, client: MemGPT, tmp_path: Path) -> None:
    client.agents.import_(odd_agent())
    own, agent_file, report = tmp_path / "odd.jsonl", tmp_path / "odd.af", tmp_path / "report.json"
    suite.cli("export", "agent", "Odd", "-o", str(own))
    told = suite.cli("export", "agent", "Odd", "--format", "af", "-o", str(agent_file))
    suite.cli("import", "agent", str(own), "--name", "Odd by own")
    suite.cli("import", "letta", str(agent_file), "--system", "keep", "--name", "Odd by file", "--report", str(report))
    jsonschema.validate(json.loads(agent_file.read_text()), SCHEMA)

    def exported(name: str, *kinds: str) -> list[Any]:
        return fields(client.agents.export(client.agents.find(name).agent_id), *kinds)

    whole = ("header", "block", "window", "message", "passage", "end")
    assert exported("Odd by own", *whole) == exported("Odd", *whole)
    assert exported("Odd by file", "block", "window") == exported("Odd", "block", "window")
    messages, back = exported("Odd", "message"), exported("Odd by file", "message")
    assert back[: len(messages)] == messages
    # An open call gets a failed result, which the report tells; nothing else is made up.
    (made,) = back[len(messages) :]
    assert (made.role, made.call_id, json.loads(made.text)["status"]) == (ROLE_TOOL, "open", "Failed")
    changed = {each["what"] for each in json.loads(report.read_text())["entries"] if each["kind"] == "changed"}
    assert "call without a result; a failed one was made" in changed
    settings = ("system", "time_zone", "tags", "description")
    for name in ("Odd by own", "Odd by file"):
        ((odd,), (came,)) = exported("Odd", "agent"), exported(name, "agent")
        assert [getattr(came, field) for field in settings] == [getattr(odd, field) for field in settings]
    assert "notes" in told


def test_a_shared_block_comes_as_one_and_only_once(suite: Suite, client: MemGPT, tmp_path: Path) -> None:
    value = letta_files.sleeptime_group()
    main, twin = value["agents"]
    main["name"], twin["name"] = "Team one", "Team two"
    value["blocks"][1] |= {"label": "team/plan", "value": "Ship.", "limit": 300, "read_only": False}
    path = written(tmp_path, value)
    client.blocks.create("team_plan of Team one", "Mine.")  # the user's own of that name stays as it is
    assert 'Shared block team_plan of Team one: "Team one", "Team two"' in suite.cli(
        "import", "letta", path, "--all-agents", "--dry-run"
    )
    suite.cli("import", "letta", path, "--all-agents")
    block = client.blocks.find("team_plan of Team one-2")
    assert (block.value, block.limit, block.description) == ("Ship.", 300, "About human.")
    assert [(each.agent_name, each.label) for each in client.blocks.agents(block.block_id)] == [
        ("Team one", "team_plan"),
        ("Team two", "team_plan"),
    ]
    client.agents.set_block(client.agents.find("Team one").agent_id, BlockEdit(label="team_plan", value="Shipped."))
    before = [each.name for each in client.blocks.list()]
    assert suite.cli("import", "letta", path, "--all-agents").count("nothing is changed") == 2
    # What an interrupted import left: one of the agents, and a value that has changed since.
    client.agents.delete(client.agents.find("Team two").agent_id)
    suite.cli("import", "letta", path, "--all-agents")
    context = client.agents.context(client.agents.find("Team two").agent_id)
    assert [(each.value, each.shared_block_id) for each in context.blocks if each.label == "team_plan"] == [
        ("Shipped.", block.block_id)
    ]
    # Or no agent at all, but the block.
    for name in ("Team one", "Team two"):
        client.agents.delete(client.agents.find(name).agent_id)
    client.blocks.update(SharedBlockEdit(block_id=block.block_id, value="Ship."))
    suite.cli("import", "letta", path, "--all-agents")
    assert [each.name for each in client.blocks.list()] == before
    assert len(client.blocks.agents(block.block_id).all()) == 2


def test_an_agent_is_described(suite: Suite, client: MemGPT) -> None:
    client.agents.create("Described")
    suite.cli("add", "description", "Knows the garden.", "--agent", "Described")
    assert client.agents.find("Described").info.description == "Knows the garden."
    assert "Knows the garden." in suite.cli("show", "agent", "Described")
    suite.cli("delete", "description", "--agent", "Described")
    assert client.agents.find("Described").info.description == ""


def test_hostile_files_end_in_one_line(suite: Suite, tmp_path: Path) -> None:
    for content in ("[" * 100_000, "{}", '{"agents": [1]}', "\x00", ""):
        path = tmp_path / "bad.af"
        path.write_text(content)
        ended = suite.run("import", "letta", str(path))
        assert ended.returncode == 1
        assert ended.stderr.startswith("Error: ")
        assert "bug" not in ended.stderr
        assert ended.stderr.count("\n") == 1
    missing = suite.run("import", "letta", str(tmp_path / "nowhere.af"))
    assert missing.returncode == 1
    assert "No such file" in missing.stderr
