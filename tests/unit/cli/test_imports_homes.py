"""Homes of MemGPT 0.2 and 0.3, whole and hostile."""

from __future__ import annotations

import collections
import json
import os
import pickle
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from memgpt.cli.errors import CliError
from memgpt.cli.imports.homes.archival import milvus_rows
from memgpt.cli.imports.homes.clock import in_order
from memgpt.cli.imports.homes.home import Choice, open_home
from memgpt.cli.imports.homes.inert_pickle import Inert, read_pickle
from memgpt.cli.imports.pieces import Assistant, Contents, ProfileKind, Results
from memgpt.cli.imports.plan import Options, plan_agents
from memgpt.cli.imports.report import Kind, Report
from memgpt.cli.imports.times import parse_time

from tests.support import memgpt_home as homes

MESSAGES = 300


@pytest.fixture
def report() -> Iterator[Report]:
    with Report() as opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@contextmanager
def read(home: Path, report: Report, choice: Choice | None = None) -> Iterator[Contents]:
    with open_home(home, choice or Choice(), report) as contents:
        yield contents


def check(contents: Contents, report: Report) -> None:
    (ada,) = contents.agents
    assert (ada.name, ada.system, ada.model, ada.context_window) == ("Ada", "You are Ada.", "gpt-4", 8192)
    assert [(block.label, block.value) for block in ada.blocks] == [
        ("persona", "I am Ada. 🫖"),
        ("human", "Chad likes tea."),
    ]
    assert ada.summary == homes.SUMMARY
    assert [note.text for note in ada.passages] == [f"Note {n}: tea was “green”." for n in range(homes.NOTES)]
    assert ada.source_names == ("paper",)
    (source,) = contents.sources
    assert source.name == "paper"
    assert [document.text for document in source.documents] == ["\n".join(homes.PASSAGES)]
    assert [(profile.kind, profile.name) for profile in contents.profiles] == [
        (ProfileKind.PERSONA, "pirate"),
        (ProfileKind.HUMAN, "chad"),
        (ProfileKind.PRESET, "mine"),
    ]
    (plan,) = plan_agents(contents, "memgpt", Options(), report)
    assert (plan.message_count, plan.window_start, plan.passage_count) == (MESSAGES, MESSAGES - 9, homes.NOTES)
    calls, results = list(ada.messages)[1].content, list(ada.messages)[2].content
    assert isinstance(calls, Assistant)
    assert isinstance(results, Results)
    assert calls.calls[0].call_id == results.results[0].call_id != ""
    assert "茶" in str(next(iter(ada.messages)).content)


@pytest.mark.parametrize("store", ["chroma", "sqlite", "milvus"])
def test_home_of_0_3_comes_whole_from_each_store(store: str, home: Path, report: Report) -> None:
    homes.write_0_3(home, messages=MESSAGES, store=store)
    with read(home, report) as contents:
        check(contents, report)
        assert contents.notices == ()
        assert next(iter(contents.agents[0].passages)).time == datetime(2024, 2, 1, 9, tzinfo=UTC)
    assert report.count(Kind.LEFT_OUT, "copy of a passage of an attached data source") == len(homes.PASSAGES)


def test_home_of_0_2_comes_whole_from_its_latest_state(home: Path, report: Report) -> None:
    homes.write_0_2(home, messages=MESSAGES)
    with read(home, report) as contents:
        check(contents, report)
        assert next(iter(contents.agents[0].messages)).time == datetime.fromisoformat("2024-02-01T09:00:01-08:00")


def test_home_that_was_migrated_has_agents_of_both_versions(home: Path, report: Report) -> None:
    homes.write_0_3(home)
    (home / "agents/Old/agent_state").mkdir(parents=True)
    window = [{"role": "system", "content": "You are Old."}, homes.said(0)]
    state = {"system": "You are Old.", "messages": window, "memory": {"persona": "Old", "human": "Chad"}}
    (home / "agents/Old/agent_state/2024-01-01_09_00_00_AM.json").write_text(json.dumps(state))
    with read(home, report) as contents:
        assert [(agent.name, len(list(agent.messages))) for agent in contents.agents] == [("Ada", MESSAGES), ("Old", 1)]
    with read(home, report, Choice("Old")) as contents:
        assert [agent.name for agent in contents.agents] == ["Old"]
    assert report.count(Kind.LEFT_OUT, "messages before the window; their file is missing") == 2
    with pytest.raises(CliError, match='has no agent "Eve"'), read(home, report, Choice("Eve")):
        pass


@pytest.mark.parametrize("local_rows", [6, 3, 0], ids=["local", "local until an upgrade", "UTC"])
def test_times_of_0_3_are_utc_or_local_as_the_messages_tell(local_rows: int, home: Path, report: Report) -> None:
    homes.write_0_3(home, messages=6)
    berlin = ZoneInfo("Europe/Berlin")
    # Each three messages a user's, a call, and its result: the second three are in the hour that repeats.
    instants = [datetime(2024, 10, 26, 22, 0, n, tzinfo=UTC) for n in range(3)]
    instants += [datetime(2024, 10, 27, 0, 59, 59, tzinfo=UTC) + timedelta(seconds=n) for n in range(3)]
    with sqlite3.connect(home / "sqlite.db") as db:
        for number, instant in enumerate(instants):
            local = instant.astimezone(berlin)
            stored = (local if number < local_rows else instant).strftime("%Y-%m-%d %H:%M:%S.%f")
            db.execute("UPDATE memgpt_recall_memory_agent SET created_at = ? WHERE id = ?", (stored, f"m-{number}"))
            if number % 3 != 1:
                envelope = {"status": "OK", "message": "None"} if number % 3 else {"type": "user_message"}
                envelope["time"] = local.strftime("%Y-%m-%d %I:%M:%S %p %Z%z")
                db.execute(
                    "UPDATE memgpt_recall_memory_agent SET text = ? WHERE id = ?", (json.dumps(envelope), f"m-{number}")
                )
    db.close()
    with read(home, report) as contents:
        (ada,) = contents.agents
        assert [message.time for message in ada.messages] == instants
        (plan,) = plan_agents(contents, "memgpt", Options(), report)
        assert plan.message_count == 6
    assert report.count(Kind.CHANGED, "call without a result; a failed one was made") == 0


def test_times_without_a_zone_do_not_go_back_when_clocks_are_set_back() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    times = [parse_time(f"2024-10-27 {each} AM", berlin) for each in ("02:30:00", "02:59:59", "02:00:00", "03:00:00")]
    hours = [time.astimezone(UTC).strftime("%H:%M:%S") for time in in_order([*times, None]) if time]
    assert hours == ["00:30:00", "00:59:59", "01:00:00", "02:00:00"]


def test_archival_memory_elsewhere_is_told(home: Path, report: Report) -> None:
    homes.write_0_3(home)
    for kind, uri, told in (
        ("milvus", "http://localhost:19530", "--milvus URI reads it"),
        ("qdrant", "", 'is in "qdrant" outside the home'),
    ):
        (home / "config").write_text(f"[archival_storage]\ntype = {kind}\nuri = {uri}\n[openai]\nkey = %(x)s\n")
        with read(home, report) as contents:
            (notice,) = contents.notices
            assert told in notice


def test_home_of_0_3_comes_whole_with_notes_in_milvus(milvus_uri: str, home: Path, report: Report) -> None:
    homes.write_0_3(home, messages=MESSAGES, store=milvus_uri)
    with read(home, report, Choice(milvus=milvus_uri)) as contents:
        check(contents, report)
        assert contents.notices == ()


def test_milvus_without_notes_is_told(milvus_lite_uri: str, home: Path, report: Report) -> None:
    homes.write_0_3(home, store="sqlite")
    homes.write_collections(milvus_lite_uri, {"another": []})
    with read(home, report, Choice(milvus=milvus_lite_uri)) as contents:
        assert contents.notices == (
            f"{milvus_lite_uri} has no archival memory of MemGPT; is it the right server and database?",
        )


def test_many_notes_come_from_milvus_once_each(milvus_uri: str) -> None:
    notes = [{"id": f'{number} "\\ é', "text": "茶", "agent_id": "a-1"} for number in range(1_200)]
    homes.write_collections(milvus_uri, {"memgpt_archival_memory_agent": notes})
    found = list(milvus_rows(milvus_uri, "", "memgpt_archival_memory_agent"))
    assert len({row["id"] for row in found}) == len(found) == 1_200
    assert found[0].keys() == {"id", "text", "agent_id"}
    assert list(milvus_rows(milvus_uri, "", "memgpt_passages")) == []


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2023-11-20 03:15:22 PM PST-0800", "2023-11-20T15:15:22-08:00"),
        ("2023-11-20 12:15:22 AM +0530", "2023-11-20T00:15:22+05:30"),
        ("2023-11-20 03:15:22 PM", "2023-11-20T15:15:22+09:00"),
        ("2023-11-20 03:15:22 PM ", "2023-11-20T15:15:22+09:00"),
        ("2023-11-20T15:15:22.123456Z", "2023-11-20T15:15:22.123456+00:00"),
        (1700493322.5, "2023-11-20T15:15:22.500000+00:00"),
        ("yesterday", None),
        ("2023-13-20 03:15:22 PM", None),
        ("0001-01-01T00:00:00+14:00", None),
        (1e300, None),
        (float("nan"), None),
        (True, None),
        ({}, None),
    ],
)
def test_times_of_every_version(text: object, time: str | None) -> None:
    found = parse_time(text, ZoneInfo("Asia/Tokyo"))
    assert (found and found.isoformat()) == time


# Pickles.


class Command:
    """Runs a command when it is unpickled by anything that resolves names."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_pickle_is_called(protocol: int, tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / "x.pickle"
    pickled = [Command(f"touch {mark}"), time.gmtime(0), collections.OrderedDict(a=1), {"text": "kept"}]
    file.write_bytes(pickle.dumps(pickled, protocol))
    found = read_pickle(file)
    assert found[3] == {"text": "kept"}
    assert type(found[0]).__mro__[1] is Inert
    assert not mark.exists()
    with file.open("rb") as opened:
        pickle.load(opened)
    assert mark.exists()  # it would have run


def test_planted_pickle_in_a_home_runs_nothing(home: Path, report: Report) -> None:
    homes.write_0_2(home)
    (file,) = home.glob("agents/Ada/persistence_manager/*.pickle")
    mark = home / "mark"
    saved = [{"timestamp": Command(f"touch {mark}"), "message": {"role": "user", "content": Command(f"touch {mark}")}}]
    file.write_bytes(pickle.dumps({"all_messages": [*saved, Command(f"touch {mark}"), 7], "messages": []}))
    with read(home, report) as contents:
        plan_agents(contents, "memgpt", Options(), report)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a pickle"),
        (b"\x80\x04r\xff\xff\xff\x7f.", "its memo skips"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.", "not a pickle"),
        (b"\x80\x04X\xff\xff\xff\x7f.", "not a pickle"),
        (b"\x80\x04\x82\x01.", "outside the file"),
        (b"Pid\n.", "outside the file"),
        (b"\x80\x04" + b"(" * 1000 + b".", "not a pickle"),
        (b"I" + b"9" * 100_000 + b"\n.", "not a pickle"),
    ],
)
def test_pickle_that_would_take_memory_or_refers_outside_is_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(CliError, match=reason):
        read_pickle(tmp_path / "x")


def test_pickle_with_cycles_and_deep_nesting_is_read_without_recursion(home: Path, report: Report) -> None:
    homes.write_0_2(home)
    (file,) = home.glob("agents/Ada/persistence_manager/*.pickle")
    cyclic: dict[str, object] = {"role": "user", "content": "me"}
    cyclic["function_call"] = cyclic
    data = pickle.dumps({"all_messages": [{"message": cyclic}, {"message": cyclic}]})
    deep = b"]" * 200_000 + b"a" * 199_999
    file.write_bytes(data[:-1] + b"0" + deep + b"0" + data[2:])
    with read(home, report) as contents:
        assert len(list(contents.agents[0].messages)) == 2


def test_links_out_of_a_home_are_not_followed(home: Path, report: Report, tmp_path: Path) -> None:
    homes.write_0_2(home)
    (tmp_path / "secret.txt").write_text("secret")
    (home / "personas/leak.txt").symlink_to(tmp_path / "secret.txt")
    (home / "sqlite.db").symlink_to(tmp_path / "other.db")
    other = tmp_path / "elsewhere"
    (home / "agents/Ada").rename(other)
    (home / "agents/Bob").symlink_to(other)
    with pytest.raises(CliError, match="has no agent"), read(home, report):
        pass
    (home / "agents/Bob").unlink()
    other.rename(home / "agents/Ada")
    with read(home, report) as contents:
        assert [profile.name for profile in contents.profiles] == ["pirate", "chad", "mine"]


def test_damaged_home_is_refused_with_the_file(home: Path, report: Report) -> None:
    homes.write_0_2(home)
    (state,) = home.glob("agents/Ada/agent_state/*_01_00_00_PM_*.json")
    for text, reason in (
        ("[" * 1_000_000, "nested more than"),
        ('{"messages": NaN}', "not valid JSON"),
        ("\xff", "not"),
    ):
        state.write_text(text, encoding="latin-1")
        with pytest.raises(CliError, match=reason), read(home, report):
            pass


def test_damaged_row_of_milvus_lite_is_refused(home: Path, report: Report) -> None:
    homes.write_0_3(home, store="milvus")
    with sqlite3.connect(home / "milvus.db") as connection:
        connection.execute("UPDATE memgpt_passages SET data = x'0affffffff7f'")
    connection.close()
    with pytest.raises(CliError, match="memgpt_passages, row 1 is damaged"), read(home, report):
        pass


def test_what_is_no_home_is_refused(tmp_path: Path, report: Report) -> None:
    for path, reason in ((tmp_path / "none", "is not a folder"), (tmp_path, "has no agent")):
        with pytest.raises(CliError, match=reason), read(path, report):
            pass
