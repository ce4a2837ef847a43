"""Imports of databases, homes and exports by the command line, into running services."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import chat_exports, memgpt_home
from tests.support import letta_database as letta
from tests.support.postgres import Postgres, running_postgres
from tests.support.suite import Suite

MESSAGES = 60
GUIDE = Path(__file__).parents[2] / "docs/guides/coming-from-letta.md"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with Suite(tmp_path_factory.mktemp("home")) as running:
        yield running


def check(suite: Suite, name: str, notes: int) -> None:
    """Everything of Ada is here, and can be searched."""
    agents = [json.loads(line) for line in suite.cli("list", "agents", "--json").splitlines()]
    (found,) = [each for each in agents if each["name"] == name]
    assert (int(found["message_count"]), int(found["passage_count"])) == (MESSAGES, notes)
    assert len(suite.cli("show", "notes", "--agent", name, "--json").splitlines()) == notes
    assert "茶" in suite.cli("search", "茶", "--messages", "--agent", name)
    assert "Archival memory holds the rest" in suite.cli("search", "archival memory", "--agent", name)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def dumped(suite: Suite, server: Postgres, database: str, folder: Path) -> Path:
    """Dump a database by the command of the guide, with the address that Letta's settings have."""
    folder.mkdir()
    (command,) = re.findall(r"^memgpt import letta --sql \| psql .*LETTA_PG_URI.*$", GUIDE.read_text(), re.MULTILINE)
    address = f"postgresql+pg8000://letta@/{database}?host={server.folder}"
    environment = suite.environment() | {"LETTA_PG_URI": address, "PATH": f"{Path(suite.program).parent}:{os.defpath}"}
    run = subprocess.run(
        ["bash", "-ec", command], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    return folder


@pytest.mark.parametrize("version", letta.VERSIONS)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_letta_of_each_version_comes_whole(
    store: str, version: str, suite: Suite, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database, name = letta.Database(version, MESSAGES), f"Ada {version} {store}"
    if store == "sqlite":
        database.write_sqlite(tmp_path / "sqlite.db")
        arguments = ("--sqlite", str(tmp_path / "sqlite.db"))
    else:
        server: Postgres = request.getfixturevalue("postgres")
        database.write_postgres(server, f"letta {version}")
        arguments = ("--dump", str(dumped(suite, server, f"letta {version}", tmp_path / "dump")))
    told = suite.cli("import", "letta", *arguments, "--agent", "Ada", "--name", name)
    assert f"Imported agent {name}: {MESSAGES} messages, {letta.NOTES} notes." in told
    check(suite, name, letta.NOTES)


def test_letta_dumped_from_postgresql_comes_and_the_same_again_changes_nothing(
    suite: Suite, postgres: Postgres, tmp_path: Path
) -> None:
    letta.Database("0.16", MESSAGES).write_postgres(postgres, "letta")
    dump = dumped(suite, postgres, "letta", tmp_path / "dump")
    arguments = ("import", "letta", "--dump", str(dump), "--agent", "Ada", "--name", "Ada of Letta")
    report = tmp_path / "report.json"
    assert "Nothing was imported" in suite.cli(*arguments, "--dry-run", "--report", str(report))
    assert "Ada of Letta" not in suite.cli("list", "agents")
    assert "Imported agent Ada of Letta: 60 messages, 40 notes." in suite.cli(*arguments)
    check(suite, "Ada of Letta", letta.NOTES)
    before = suite.cli("list", "agents", "--json")
    assert "was imported before; nothing is changed" in suite.cli(*arguments)
    assert suite.cli("list", "agents", "--json") == before
    entries = json.loads(report.read_text())["entries"]
    assert "You are Ada. Memory: tea." in [entry["value"] for entry in entries]
    assert not any("sk-never" in json.dumps(entry) for entry in entries)


def test_a_name_that_is_taken_is_told_and_the_rest_comes(suite: Suite, tmp_path: Path) -> None:
    letta.Database("0.8", MESSAGES).write_sqlite(tmp_path / "sqlite.db")
    suite.cli("run", "--agent", "Bob", "--first", "--strip-ui")
    ended = suite.run("import", "letta", "--sqlite", str(tmp_path / "sqlite.db"))
    assert ended.returncode == 1
    assert '"Bob" exists already; import it as --name "Bob-2"' in " ".join(ended.stderr.split())
    check(suite, "Ada", letta.NOTES)


def test_home_of_0_2_comes_whole(suite: Suite, tmp_path: Path) -> None:
    memgpt_home.write_0_2(tmp_path, messages=MESSAGES)
    told = suite.cli(
        *("import", "memgpt", str(tmp_path), "--name", "Ada of 0.2", "--profiles", "--time-zone", "Europe/Berlin")
    )
    assert f"Imported agent Ada of 0.2: {MESSAGES} messages, {memgpt_home.NOTES} notes." in told
    check(suite, "Ada of 0.2", memgpt_home.NOTES)
    assert suite.cli("show", "persona", "pirate") == "I am a pirate.\n"


@pytest.mark.parametrize("store", ["chroma", "sqlite", "milvus"])
def test_home_of_0_3_comes_whole(store: str, suite: Suite, tmp_path: Path) -> None:
    memgpt_home.write_0_3(tmp_path, messages=MESSAGES, store=store)
    told = suite.cli("import", "memgpt", str(tmp_path), "--name", f"Ada of {store}")
    assert f"Imported agent Ada of {store}: {MESSAGES} messages, {memgpt_home.NOTES} notes." in told
    check(suite, f"Ada of {store}", memgpt_home.NOTES)


@pytest.mark.milvus_server
def test_home_of_0_3_comes_whole_with_notes_in_milvus(milvus_server_uri: str, suite: Suite, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    memgpt_home.write_0_3(home, messages=MESSAGES, store=milvus_server_uri)
    assert "--milvus URI reads it" in suite.cli("import", "memgpt", str(home), "--dry-run")
    name = "Ada of a server"
    told = suite.cli("import", "memgpt", str(home), "--milvus", milvus_server_uri, "--name", name)
    assert f"Imported agent {name}: {MESSAGES} messages, {memgpt_home.NOTES} notes." in told
    check(suite, name, memgpt_home.NOTES)
    assert "nothing is changed" in suite.cli(
        "import", "memgpt", str(home), "--milvus", milvus_server_uri, "--name", name
    )


def test_ten_thousand_messages_come_in_the_memory_of_a_few(suite: Suite, tmp_path: Path) -> None:
    def peak_kib(count: int) -> int:
        letta.Database("0.6", count).write_sqlite(tmp_path / f"{count}.db")
        arguments = ("--sqlite", str(tmp_path / f"{count}.db"), "--agent", "Ada", "--name", f"Ada {count}")
        with subprocess.Popen(
            [suite.program, "import", "letta", *arguments], env=suite.environment(), stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert f"{count:,} messages" in process.stdout.read().decode()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    assert peak_kib(10_002) - peak_kib(60) < 16 << 10


def test_chats_come_as_documents_and_new_ones_are_added(suite: Suite, tmp_path: Path) -> None:
    conversations = [chat_exports.chatgpt(number) for number in range(3)]
    for known in (2, 3):
        archive = chat_exports.write_zip(tmp_path / f"{known}.zip", {"conversations.json": conversations[:known]})
        suite.cli("import", "chatgpt", str(archive))
        sources = [json.loads(line) for line in suite.cli("list", "sources", "--json").splitlines()]
        assert [int(each["file_count"]) for each in sources if each["name"] == "chatgpt"] == [known]
    found = suite.cli("search", "How hot should green tea be?", "--source", "chatgpt")
    assert "2024-05-01 Tea" in found
    assert "Eighty degrees" in found


def test_memories_come_as_notes(suite: Suite, tmp_path: Path) -> None:
    export = {"conversations.json": [chat_exports.claude()], "memories.json": chat_exports.MEMORIES}
    archive = chat_exports.write_zip(tmp_path / "claude.zip", export)
    (tmp_path / "mem0.json").write_text(json.dumps(chat_exports.MEM0))
    for _ in range(2):
        suite.cli("import", "claude", str(archive))
        suite.cli("import", "mem0", str(tmp_path / "mem0.json"))
    notes = [json.loads(line) for line in suite.cli("show", "notes", "--agent", "mem0", "--json").splitlines()]
    assert sorted((note["text"], note["tags"]) for note in notes) == [
        ("Likes green tea", ["user:chad", "mood=calm"]),
        ("Owns a teapot", ["agent:ada", "things"]),
    ]
    assert "oolong" in suite.cli("search", "oolong", "--agent", "claude").lower()
    assert len(suite.cli("show", "notes", "--agent", "claude", "--json").splitlines()) == 2


def test_memories_come_once_as_notes_of_an_agent_that_is_here(suite: Suite, tmp_path: Path) -> None:
    suite.cli("run", "--agent", "Mine", "--first", "--strip-ui")
    long = "The user collects teapots. " * 120  # several passages
    results = chat_exports.MEM0["results"]
    assert isinstance(results, list)
    memories = [*results, {"id": "m-9", "memory": long, "created_at": "2024-05-01T09:00:00Z"}]
    (tmp_path / "mem0.json").write_text(json.dumps({"results": memories}))
    arguments = ("import", "mem0", str(tmp_path / "mem0.json"), "--agent", "Mine")
    assert "3 notes for agent Mine" in suite.cli(*arguments, "--dry-run")
    assert "Imported 3 notes into agent Mine." in suite.cli(*arguments)
    before = suite.cli("show", "notes", "--agent", "Mine", "--json")
    assert "Imported 0 notes into agent Mine; 3 notes had been there already." in suite.cli(*arguments)
    assert suite.cli("show", "notes", "--agent", "Mine", "--json") == before
    notes = [json.loads(line) for line in before.splitlines()]
    assert len(notes) > 3
    assert all("date:2024-05-01" in note["tags"] for note in notes if "teapots" in note["text"])
    # A newer export adds what is new.
    (tmp_path / "mem0.json").write_text(json.dumps({"results": [{"memory": "Likes oolong"}, *memories]}))
    assert "Imported 1 note into agent Mine; 3 notes" in suite.cli(*arguments)
    export = {"conversations.json": [chat_exports.claude()], "memories.json": chat_exports.MEMORIES}
    archive = chat_exports.write_zip(tmp_path / "claude.zip", export)
    told = suite.cli("import", "claude", str(archive), "--agent", "Mine", "--name", "claude of mine")
    assert "Attached data source claude of mine to agent Mine." in told
    told = suite.cli("import", "claude", str(archive), "--agent", "Mine", "--name", "claude of mine")
    assert "Imported 0 notes" in told
    assert "Attached" not in told
    ended = suite.run("import", "mem0", str(tmp_path / "mem0.json"), "--agent", "Nobody")
    assert ended.returncode == 1
    assert "Nobody" in ended.stderr


def test_misuse_is_told(suite: Suite, tmp_path: Path) -> None:
    for arguments, told in (
        (("import", "letta"), "give Agent Files, --dump FOLDER or --sqlite FILE"),
        (("import", "letta", "--dump", str(tmp_path)), "has no dump"),
        (("import", "memgpt", str(tmp_path)), "has no agent"),
        (("import", "memgpt", str(tmp_path), "--time-zone", "Mars"), 'unknown time zone "Mars"'),
        (("import", "chatgpt", str(tmp_path)), "has no conversations.json"),
    ):
        ended = suite.run(*arguments)
        assert ended.returncode in (1, 2)
        assert told in " ".join(ended.stderr.split())
        assert "Traceback" not in ended.stderr
