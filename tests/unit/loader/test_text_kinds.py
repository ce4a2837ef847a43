"""Kinds of text, JSON, HTML, books and mail that other readers get wrong."""
# ruff: noqa: E501 - texts as they come out

from __future__ import annotations

import time

import pytest
from memgpt_loader import decoding
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import NoteKind
from memgpt_loader.formats.mail_headers import decoded_header

from tests.unit.loader.kinds import read, read_bytes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("txt_cs_cp1250.txt", "Loď přijela do přístavu ve čtvrtek, kapitán řekl: „žádné zboží“."),
        ("txt_cp932_short.csv", "■番号 | 名前\n■番号: ① | 名前: 海野一郎\n■番号: ② | 名前: 山田花子"),
        ("txt_cp850.txt", "Die Möwe saß auf dem Pfahl. Größe: 12. Übergang über die Brücke für fünf Männer."),
        ("txt_utf16le_nobom_zh.txt", "港口今天因为大风关闭，所有渡船停航，请旅客明天再来。"),
        ("txt_he_1255_b.txt", "הנמל סגור היום בגלל הרוח החזקה."),
        (
            "txt_koi8u_a.txt",
            "Пароплав прийшов у порт рано-вранці, і капітан звелів вивантажити вугілля; її бачили всі.",
        ),
        ("txt_ansi.log", "ERROR pump P7 failed\n"),
        ("txt_nul_a.log", "boot ok\npump P9 failed after power loss\n"),
    ],
)
def test_encodings(name: str, expected: str) -> None:
    came = read(name)
    assert came.text == expected
    assert not came.notes


def test_dos_cyrillic() -> None:
    assert read("txt_cp866.txt").text.startswith(
        "Пароход пришёл в порт рано утром, и капитан велел выгрузить уголь до обеда."
    )


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("iso8859-2", "Zażółć gęślą jaźń. Łódź płynie rano do portu w Gdańsku."),
        ("iso8859-5", "Корабль пришёл в порт рано утром и стоит у причала."),
        ("mac-cyrillic", "Корабль пришёл в порт рано утром и стоит у причала."),
        ("cp737", "Το πλοίο έφτασε στο λιμάνι το πρωί."),
        ("cp1254", "Gemi sabah limana geldi; yolcular için çay ve börek ısmarlandı. İstanbul güzel şehir."),
        ("cp862", "הספינה הגיעה לנמל בבוקר."),
        ("cp1257", "Kuģis ieradās ostā agri no rīta, kapteinis teica: ļoti labi. Šodien būs vējš."),
        ("cp874", "เรือมาถึงท่าเรือตอนเช้า"),
        ("mac-roman", "Le café est très agréable; voilà, dit-il à huit heures. Où êtes-vous allés?"),
        ("cp852", "Příští schůze se koná ve čtvrtek v Brně; přijďte včas."),
        ("big5", "今天港口因大風關閉，渡輪停航。"),
        ("utf-16-be", "船は朝早く港に着いた。\n雨が降った。"),
        ("utf-16-le", "Корабль пришёл в порт.\nСегодня рано утром."),
        ("utf-16-le", "배가 아침 일찍 항구에 도착했다."),
    ],
)
def test_more_encodings(encoding: str, words: str) -> None:
    assert decoding.decode(words.encode(encoding)) == words


@pytest.mark.parametrize(
    "words",
    [
        "Preis 5 €",
        "Größe: 10 m²",
        "It’s a “test” – ok",
        "© 2024 Acme®",
        "½ cup",
        "a café on the corner",
        "20 °C",
        "Er sagte: „Gut.“",
        "£5 per head",
    ],
)
def test_short_western_text(words: str) -> None:
    assert decoding.decode(words.encode("cp1252")) == words


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1251", "Model X: стоит у причала"),
        ("cp1250", "Řekl: žádné zboží, příteli"),
        ("cp850", "Die Möwe ist größer"),
        ("cp932", "価格表 A4"),
        ("koi8-r", "Файл README: стоит у причала"),
    ],
)
def test_short_text_of_elsewhere(encoding: str, words: str) -> None:
    assert decoding.decode(words.encode(encoding)) == words


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("txt_mostly_utf8_a.txt", "Die Fähre nach Grönö fährt täglich."),
        ("txt_trunc_utf8_a.txt", "Der Hafenmeister schließt die Tür."),
    ],
)
def test_a_byte_that_does_not_fit_costs_nothing_else_and_is_noted(name: str, begins: str) -> None:
    came = read(name)
    assert came.text.startswith(begins)
    assert came.notes == {NoteKind.BAD_BYTES: 1}


def test_json_with_comments_several_documents_and_repeated_keys() -> None:
    assert read("json_comments_a.json").text == "light: red\nperiod: 4\n\nComment: settings of the buoy"
    assert read("json_concat_a.json").text == "ship: Vesta\ntons: 40\n\nship: Orm\ntons: 12"
    assert read("json_dupkeys_a.json").text == "name: Vesta\nname: Orm\nport: Riga"
    assert (
        read_bytes(b"{a: 'it\\'s // no comment', /* b */ c: [1, 2,],}", "a.json5").text
        == "a: it's // no comment\nc: 1, 2\n\nComment: b"
    )


def test_one_bad_line_of_json_is_noted() -> None:
    came = read("jsonl_onebad_a.jsonl")
    assert came.text == "a: first record about cod\n\na: second record about eel\n\na: fourth record about ray"
    assert (came.notes, came.wheres) == ({NoteKind.BAD_RECORD: 1}, ["line 3"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("html_frames_a.html", "# Old site\n\nRead the tide rules here without frames."),
        ("html_noscript_a.html", "# Harbour fees\n\nSmall boats pay four euro a night."),
        ("html_svgtext_a.html", "Pressure limit 12 bar\n\nSee the picture."),
        ("html_mathml_a.html", "The period of the pendulum is T=2π√(l/g) in seconds."),
        ("html_ruby_a.html", "来年横浜へ行く。"),
        ("html_rowspan_a.html", "Day | Time | Room\nMonday | nine | Blue\nMonday | ten | Green"),
        ("html_shy_a.html", "Die Donaudampfschifffahrtsgesellschaft zahlt. Zerowidth here."),
        ("xhtml_selfclose_a.xhtml", "# Chapter\n\nThe keeper counted fourteen gulls on the rail."),
    ],
)
def test_web_pages(name: str, expected: str) -> None:
    assert read(name).text == expected


def test_an_article_beside_a_small_main_is_read() -> None:
    assert read("html_nested_main_a.html").text.endswith("# Storm report\n\nThe breakwater was damaged on Friday.")


def test_a_notice_about_scripts_is_left_out() -> None:
    page = b"<html><body><noscript>Please enable JavaScript.</noscript><p>Text.</p></body></html>"
    assert read_bytes(page, "a.html").text == "Text."


def test_books() -> None:
    assert read("epub_selfclose_title_a.epub").pages == [
        f"# Chapter\n\nThe keeper counted {n} gulls on the rail." for n in ("eleven", "twelve")
    ]
    assert read("epub_mediatype_a.epub").pages == ["The whale surfaced at dawn.", "The crew rowed north."]
    assert read("epub_href_a.epub").pages == ["Chapter with a space in its name.", "Second chapter by a fragment."]


_FROM = "From: Ann <ann@port.example>\n\nTo: Bo <bo@port.example>\n\nDate: Tue, 04 Mar 2025 10:00:00 +0000\n\n"


@pytest.mark.parametrize(
    ("name", "subject", "expected"),
    [
        ("mail_blankplain_a.eml", "Newsletter", "The regatta is moved to the ninth of May."),
        ("mail_stubplain_a.eml", "Offer", "The crane costs 900 euro a day until the end of June."),
        (
            "mail_altmixed_a.eml",
            "Nested",
            "Short text.\n\nTail.\n\n## Attachment: r.txt\n\nReport attached by Apple Mail within the alternative: sonar fault.",
        ),
        (
            "mail_calendar_a.eml",
            "Invitation",
            "You are invited.\n\nDock inspection\nStart: 2025-03-12 08:30 UTC\nPlace: Pier seven",
        ),
        (
            "mail_rfc822_base64_a.eml",
            "Fwd",
            "See attached.\n\n## Attachment: note.eml\n\n# Forwarded note\n\nFrom: cy@port.example\n\nThe winch is repaired.",
        ),
        (
            "mail_flowed_a.eml",
            "Flowed",
            "The lighthouse keeper wrote that the lamp must be cleaned every morning before the inspector arrives.",
        ),
        ("mail_gb_mislabel_a.eml", "朱镕基", "朱镕基先生的信。"),
        ("mail_jis_b.eml", "JP2", "会議①は株式会社"),
        ("mail_badcharset_a.eml", "Odd charset", "Größe zwölf."),
        ("mail_uu_a.eml", "Old UU", "See the file.\n\n## Attachment: a.txt\n\nhello"),
    ],
)
def test_mail(name: str, subject: str, expected: str) -> None:
    came = read(name)
    assert came.text == f"# {subject}\n\n{_FROM}{expected}"
    assert not came.notes


def test_mail_with_a_byte_order_mark() -> None:
    assert read("mail_bom_a.eml").text.startswith("# Mark ahead of the headers")
    assert read("mail_bom_a.eml").text.endswith("The sluice is shut on Sundays.")


def test_subjects_in_raw_bytes() -> None:
    assert read("mail_rawsubject_b.eml").text.startswith("# Überführung der Yacht")


def test_a_delivery_report_is_read() -> None:
    words = read("mail_dsn_a.eml").text
    assert "Diagnostic-Code: smtp; 550 mailbox unknown here" in words
    assert words.endswith("The anchor is rusty.")


def test_a_character_cut_in_two_by_encoded_words() -> None:
    assert decoded_header("=?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe?= again") == "Grüße again"


def _multipart(*parts: str) -> bytes:
    head = 'From: a@example.org\nTo: b@example.org\nSubject: Report\nContent-Type: multipart/mixed; boundary="x"\n\n'
    return (head + "".join(f"--x\n{part}\n" for part in parts) + "--x--\n").encode()


_GOOD = "Content-Type: text/plain; charset=utf-8\n\nThe ship has arrived."


@pytest.mark.parametrize(
    ("part", "noted"),
    [
        ("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nwqAK", False),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nAAECAwAFBgcACQo=", True),
        ("Content-Type: text/calendar\nContent-Transfer-Encoding: base64\n\nAAECAwAFBgcACQo=", True),
    ],
)
def test_a_part_that_is_not_text_costs_nothing_else(part: str, noted: bool) -> None:
    came = read_bytes(_multipart(part, _GOOD), "a.eml")
    assert "The ship has arrived." in came.text
    assert came.notes == ({NoteKind.ATTACHMENT: 1} if noted else {})


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.html", "<html><body>" + "<table><tr><td>a" * 5000),
        ("a.html", "<html><body><main><p>Read.</p>" + "<nav><p>a" * 5000),
        ("a.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\n<v" + " " * 20_000),
        ("a.ass", "Dialogue: 0,,,,,,,,," + "{\\\\" * 40_000),
        ("a.eml", _multipart("Content-Type: text/plain\n\n" + "](" * 200_000).decode().replace("mixed", "alternative")),
        (
            "a.eml",
            _multipart(
                "Content-Type: text/plain\n\n" + " ".join(f"plain{n}" for n in range(5000)),
                "Content-Type: text/html\n\n" + " ".join(f"rich{n}" for n in range(5000)),
            ).decode().replace("mixed", "alternative"),
        ),
    ],
    ids=["tables", "frames", "speaker", "override", "address", "alternatives"],
)  # fmt: skip
def test_repetition_takes_little_time(name: str, source: str) -> None:
    began = time.process_time()
    read_bytes(source.encode(), name)
    assert time.process_time() - began < 4


def test_both_alternatives_are_kept_if_each_has_words_of_its_own() -> None:
    data = _multipart(
        "Content-Type: text/plain\n\nThe ship sails at nine from the old harbor. Code 7731.",
        "Content-Type: text/html\n\n<p>The ship sails at nine from the old harbor. Bring warm clothes and food.</p>",
    ).replace(b"mixed", b"alternative")
    came = read_bytes(data, "a.eml")
    assert "7731" in came.text
    assert "warm clothes" in came.text


def test_prose_under_the_name_of_json_is_not_records() -> None:
    with pytest.raises(FileFailure) as failure:
        read_bytes(b"The ship has arrived", "a.json")
    assert failure.value.reason is FailureReason.BROKEN


def test_character_data_of_xhtml_is_read() -> None:
    page = '<html xmlns="http://www.w3.org/1999/xhtml"><body><p>If <![CDATA[a < b && c]]> holds</p></body></html>'
    assert read_bytes(page.encode(), "a.xhtml").text == "If a < b && c holds"


def test_subtitles_without_blank_lines() -> None:
    cues = "1\n00:00:01,000 --> 00:00:02,000\nOne.\n2\n00:00:03,000 --> 00:00:04,000\nTwo.\n"
    assert read_bytes(cues.encode(), "a.srt").text == "One.\nTwo."


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>a<sup>2</sup> + b<sup>n</sup> is 10<sup>−6</sup> m<sup>2</sup></p>", "a^2 + b^n is 10^−6 m^2"),
        ("<p>(x + 1)<sup> 2 </sup>, the 1<sup>st</sup> of May<sup>TM</sup></p>", "(x + 1)^2, the 1st of MayTM"),
        ('<p>since 1984<sup><a href="#n1">1</a></sup>.</p>', "since 1984^1."),
        ("<p>a<sup>2<p>next</p></sup>b</p>", "a^2\n\nnext\n\nb"),
        ("<ol><li>One<li>Two<ul><li>Under</ul><li>Three</ol>", "1. One\n2. Two\n  - Under\n3. Three"),
        ("<ol start=3><li>Three<li value=7>Seven<li>Eight</ol>", "3. Three\n7. Seven\n8. Eight"),
        ("<ol reversed><li>Two<li>One</ol>", "2. Two\n1. One"),
        ("<ol start=x><li><p>One.</p><p>More.</p></li><li></li><li>Three.</li></ol>", "1. One.\n  More.\n3. Three."),
        (
            "<p>Name <input value='Ada'> <input type=password value=s3cret> <input type=hidden value=csrf></p>",
            "Name Ada",
        ),
        ("<p>About <textarea>Likes\ntea</textarea></p>", "About Likes\ntea"),
        ("<p>Size <select><option>S<option selected>M</select></p>", "Size M"),
        ("<p><input type=radio checked> Yes <input type=radio> No</p>", "[x] Yes No"),
        ("<p>Seen<span style='color: red; Display : NONE'>unseen</span>.</p>", "Seen."),
        ("<body style='display:none'><p>Shown by a script.</p></body>", "Shown by a script."),
        ("<body><div style='display:none'><p>Shown by a script.</p></div></body>", "Shown by a script."),
    ],
)
def test_what_a_page_shows_is_read(page: str, expected: str) -> None:
    assert read_bytes(f"<html>{page}".encode(), "a.html").text == expected


def test_embedded_pages_sounds_and_videos_are_noted() -> None:
    page = """<html><p>Listen: <audio src="a.mp3">Get a browser.</audio> <video src="b.mp4"></video>
    <iframe src="https://example.org/map"></iframe> <iframe src="pixel" width="1" height="1"></iframe>
    <iframe srcdoc="&lt;p&gt;Inside.&lt;/p&gt;"></iframe></p>"""
    parsed = read_bytes(page.encode(), "a.html")
    assert parsed.text == "Listen: Inside."
    assert parsed.notes == {NoteKind.OBJECT: 3}


def test_lists_are_numbered_as_they_say() -> None:
    page = "<html><body><ol type=a><li>x<li>y</ol><ol type=I start=4><li>z</ol><ol type=1><li>w</ol></body></html>"
    assert read_bytes(page.encode(), "a.html").text == "a. x\nb. y\n\nIV. z\n\n1. w"


@pytest.mark.parametrize("mark", ['epub:type="noteref"', 'role="doc-noteref"'])
def test_the_mark_of_a_note_is_no_part_of_the_word(mark: str) -> None:
    page = f'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>in 1911<a {mark} href="#n">2</a>, they say</p></body></html>'
    assert read_bytes(page.encode(), "a.xhtml").text == "in 1911[2], they say"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Zítra ráno pojedeme k jezeru, vezměte si teplé oblečení; příliš žluťoučký kůň.\n", "iso8859-2"),
        ("내일 아침 우리는 호수에 갑니다. 낚싯대와 옷을 가져오세요.\n", "iso2022_kr"),
        ("[a]\nb=Ü\n", "cp1252"),
        ("Die Bücher über Köln gehören der größten Bücherei; Gebühr für Schüler: 5 Euro.\n", "cp437"),
    ],
)
def test_short_texts_in_encodings_of_old_systems(text: str, encoding: str) -> None:
    assert read_bytes(text.encode(encoding), "a.txt").text == text


@pytest.mark.parametrize(
    "words",
    [
        "Größe",
        "Zürich",
        "a café",
        "Straße 5",
        "it’s",
        "“Hello”",
        "¿Dónde está?",
        "«Oui», dit-il",
        "Ärger mit Öl",
        "déjà vu",
    ],
)
def test_short_texts_of_old_macintoshes(words: str) -> None:
    came = read_bytes(words.encode("mac-roman"), "a.txt")
    assert came.text == words
    assert came.notes == (
        {} if len(words) - len(words.encode("ascii", "ignore")) > 2 else {NoteKind.GUESSED_ENCODING: 1}
    )


@pytest.mark.parametrize("words", ["Köln", "Straße", "“Hello”", "voilà"])
def test_a_word_that_only_one_encoding_gives_is_no_guess(words: str) -> None:
    came = read_bytes(words.encode("cp1252"), "a.txt")
    assert (came.text, came.notes) == (words, {})


@pytest.mark.parametrize(
    "words",
    [
        "It’s late—don’t go",
        "O’Brien",
        "bœuf, sœur, cœur",
        "“Don’t go—stay,” he said.",
        "Tom’s “big” day—and night",
        "rock ’n’ roll of the ’90s",
        "He said: “no…”",
        "the 1970s–1980s",
        "d’Artagnan’s",
        "l’œuvre, n’était, l’île",
        "C’est très bien, où",
    ],
)
def test_short_texts_with_signs_of_windows(words: str) -> None:
    came = read_bytes(words.encode("cp1252"), "a.txt")
    assert (came.text, came.notes) == (words, {NoteKind.GUESSED_ENCODING: 1})


@pytest.mark.parametrize(
    "words",
    [
        "“I can’t,” said O’Hara—the old man—“and I won’t.” It’s late; the ’90s are over…",
        "C’est très bien, où l’on va ; l’œuvre n’est pas « faite » à l’hôpital – voilà…",
    ],
)
def test_texts_with_signs_of_windows(words: str) -> None:
    came = read_bytes(words.encode("cp1252"), "a.txt")
    assert (came.text, came.notes) == (words, {})


@pytest.mark.parametrize("words", ["acción, nación, razón", "También comió jamón aquí", "böse Töne hören"])
def test_letters_of_old_macintoshes_that_are_signs_of_windows(words: str) -> None:
    assert read_bytes(words.encode("mac-roman"), "a.txt").text == words


@pytest.mark.parametrize(
    ("encoding", "words", "read_as"),
    [
        ("cp1250", "Gdańsk", "Gdañsk"),
        ("cp1254", "İstanbul", "Ýstanbul"),
        ("mac-roman", "Köln", "Kšln"),
        ("cp850", "Köln", "Köln"),
        ("cp850", "Straße", "Straáe"),
        ("cp850", "Weißer Spieß, 5 Straßen", "Weiáer Spieá, 5 Straáen"),
        ("cp1250", "Łódź", "£Ûdü"),
        ("cp1250", "šuma, naša, više", "öuma, naöa, viöe"),
    ],
)
def test_a_guess_that_a_few_letters_cannot_settle_is_noted(encoding: str, words: str, read_as: str) -> None:
    came = read_bytes(words.encode(encoding), "a.txt")
    assert (came.text, came.notes) == (read_as, {NoteKind.GUESSED_ENCODING: 1})
