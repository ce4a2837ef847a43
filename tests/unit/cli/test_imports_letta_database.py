"""Letta's database: every version, from SQLite and from a dump of PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from memgpt.cli.errors import CliError
from memgpt.cli.imports.homes.home import Choice as HomeChoice
from memgpt.cli.imports.homes.home import open_home
from memgpt.cli.imports.letta.agent_file import read_agent_files
from memgpt.cli.imports.letta.core_memory import UNSHARED
from memgpt.cli.imports.letta.database import Choice, open_letta
from memgpt.cli.imports.letta.dump import open_dump
from memgpt.cli.imports.letta.tables import TABLES, script
from memgpt.cli.imports.pieces import Agent, Contents, Results
from memgpt.cli.imports.plan import Options, plan_agents
from memgpt.cli.imports.report import Kind, Report
from memgpt.cli.imports.shared_blocks import plan_shared_blocks

from tests.support import letta_database as letta
from tests.support import memgpt_home
from tests.support.postgres import Postgres, running_postgres


@pytest.fixture
def report() -> Iterator[Report]:
    with Report() as opened:
        yield opened


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@contextmanager
def read(path: Path, report: Report, choice: Choice | None = None) -> Iterator[Contents]:
    with open_letta(path, choice or Choice(), report, is_dump=path.is_dir()) as contents:
        yield contents


def dumped(server: Postgres, database: str, folder: Path) -> Path:
    """Dump a database as its owner does: with the printed SQL."""
    folder.mkdir()
    server.psql(database, "-f", "-", stdin=script(), folder=folder)
    return folder


def lines(folder: Path, table: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / f"{table}.jsonl").read_text().splitlines()]


def check(contents: Contents, filled: letta.Filled, version: str) -> None:
    """Everything that a filled database holds of Ada is found."""
    ada = next(agent for agent in contents.agents if agent.name == "Ada")
    assert [(block.label, block.value) for block in ada.blocks] == [
        ("persona", "I am Ada. 🫖"),
        ("human", "Chad likes tea."),
    ]
    messages = list(ada.messages)
    assert len(messages) == filled.messages
    assert [message.in_window for message in messages] == [False] * (filled.messages - filled.window) + [
        True
    ] * filled.window
    assert ada.summary == letta.SUMMARY
    times = [message.time for message in messages if message.time]
    assert [after - before for before, after in pairwise(times)] == [timedelta(seconds=1)] * (filled.messages - 1)
    assert "茶" in str(messages[0].content)
    assert isinstance(messages[2].content, Results)
    notes = list(ada.passages)
    assert [note.text for note in notes] == [f"Note {n}: Chad's tea was “green”." for n in range(letta.NOTES)]
    assert ("number 3" in notes[3].tags) == filled.has_tags
    assert "mood=calm" in notes[0].tags
    assert ada.source_names == ("paper",)
    (source,) = contents.sources
    (document,) = source.documents
    assert (source.name, document.text) == ("paper", letta.FILE_TEXT)
    assert [profile.name for profile in contents.profiles] == ["pirate"]
    assert [tool.name for tool in contents.tools] == ["roll_dice"]
    assert (ada.model, ada.context_window) == ("gpt-4", 8192)
    assert ada.tags == (() if version in ("0.4", "0.6") else ("tea",))


@pytest.mark.parametrize("version", letta.VERSIONS)
def test_sqlite_database_of_each_version_comes_whole(version: str, tmp_path: Path, report: Report) -> None:
    database = letta.Database(version)
    database.write_sqlite(tmp_path / "sqlite.db")
    with read(tmp_path / "sqlite.db", report) as contents:
        check(contents, database.filled, version)
        (plan, _) = plan_agents(contents, "letta", Options(), report)
        assert (plan.message_count, plan.passage_count) == (database.filled.messages, letta.NOTES)
        assert plan.window_start == database.filled.messages - database.filled.window


@pytest.mark.parametrize("version", letta.VERSIONS)
def test_postgresql_database_of_each_version_comes_whole(
    version: str, tmp_path: Path, report: Report, postgres: Postgres
) -> None:
    database = letta.Database(version)
    database.write_postgres(postgres, f"letta_{version}")
    folder = dumped(postgres, f"letta_{version}", tmp_path / "dump")
    with read(folder, report) as contents:
        check(contents, database.filled, version)
    assert not any("sk-never" in file.read_text() or "0.5" in file.read_text() for file in folder.iterdir())
    assert "embedding" not in lines(folder, "messages")[0]


def test_sql_reads_the_tables_and_columns_that_the_reader_knows() -> None:
    blocks = script().split("\\set table ")
    columns = [line for block in blocks for line in block.splitlines() if line.startswith("\\set columns")]
    assert [line.split("'")[1].split() for line in columns] == [list(each) for each in TABLES.values()]
    assert [block.split()[0] for block in blocks[1 : len(TABLES) + 1]] == list(TABLES)


def test_dump_keeps_backslashes_nul_escapes_and_other_scripts(
    tmp_path: Path, report: Report, postgres: Postgres
) -> None:
    postgres.create("odd")
    postgres.psql(
        "odd",
        stdin=r"""
        CREATE TABLE agents (id text, name text, message_ids json);
        CREATE TABLE messages (id text, agent_id text, role text, content json);
        INSERT INTO agents VALUES ('a', E'tab\tquote" back\\slash 茶', '["m"]');
        INSERT INTO messages VALUES
          ('m', 'a', 'user', '[{"type": "text", "text": "nul \u0000, C:\\dir\n, \ud83e\uded6"}]');
        """,
    )
    with read(dumped(postgres, "odd", tmp_path / "dump"), report) as contents:
        (agent,) = contents.agents
        assert agent.name == 'tab\tquote" back\\slash 茶'
        assert [message.content.text for message in agent.messages] == ["nul \0, C:\\dir\n, 🫖"]  # type: ignore[union-attr]


def test_agent_that_was_talked_to_in_a_conversation_continues_it(tmp_path: Path, report: Report) -> None:
    letta.Database("0.16").write_sqlite(tmp_path / "sqlite.db")
    with read(tmp_path / "sqlite.db", report) as contents:
        bob = contents.agents[1]
        assert [message.in_window for message in bob.messages] == [False] * 3 + [True] * 3
    with (
        pytest.raises(CliError, match='no conversation "conv-9"; it has conv-1'),
        read(tmp_path / "sqlite.db", report, Choice("Bob", "conv-9")),
    ):
        pass


def test_shared_blocks_are_shared_and_shared_archives_copied(tmp_path: Path, report: Report) -> None:
    letta.Database("0.11").write_sqlite(tmp_path / "sqlite.db")
    with read(tmp_path / "sqlite.db", report) as contents:
        bob = contents.agents[1]
        assert [block.value for block in bob.blocks] == ["Chad likes tea."]
        assert len(list(bob.passages)) == letta.NOTES
        assert len(list(bob.passages)) == letta.NOTES
        (shared,) = plan_shared_blocks(plan_agents(contents, "letta", Options(), report))
        assert [(agent.name, label) for agent, label in shared.agents] == [("Ada", "human"), ("Bob", "human")]
    assert report.count(Kind.CHANGED, UNSHARED) == 0
    assert report.count(Kind.CHANGED, "archive was shared by several agents; each has its own now") == 2


def test_a_shared_block_of_one_chosen_agent_is_reported(tmp_path: Path, report: Report) -> None:
    letta.Database("0.11").write_sqlite(tmp_path / "sqlite.db")
    with read(tmp_path / "sqlite.db", report, Choice("Bob")) as contents:
        assert plan_shared_blocks(plan_agents(contents, "letta", Options(), report)) == []
    assert report.count(Kind.CHANGED, UNSHARED) == 1


def test_agents_can_be_chosen_and_those_of_others_memory_stay_behind(tmp_path: Path, report: Report) -> None:
    letta.Database("0.11").write_sqlite(tmp_path / "sqlite.db")
    found: dict[Choice, list[str]] = {}
    for choice in (Choice(), Choice(all_agents=True), Choice("agent-2"), Choice("Ada-sleeptime")):
        with read(tmp_path / "sqlite.db", report, choice) as contents:
            found[choice] = [agent.name for agent in contents.agents]
    assert list(found.values()) == [["Ada", "Bob"], ["Ada", "Bob", "Ada-sleeptime"], ["Bob"], ["Ada-sleeptime"]]
    with (
        pytest.raises(CliError, match=r'no agent "Eve" in .*; it has "Ada", "Bob"'),
        read(tmp_path / "sqlite.db", report, Choice("Eve")),
    ):
        pass


def test_data_sources_of_other_agents_stay_behind_with_a_chosen_one(tmp_path: Path, report: Report) -> None:
    letta.Database("0.11").write_sqlite(tmp_path / "sqlite.db")
    with read(tmp_path / "sqlite.db", report, Choice("Bob")) as contents:
        assert contents.sources == ()
    assert report.count(Kind.LEFT_OUT, "data source that the chosen agent does not have") == 1


def test_agents_of_others_memory_are_taken_if_there_are_no_others_and_without_agents_sources_still_come(
    tmp_path: Path, report: Report
) -> None:
    sql = """CREATE TABLE agents (id, name, agent_type); CREATE TABLE messages (id, agent_id, role);
    CREATE TABLE sources (id, name); INSERT INTO sources VALUES ('s', 'Books');"""
    with read(database(tmp_path / "empty.db", sql), report) as found:
        assert (len(found.agents), [source.name for source in found.sources]) == (0, ["Books"])
    sql += "INSERT INTO agents VALUES ('a', 'Ada-sleeptime', 'sleeptime_agent');"
    with read(database(tmp_path / "one.db", sql), report) as found:
        assert [agent.name for agent in found.agents] == ["Ada-sleeptime"]


def test_memory_in_git_is_in_the_prompt_only_under_system(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "sqlite.db"
    letta.Database("0.11").write_sqlite(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE agents_tags SET tag = 'git-memory-enabled'")
        connection.execute("UPDATE block SET label = 'system/persona' WHERE id = 'block-persona'")
        connection.execute("UPDATE block SET label = 'projects/tea' WHERE id = 'block-human'")
    connection.close()
    with read(path, report, Choice("Ada")) as contents:
        (ada,) = contents.agents
        assert [block.label for block in ada.blocks] == ["persona"]
        assert next(iter(ada.passages)).tags == ("block:projects/tea",)


def test_replies_of_the_newer_kind_of_agent_are_no_thoughts(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "sqlite.db"
    letta.Database("0.16").write_sqlite(path)
    parts = [{"type": "reasoning", "reasoning": "He asks."}, {"type": "text", "text": "Hello."}]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE agents SET agent_type = 'letta_v1_agent'")
        connection.execute(
            "UPDATE messages SET content = ?, tool_calls = NULL WHERE id = 'message-1'", (json.dumps(parts),)
        )
    connection.close()
    with read(path, report, Choice("Ada")) as contents:
        said = list(contents.agents[0].messages)[1].content
    assert (said.thought, said.reply) == ("He asks.", "Hello.")  # type: ignore[union-attr]


# Files that are damaged, or made to do harm.


def database(path: Path, sql: str) -> Path:
    with sqlite3.connect(path) as connection:
        connection.executescript(sql)
    connection.close()
    return path


def read_everything(path: Path, report: Report) -> None:
    with read(path, report) as contents:
        plan_agents(contents, "letta", Options(), report)


AGENTS = "CREATE TABLE agents (id, name, message_ids); INSERT INTO agents VALUES ('a', 'Ada', '[]');"
MESSAGES = "CREATE TABLE messages (id, agent_id, role, text, content);"


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("CREATE TABLE t (id)", "is not Letta's database"),
        (
            AGENTS + "CREATE VIEW messages AS WITH RECURSIVE n(id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM n)"
            " SELECT id, 'a' AS agent_id, 'user' AS role FROM n;",
            "is not Letta's database",
        ),
        (AGENTS + MESSAGES + "UPDATE agents SET message_ids = '" + "[" * 5000 + "'", "nested more than"),
        (AGENTS + MESSAGES + "UPDATE agents SET message_ids = '{'", "not valid JSON"),
        (AGENTS + MESSAGES + "INSERT INTO messages VALUES ('m', 'a', 'user', '', zeroblob(70000000))", "too big"),
    ],
)
def test_hostile_database_is_refused_with_a_reason(sql: str, reason: str, tmp_path: Path, report: Report) -> None:
    with pytest.raises(CliError, match=reason):
        read_everything(database(tmp_path / "x.db", sql), report)


def test_computed_columns_and_values_of_any_type_do_no_harm(tmp_path: Path, report: Report) -> None:
    sql = """
        CREATE TABLE agents (id, name, system TEXT AS (hex(zeroblob(1000))), message_ids, tool_rules, llm_config);
        INSERT INTO agents (id, name, message_ids, llm_config) VALUES (1, NULL, 7, '[]'), (x'00ff', x'ff', 'null', '3');
        CREATE TABLE messages (id, agent_id, role, content, tool_calls);
        INSERT INTO messages VALUES (1, '1', 'user', '{"a": 1}', '7'), (2, '1', NULL, NULL, '[null, {"function": 1}]');
        CREATE TABLE block (id, label, value, "limit"); INSERT INTO block VALUES ('b', 1, 2, 'x');
        CREATE TABLE blocks_agents (agent_id, block_id, block_label); INSERT INTO blocks_agents VALUES (1, 'b', 3);
    """
    with read(database(tmp_path / "x.db", sql), report) as contents:
        agents: list[Agent] = list(contents.agents)
        assert [agent.system for agent in agents] == ["", ""]
        assert plan_agents(contents, "letta", Options(), report)


def _counted(table: str, count: str) -> str:
    return f'{{"table": "{table}", "count": {count}}}\n'


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "has no dump"),
        ({"agents": '{"id": "a", "name": "Ada"}\n'}, "has no counts.jsonl"),
        ({"agents": "[]\n", "counts": ""}, "is not a JSON object"),
        ({"agents": '{"id": "a"', "counts": ""}, "not valid JSON"),
        ({"agents": '{"id": "a", "name": "Ada"}\n', "counts": '{"table": "agents", "count": 2}\n'}, "1 rows of 2"),
        ({"agents": '{"id": "a", "name": "Ada"}\n', "counts": _counted("agents", "9" * 4_000)}, "1 rows of an invalid"),
        ({"agents": '{"id": "a", "name": "Ada"}\n', "counts": _counted("agents", "-1")}, "1 rows of an invalid"),
        ({"agents": '{"id": "a", "name": "Ada"}\n', "counts": _counted("messages", "7")}, "0 rows of 7"),
        ({"agents": "[" * 100_000, "counts": ""}, "nested more than"),
    ],
)
def test_incomplete_or_hostile_dump_is_refused(
    files: dict[str, str], reason: str, tmp_path: Path, report: Report
) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.jsonl").write_text(text)
    with pytest.raises(CliError, match=reason) as refused, read(tmp_path, report):
        pass
    assert len(refused.value.message) < 1_000


def test_a_link_in_a_dump_is_refused(tmp_path: Path, report: Report) -> None:
    (tmp_path / "secret").write_text('{"id": "a", "name": "Ada"}\n')
    (tmp_path / "agents.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(CliError, match=r"agents\.jsonl is a link"), read(tmp_path, report):
        pass


def test_what_another_command_reads_is_told(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "sqlite.db"
    letta.Database("0.4").write_sqlite(path)
    told = rf"memgpt import letta --sqlite {path}"
    with pytest.raises(CliError, match=told):
        read_agent_files([path], report)
    with pytest.raises(CliError, match=told), open_home(tmp_path, HomeChoice(), report):
        pass
    with pytest.raises(CliError, match="a SQLite database is read with --sqlite"), open_dump(path, TABLES):
        pass
    (tmp_path / "home").mkdir()
    memgpt_home.write_0_3(tmp_path / "home")
    with pytest.raises(CliError, match="`memgpt import memgpt`"), read(tmp_path / "home/sqlite.db", report):
        pass


def test_what_is_no_database_is_refused(tmp_path: Path, report: Report) -> None:
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    for path in (tmp_path / "x.db", tmp_path / "none.db"):
        with pytest.raises(CliError, match=r"cannot be read|is not a file"), read(path, report):
            pass


def test_a_database_is_not_changed_by_reading(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "sqlite.db"
    letta.Database("0.11").write_sqlite(path)
    before = path.read_bytes()
    with read(path, report) as contents:
        list(contents.agents[0].messages)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]
