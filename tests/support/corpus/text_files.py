"""Text files of the corpus: every encoding, tables, JSON, HTML, Markdown, and difficult names."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator

from tests.support.corpus.sample import Sample, empty, failed, good, skipped

_LARGE_BYTES = 200_000_000

_RUSSIAN = "Выдра принесла рыбу старому смотрителю маяка."
_JAPANESE = "カワウソは川で魚を捕って子供に与えた。"
_GERMAN = "Der Igel überquerte die Straße früh am Morgen."
_ARABIC = "القنفذ يخرج من جحره عند الغروب"
_ARABIC_TOO = "السنجاب يجمع البندق قبل الشتاء"
_THAI = "นกยูงรำแพนอยู่ข้างสระน้ำ"
_CHINESE = "松鼠把坚果藏在老橡树的洞里。"


def samples() -> Iterator[Sample]:
    """Yield all text files."""
    yield from _encoded()
    yield from _scripts()
    yield from _kinds()
    yield from _names()
    yield from _odd()


def _encoded() -> Iterator[Sample]:
    for name, encoding, needle in (
        ("utf-8 with a mark.txt", "utf-8-sig", "The numbat wears a mark."),
        ("utf-16 with a mark.txt", "utf-16", "Выхухоль живёт у запруды."),
        ("utf-16 without a mark.txt", "utf-16-le", "The ocelot came without a mark."),
        ("utf-16, big end first.txt", "utf-16-be", "The pangolin came big end first."),
        ("utf-32 with a mark.txt", "utf-32", "Росомаха spends four bytes a letter."),
        ("utf-32 without a mark.txt", "utf-32-le", "The quokka spends four bytes, unmarked."),
        ("latin-1.txt", "latin-1", _GERMAN),
        ("windows-1251.txt", "cp1251", "Барсук спит всю зиму под корнями дуба."),
        ("koi8-r.txt", "koi8-r", _RUSSIAN),
        ("shift-jis.txt", "shift_jis", _JAPANESE),
        ("euc-jp.txt", "euc_jp", "ムササビは夜の森を滑るように飛ぶ。"),
        ("gb18030.txt", "gb18030", _CHINESE),
        ("big5.txt", "big5", "水獺在溪邊築了一座小屋。"),
        ("euc-kr.txt", "euc_kr", "수달이 강가에서 조개를 깨뜨려 먹는다."),
        ("windows-1256.txt", "cp1256", _ARABIC),
    ):
        # So few letters are nearly the same in the encoding of a Mac.
        note = "guessed encoding" if encoding == "cp1251" else ""
        yield good(name, lambda needle=needle, encoding=encoding: f"{needle}\n".encode(encoding), needle, note=note)  # type: ignore[misc]
    yield good(
        "ends of lines of a Mac.txt",
        lambda: b"One.\r\rThe raccoon returns its carriages.\r",
        "The raccoon returns its carriages.",
    )


def _scripts() -> Iterator[Sample]:
    family = "👨\u200d👩\u200d👧\u200d👦"
    yield good(
        "emoji.txt",
        lambda: f"{family * 400} The salamander greets them all 🏳️\u200d🌈.".encode(),
        "The salamander greets them all 🏳️\u200d🌈.",
    )
    yield good("thai.txt", lambda: (_THAI + "และร้องเพลง" * 200).encode(), _THAI)
    yield good(
        "arabic.md",
        lambda: f"# عنوان\n\n{_ARABIC_TOO}.\n".encode(),
        _ARABIC_TOO,
    )
    yield good(
        "hindi.txt", lambda: "मोर बारिश में नाचता है और गाँव जाग उठता है।".encode(), "मोर बारिश में नाचता है और गाँव जाग उठता है।"
    )
    yield good(
        "marks piled up.txt",
        lambda: ("Z" + "\u0335\u0321" * 3000 + " The tapir reads it all the same.").encode(),
        "The tapir reads it all the same.",
    )


def _kinds() -> Iterator[Sample]:
    yield good(
        "notes.md",
        lambda: b"# Notes\n\n## Birds\n\nThe umbrellabird calls [here](https://example.org).\n",
        "The umbrellabird calls [here](https://example.org).",
    )
    yield good(
        "animals.csv",
        lambda: 'animal;home\n"viscacha; the elder";"Andes"\n'.encode("utf-16"),
        "animal: viscacha; the elder | home: Andes",
    )
    yield good("animals.tsv", lambda: b"animal\thome\nwombat\tburrow\n", "animal: wombat | home: burrow")
    yield good(
        "data.json", lambda: json.dumps({"animals": [{"name": "xerus", "legs": 4}]}).encode(), "animals[1].name: xerus"
    )
    yield good("lines.jsonl", lambda: b'{"name": "yak"}\n\n{"name": "yapok", "wet": true}\n', "name: yapok\nwet: true")
    yield good("lines named otherwise.json", lambda: b'{"name": "zebu"}\n{"name": "zorilla"}\n', "name: zorilla")
    yield good(
        "page.html",
        lambda: b"<!DOCTYPE html><title>Zoo</title><nav>Home</nav><p>The addax <b>crosses</b> dunes.</p>",
        "The addax crosses dunes.",
    )
    yield good(
        "no charset.html",
        lambda: "<html><p>Der Bär tanzt für Gäste auf großen Füßen.</p>".encode("cp1252"),
        "Der Bär tanzt für Gäste auf großen Füßen.",
    )
    yield good(
        "charset of its own.htm",
        lambda: f'<meta charset="windows-1251"><p>{_RUSSIAN.replace("Выдра", "Норка")}'.encode("cp1251"),
        _RUSSIAN.replace("Выдра", "Норка"),
    )
    yield good(
        "html by content.txt",
        lambda: b"<!-- saved --><html><script>no()</script><table><tr><td>cassowary<td>tall",
        "cassowary | tall",
    )
    yield good(
        "nested very deep.html",
        lambda: b"<html>" + b"<div>" * 5_000 + b"The dugong lies at the bottom.",
        "The dugong lies at the bottom.",
    )
    yield good("code.py", lambda: b"def eland():\n    return 'The eland compiles.'\n", "return 'The eland compiles.'")
    yield good("no extension", lambda: b"The fossa needs no extension.", "The fossa needs no extension.")
    yield good(
        "an ending nobody knows.q7z",
        lambda: b"The galago has an ending nobody knows.",
        "The galago has an ending nobody knows.",
    )
    yield good(
        "one long line.txt", lambda: b"word " * 100_000 + b"The hoatzin ends the line.", "The hoatzin ends the line."
    )
    yield good(
        "text that names a pdf.txt", lambda: b"%PDF\nThe indri only speaks of one.", "The indri only speaks of one."
    )
    yield good("200 MB.txt", _large_text, "The kinkajou waits at the very end.", large=True)


def _names() -> Iterator[Sample]:
    for name, needle in (
        ('it\'s "quoted".txt', "The jerboa hops past quotes."),
        ("two\nlines.txt", "The kakapo lands between lines."),
        ("🦊 日本語 ñandú.txt", "The lynx reads every script."),
        ("-rf --help; $(true) `x`.txt", "The manatee floats past shells."),
        ("%s %d {0} \\n.txt", "The nilgai ignores formats."),
        (" spaces around .txt", "The okapi has room to breathe."),
        ("name' or file_name != '.txt", "The potoroo stays out of filters."),
        (f"{'long ' * 40}name.txt", "The quetzal has a very long name."),
    ):
        yield good(name, lambda needle=needle: needle.encode(), needle)  # type: ignore[misc]


def _odd() -> Iterator[Sample]:
    yield empty("nothing.txt", lambda: b"", "empty")
    yield empty("white space.txt", lambda: b" \n\t\r\n ", "white space")
    yield empty("a mark only.txt", lambda: codecs.BOM_UTF8, "white space")
    yield empty("no values.json", lambda: b"[{}, null, []]", "no text")
    yield empty("a script only.html", lambda: b"<html><script>alert(1)</script></html>", "no text")
    yield skipped("noise.txt", lambda: b"\xff" * 4096, "not text in any encoding")
    yield skipped("zeros.txt", lambda: bytes(4096), "binary data")
    yield skipped("text, then binary.txt", lambda: b"Text. " * 20_000 + bytes(100), "binary data")
    yield failed("bomb of lists.json", lambda: b"[" * 100_000, "nested")
    yield failed("deep.json", lambda: b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested")
    yield failed("broken.json", lambda: b'{"a": ', "damaged or incomplete")
    yield good(
        "broken.jsonl",
        lambda: b'{"a": "The first record is whole."}\n{"a": \n',
        "The first record is whole.",
        note="line 2",
    )
    yield failed("a cell without end.csv", lambda: b'a,b\n"' + b"x" * 11_000_000, "damaged or incomplete")


def _large_text() -> Iterator[bytes]:
    line = "Kinkajous of the canopy sleep by day, and at dusk they go out for figs, nectar and company. "
    block = "".join(f"{line}{number:06} {line}\n\n" for number in range(5000)).encode()
    for _ in range(_LARGE_BYTES // len(block)):
        yield block
    yield b"The kinkajou waits at the very end.\n"
