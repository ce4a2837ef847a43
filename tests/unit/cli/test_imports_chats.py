"""Exports of ChatGPT, Claude and mem0, whole and hostile."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from memgpt.cli.errors import CliError
from memgpt.cli.imports.chats.chatgpt import read_chatgpt
from memgpt.cli.imports.chats.claude import read_claude
from memgpt.cli.imports.chats.exports import open_export
from memgpt.cli.imports.chats.json_array import read_array
from memgpt.cli.imports.chats.mem0 import read_mem0
from memgpt.cli.imports.pieces import Document
from memgpt.cli.imports.plan import Options, plan_agents
from memgpt.cli.imports.report import Kind, Report

from tests.support import chat_exports as exports


@pytest.fixture
def report() -> Iterator[Report]:
    with Report() as opened:
        yield opened


def chatgpt(path: Path, report: Report) -> list[Document]:
    with open_export(path) as export:
        (source,) = read_chatgpt(export, "chatgpt", report).sources
        assert list(source.documents) == list(source.documents)
        return list(source.documents)


def shaped(path: Path, value: list[Any], shape: str) -> Path:
    """Write an export as an archive, in shards, as a folder or as its only file."""
    match shape:
        case "zip":
            return exports.write_zip(path / "x.zip", {"user.json": {}, "conversations.json": value})
        case "shards":
            shards = {f"export/conversations-{n:03}.json": [each] for n, each in enumerate(value)}
            return exports.write_zip(path / "x.zip", shards)
        case "folder":
            (path / "conversations.json").write_text(json.dumps(value, indent=2))
            return path
        case _:
            (path / "renamed.json").write_text(json.dumps(value))
            return path / "renamed.json"


@pytest.mark.parametrize("shape", ["zip", "shards", "folder", "file"])
def test_conversations_of_chatgpt_become_documents(shape: str, tmp_path: Path, report: Report) -> None:
    documents = chatgpt(shaped(tmp_path, [exports.chatgpt(0), exports.chatgpt(1)], shape), report)
    assert [document.name for document in documents] == [
        "2024-05-01 Tea   water 0 c0000000.md",
        "2024-05-02 Tea   water 1 c0000001.md",
    ]
    assert documents[0].text == (
        "# Tea / water 0\n\nConversation of 2024-05-01 10:40 UTC\n\n"
        "## User, 2024-05-01 10:40 UTC\n\nHow hot should green tea be? 緑茶\n\n"
        "## ChatGPT, 2024-05-01 10:40 UTC\n\nEighty degrees.\n\n"
        "## User, 2024-05-01 10:40 UTC\n\n[image]\nThis?\n\n"
        "## ChatGPT, 2024-05-01 10:40 UTC\n\nThat is a teapot.\n"
    )
    assert report.count(Kind.LEFT_OUT, "messages of other branches than the shown one") == 2


@pytest.mark.parametrize("lines", [False, True])
def test_claude_export_becomes_documents_and_notes(lines: bool, tmp_path: Path, report: Report) -> None:
    conversations = [exports.claude(0), exports.claude(1)]
    text = "\n".join(map(json.dumps, conversations)) if lines else json.dumps(conversations)
    files = {"conversations.json": text, "memories.json": exports.MEMORIES, "projects.json": exports.PROJECTS}
    with open_export(exports.write_zip(tmp_path / "x.zip", files)) as export:
        contents = read_claude(export, "claude", report)
        (source,) = contents.sources
        documents = list(source.documents)
        (plan,) = plan_agents(contents, "claude", Options(), report)
    assert [document.name for document in documents] == [
        "2025-05-01 Oolong 0 00000000.md",
        "2025-05-02 Oolong 1 00000001.md",
        "project Shop.md",
        "project Shop: a.md",
    ]
    assert (
        "## User, 2025-05-01 10:00 UTC\n\nWhat is oolong?\n\nAttachment tea.txt:\n\nHalf oxidized." in documents[0].text
    )
    assert "## Claude, 2025-05-01 10:00 UTC\n\nA tea between." in documents[0].text
    assert (plan.passage_count, plan.message_count, plan.agent.source_names) == (2, 0, ("claude",))
    assert [note.tags for note in contents.agents[0].passages] == [("memory",), ("memory", "project:p-1")]


def test_memories_of_mem0_become_notes_with_tags_and_times(tmp_path: Path, report: Report) -> None:
    file = tmp_path / "x.json"
    for value in (exports.MEM0, exports.MEM0["results"]):
        file.write_text(json.dumps(value))
        (agent,) = read_mem0(file, "mem0", report).agents
        notes = list(agent.passages)
        assert [note.text for note in notes] == ["Likes green tea", "Owns a teapot"]
        assert [note.tags for note in notes] == [("user:chad", "mood=calm"), ("agent:ada", "things")]
        assert str(notes[0].time) == "2025-05-01 10:00:00-07:00"
    assert report.count(Kind.LEFT_OUT, "relation of the graph") == 1
    assert report.count(Kind.LEFT_OUT, "metadata that is too long for a tag") == 2


# Files that are damaged, or made to do harm.


def test_message_that_follows_itself_ends_its_conversation(tmp_path: Path, report: Report) -> None:
    conversation = exports.chatgpt()
    conversation["mapping"]["u2"]["parent"] = "a2"
    (document,) = chatgpt(shaped(tmp_path, [conversation], "zip"), report)
    assert "Eighty degrees" not in document.text
    assert report.count(Kind.LEFT_OUT, "messages before one that follows itself") == 1


def test_values_of_any_type_in_a_conversation_do_no_harm(tmp_path: Path, report: Report) -> None:
    odd: list[Any] = [
        None,
        7,
        {},
        {"mapping": []},
        {"mapping": {"a": {"message": {"content": 7}}}, "current_node": "a"},
    ]
    odd += [{"mapping": {"a": {"message": {"author": {"role": []}}}}, "title": 7, "current_node": "a"}]
    odd += [
        {"mapping": {"a": {"parent": ["a"], "message": {"author": {"role": "user"}, "content": {"content_type": 1}}}}}
    ]
    assert len(chatgpt(shaped(tmp_path, odd, "zip"), report)) == 3


def test_names_in_an_archive_and_titles_are_labels_only(tmp_path: Path, report: Report) -> None:
    conversation = {**exports.chatgpt(), "title": "../../etc/passwd\u202e\n"}
    archive = exports.write_zip(tmp_path / "x.zip", {"../../conversations.json": [conversation]})
    before = sorted(tmp_path.rglob("*"))
    (document,) = chatgpt(archive, report)
    assert document.name == "2024-05-01 .. .. etc passwd c0000000.md"
    assert sorted(tmp_path.rglob("*")) == before


def bomb() -> bytes:
    return b"[" + b" " * (8 << 20) + b"]"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"other.json": []}, "has no conversations.json"),
        ({"conversations.json": bomb()}, "compressed further than text"),
        ({"conversations.json": b"[" * 100_000}, "nested more than|ends within"),
        ({"conversations.json": b"[" + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"]"}, "nested more than"),
        ({"conversations.json": b'[{"a": "' + b"x" * 1000}, "ends within the array"),
        ({"conversations.json": b'[{"a": nope}]'}, "not valid JSON"),
        ({"conversations.json": b"nonsense"}, "neither a JSON array nor JSON lines"),
    ],
)
def test_hostile_archive_is_refused(files: dict[str, Any], reason: str, tmp_path: Path, report: Report) -> None:
    with pytest.raises(CliError, match=reason):
        chatgpt(exports.write_zip(tmp_path / "x.zip", files), report)


def damaged(data: bytes) -> bytes:
    at = data.index(b"conversations") + 40
    return data[:at] + bytes(each ^ 0x55 for each in data[at : at + 20]) + data[at + 20 :]


def encrypted(data: bytes) -> bytes:
    flags = data.index(b"PK\x01\x02") + 8
    return data[:6] + b"\x01\x00" + data[8:flags] + b"\x01\x00" + data[flags + 2 :]


@pytest.mark.parametrize("change", [damaged, encrypted, lambda data: data[:-30]])
def test_damaged_or_encrypted_archive_is_refused(
    change: Callable[[bytes], bytes], tmp_path: Path, report: Report
) -> None:
    archive = shaped(tmp_path, [[exports.chatgpt(n) for n in range(50)]], "shards")
    archive.write_bytes(change(archive.read_bytes()))
    with pytest.raises(CliError):
        chatgpt(archive, report)


@pytest.mark.parametrize("text", ["{}", "7", '{"results": {}}', "[" * 1000, ""])
def test_file_without_memories_is_refused(text: str, tmp_path: Path, report: Report) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CliError):
        read_mem0(tmp_path / "x.json", "mem0", report)


class Slow(io.RawIOBase):
    """Gives a few bytes at a time, as a compressed file may."""

    def __init__(self, data: bytes, size: int) -> None:
        self._rest, self._size = data, size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        given, self._rest = self._rest[: self._size], self._rest[self._size :]
        return given


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_array_is_cut_into_elements_wherever_reads_end(size: int) -> None:
    value = [{"a": 'quote " brace } 茶 \\'}, {"b": [[], {}, "]"]}, {}, {"c": {"d": "\\\\"}}]
    data = json.dumps(value, ensure_ascii=False).encode()
    assert list(read_array(Slow(b"\xef\xbb\xbf " + data, size), "x")) == value  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [b"", b"1]}]"], ids=["endless", "whole"])
def test_large_element_is_refused_before_it_is_parsed(end: bytes) -> None:
    large = io.BytesIO(b'[{"a": [' + b"1," * (20 << 20) + end)
    with pytest.raises(CliError, match="element 1 is larger than"):
        list(read_array(large, "x"))


def test_archive_of_a_file_is_found_by_its_content(tmp_path: Path, report: Report) -> None:
    archive = tmp_path / "data"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a/b/conversations.json", json.dumps([exports.chatgpt()]))
    assert len(chatgpt(archive, report)) == 1
