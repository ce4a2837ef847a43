"""Formats and encodings that are rarer: winmail.dat, FictionBook, JSON text sequences, XML workbooks, old code pages."""
# ruff: noqa: E501 - texts as they come out

from __future__ import annotations

import struct
import zipfile
from email.message import EmailMessage
from io import BytesIO

import compressed_rtf
import olefile
import openpyxl
import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import NoteKind

from tests.support.compound_files import compound_file
from tests.support.documents import archive
from tests.support.tnef_streams import tnef
from tests.unit.loader.kinds import FOLDER, read, read_bytes

_RTF = compressed_rtf.compress(rb"{\rtf1\ansi The price is 12 EUR for each box.\par}")


def _mail(body: str, data: bytes, subtype: str = "ms-tnef") -> bytes:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Quote", "ann@example.org", "bob@example.org"
    mail.set_content(body)
    mail.add_attachment(data, "application", subtype, filename="winmail.dat")
    return mail.as_bytes()


def test_the_text_and_the_attachments_of_a_winmail_file_are_read() -> None:
    inner = tnef("Eels", html=b"<p>We ship <b>eels</b>.</p>")
    data = tnef("Quote", rtf=_RTF, files=[("Angebot für Sie.txt", b"12 Kisten")], message=inner)
    expected = "# Quote\n\nThe price is 12 EUR for each box.\n\n## Attachment: Angebot für Sie.txt\n\n12 Kisten\n\n## Attachment: Forwarded\n\n# Eels\n\nWe ship eels."
    assert read_bytes(data, "winmail.dat").text == expected
    for body, subtype in (("The price is 12 EUR for each box.", "ms-tnef"), ("", "octet-stream")):
        read = read_bytes(_mail(body, data, subtype), "a.eml")
        assert read.text.count("The price is 12 EUR for each box.") == 1
        assert read.text.endswith(expected.partition("each box.")[2])
        assert not read.notes


def test_a_winmail_file_that_is_cut_off_or_unreadable_is_noted() -> None:
    data = tnef("Quote", rtf=_RTF, files=[("a.txt", b"12"), ("b.bin", b"\0\1\2" * 50)])
    read = read_bytes(data[:-100], "winmail.dat")
    assert "The price is 12 EUR" in read.text
    assert read.notes == {NoteKind.MISSING_PART: 1, NoteKind.ATTACHMENT: 1}
    assert read_bytes(_mail("Text", data), "a.eml").wheres == ["b.bin"]
    assert read_bytes(_mail("Text", b"no such file"), "a.eml").text.endswith(
        "## Attachment: winmail.dat\n\nno such file"
    )
    bomb = struct.pack("<IIII", 20, 1 << 30, 0x75465A4C, 0) + bytes(8)
    assert read_bytes(_mail("Text", tnef("Quote", rtf=bomb)), "a.eml").notes == {NoteKind.ATTACHMENT: 1}


_BOOK = """<?xml version="1.0" encoding="windows-1251"?>
<FictionBook xmlns="http://www.gribuser.ru/xml/fictionbook/2.0" xmlns:l="http://www.w3.org/1999/xlink">
<description><title-info><author><first-name>Анна</first-name><last-name>Морская</last-name></author>
<book-title>Гавань</book-title><annotation><p>О море.</p></annotation><sequence name="Порты" number="2"/></title-info></description>
<body><epigraph><p>Море зовёт</p></epigraph><section><title><p>Глава 1</p></title>
<p>Корабль <emphasis>вышел</emphasis> рано<a l:href="#n1" type="note">[1]</a>. 10<sup>6</sup> миль.</p><image l:href="#i"/>
<poem><stanza><v>Волна за волной</v></stanza></poem><table><tr><td>Порт</td><td>Рига</td></tr></table></section>
<section><section><title><p>Часть А</p></title><p>Конец.</p></section></section></body>
<body name="notes"><section id="n1"><p>В пять утра.</p></section></body>
<binary id="i" content-type="image/png">iVBORw0KGgo=</binary></FictionBook>"""


def test_the_chapters_of_a_fictionbook_are_read() -> None:
    read = read_bytes(_BOOK.encode("cp1251"), "a.fb2")
    assert read.pages == [
        "Author: Анна Морская\n\n# Гавань\n\nО море.\n\nSeries: Порты, 2",
        "Море зовёт",
        "# Глава 1\n\nКорабль вышел рано[1]. 10^6 миль.\n\nВолна за волной\n\nПорт | Рига",
        "## Часть А\n\nКонец.",
        "В пять утра.",
    ]
    assert (read.notes, read.wheres) == ({NoteKind.PICTURE: 1}, ["chapter 3"])
    with pytest.raises(FileFailure) as failure:
        read_bytes(_BOOK.encode("cp1251")[:900], "a.fb2")
    assert failure.value.reason is FailureReason.BROKEN


@pytest.mark.parametrize("name", ["a.json-seq", "a.jsonl", "a.json"])
def test_a_json_text_sequence_is_read(name: str) -> None:
    data = '\x1e{"a": 1}\n\x1e{"b":\n "é"}\n\x1e{"c": tru\n\x1e{"d": "ok"}\n'.encode()
    read = read_bytes(data, name)
    assert read.text == "a: 1\n\nb: é\n\nd: ok"
    assert (read.notes, read.wheres) == ({NoteKind.BAD_RECORD: 1}, ["record 3"])


_WORKBOOK = """<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>
<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet">
<Styles><Style ss:ID="p"><NumberFormat ss:Format="Percent"/></Style><Style ss:ID="d"><NumberFormat ss:Format="dd/mm/yyyy"/></Style>
<Style ss:ID="z"><NumberFormat ss:Format="00000"/></Style></Styles><Worksheet ss:Name="Crew"><Table>
<Row><Cell><Data ss:Type="String">Name</Data></Cell><Cell><Data ss:Type="String">Share</Data></Cell><Cell><Data ss:Type="String">Joined</Data></Cell><Cell><Data ss:Type="String">No</Data></Cell></Row>
<Row><Cell ss:HRef="https://example.org/ann"><Data ss:Type="String">Ann</Data><Comment ss:Author="Bo"><ss:Data>since <B>May</B></ss:Data></Comment></Cell>
<Cell ss:StyleID="p"><Data ss:Type="Number">0.125</Data></Cell><Cell ss:StyleID="d"><Data ss:Type="DateTime">1987-04-09T00:00:00.000</Data></Cell><Cell ss:StyleID="z"><Data ss:Type="Number">42</Data></Cell></Row>
<Row><Cell ss:MergeDown="1"><Data ss:Type="String">Bob</Data></Cell><Cell ss:Index="4" ss:Formula="=SUM(R[-1]C)"/></Row>
<Row><Cell ss:Index="2" ss:StyleID="p"><Data ss:Type="Number">0.5</Data></Cell></Row></Table></Worksheet></Workbook>"""


@pytest.mark.parametrize("name", ["crew.xls", "crew.xml", "crew"])
def test_a_workbook_as_xml_is_read_as_displayed(name: str) -> None:
    read = read_bytes(_WORKBOOK.encode(), name)
    assert read.text.split("\n") == [
        "# Crew",
        "",
        "Name | Share | Joined | No",
        "Name: [Ann](https://example.org/ann) | Share: 12.50% | Joined: 09/04/1987 | No: 00042",
        "Name: Bob | No: =SUM(R[-1]C)",
        "Name: Bob | Share: 50.00%",
        "Comment on A2 (Bo): since May",
    ]
    assert (read.notes, read.wheres) == ({NoteKind.UNCALCULATED: 1}, ["sheet Crew, D3"])


def _workbook(**results: str) -> bytes:
    """A workbook of a library, with formulas whose stored results are given by their cells."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["item", "price"])
    for number, cell in enumerate(results, start=2):
        sheet[f"A{number}"], sheet[cell] = f"rope {number}", f"=1+{number}"
    written, changed = BytesIO(), BytesIO()
    book.save(written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(changed, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.startswith("xl/worksheets/"):
                for number, result in enumerate(results.values(), start=2):
                    data = data.replace(
                        b"<f>1+%d</f><v />" % number, b"<f>1+%d</f><v>%b</v>" % (number, result.encode())
                    )
            target.writestr(entry, data)
    return changed.getvalue()


def test_zeros_that_stand_for_results_until_a_program_calculates_them_are_noted() -> None:
    read = read_bytes(_workbook(B2="0", B3="25", B4=""), "a.xlsx")
    assert read.text.split("\n")[3:] == [
        "item: rope 2 | price: =1+2",
        "item: rope 3 | price: 25",
        "item: rope 4 | price: =1+4",
    ]
    assert (read.notes, read.wheres) == ({NoteKind.UNCALCULATED: 2}, ["sheet Sheet, B2, sheet Sheet, B4"])


def test_text_beside_the_cells_of_a_legacy_workbook_is_read_and_pictures_are_noted() -> None:
    def record(kind: int, data: bytes) -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    def box(kind: int, *pieces: bytes) -> bytes:
        count = sum((len(each) - 1) // (1 + each[0]) for each in pieces)
        head = record(0x5D, struct.pack("<HHH", 0x15, 18, kind) + bytes(16)) + record(
            0x1B6, bytes(10) + struct.pack("<H6x", count)
        )
        return head + b"".join(record(0x3C, each) for each in pieces)

    with olefile.OleFileIO(FOLDER / "old_a.xls") as compound:
        stream = compound.openstream("Workbook").read()
    end = stream.rindex(record(0x0A, b""))
    more = record(0x14, struct.pack("<HB", 15, 0) + b"&CAcme && Co &P") + record(
        0x15, struct.pack("<HB", 6, 0) + b"Page 1"
    )
    more += (
        box(0x06, b"\0Ask ", b"\1" + "Zoë".encode("utf-16-le"))
        + box(0x19, b"\0A comment")
        + record(0x5D, struct.pack("<HHH", 0x15, 18, 8) + bytes(16))
    )
    found = read_bytes(compound_file({"Workbook": stream[:end] + more + stream[end:]}), "a.xls")
    assert found.text == f"{read('old_a.xls').text}\nHeader: Acme & Co\nAsk Zoë"
    assert found.notes == {NoteKind.PICTURE: 1}


@pytest.mark.parametrize(("result", "noted"), [(b"\x03\0\0\0\0\0\xff\xff", 1), (struct.pack("<d", 12), 0)])
def test_formulas_of_a_legacy_workbook_that_were_never_calculated_are_noted(result: bytes, noted: int) -> None:
    with olefile.OleFileIO(FOLDER / "old_a.xls") as compound:
        stream = compound.openstream("Workbook").read()
    number = struct.pack("<HHHHH", 0x027E, 10, 1, 1, 17) + b"2\0\0\0"  # 12 in B2
    assert number in stream
    formula = struct.pack("<HHHHH", 0x0006, 25, 1, 1, 17) + result + bytes(6) + struct.pack("<HBH", 3, 0x1E, 12)
    read = read_bytes(compound_file({"Workbook": stream.replace(number, formula)}), "a.xls")
    assert read.text.endswith("Item: Rope" if noted else "Item: Rope | Price: 12")
    assert read.notes == ({NoteKind.UNCALCULATED: 1} if noted else {})
    assert read.wheres == (["sheet Stock, B2"] if noted else [])


_OLD_PAGES = [
    ("mac-arabic", "السفينة غادرت الميناء عند الفجر. وصلنا إلى المدينة القديمة بعد ثلاثة أيام."),
    ("johab", "배가 새벽에 항구를 떠났다. 우리는 사흘 뒤에 오래된 도시에 도착했다."),
    ("cp775", "Kuģis atstāja ostu rītausmā. Pēc trim dienām mēs sasniedzām veco pilsētu."),
    ("iso8859-4", "Laivas išplaukė iš uosto auštant. Po trijų dienų pasiekėme senąjį miestą."),
    ("hz", "船在黎明时离开港口。三天后我们到达了古城。"),
    ("cp720", "السفينة غادرت الميناء عند الفجر وصلنا إلى المدينة القديمة بعد ثلاثة أيام"),
    ("cp861", "Skipið fór úr höfninni í dögun. Eftir þrjá daga komum við til gömlu borgarinnar."),
    ("cp869", "Το πλοίο έφυγε από το λιμάνι την αυγή. Μετά από τρεις μέρες φτάσαμε στην παλιά πόλη."),
    ("mac-iceland", "Skipið fór úr höfninni í dögun. Eftir þrjá daga komum við til gömlu borgarinnar. Þórður."),
    ("iso8859-3", "Gemi şafakta limandan ayrıldı. Üç gün sonra eski şehre vardık. İğne."),
]


@pytest.mark.parametrize(("encoding", "words"), _OLD_PAGES)
def test_old_code_pages_are_recognized(encoding: str, words: str) -> None:
    assert read_bytes(words.encode(encoding), "a.txt").text == words


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("iso8859-4", "Laev lahkus sadamast koidikul. Kolme päeva pärast jõudsime vanasse linna. Žanr ja šokolaad."),
        ("iso8859-10", "Skeppet lämnade hamnen i gryningen. Sámi: čáhci, šaldi, ŋuolla, đávvir."),
        ("iso8859-16", "Vaporul a părăsit portul în zori. După trei zile am ajuns în orașul vechi. Țară și pâine."),
    ],
)
def test_a_doubtful_guess_of_an_encoding_is_noted(encoding: str, words: str) -> None:
    assert read_bytes(words.encode(encoding), "a.txt").notes == {NoteKind.GUESSED_ENCODING: 1}


@pytest.mark.parametrize("text", ["a ~{b~} c", '(format t "~{~a~^, ~}" list)', "~{ab~} and ~{cd~}", "~{}~} ~{!!~}"])
def test_tildes_and_braces_are_not_chinese(text: str) -> None:
    assert read_bytes(text.encode(), "a.txt").text == text


@pytest.mark.parametrize("name", ["make.py", "make.md", "make.txt"])
@pytest.mark.parametrize(
    "tag", ['<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">', "<FictionBook xmlns:l='x'>"]
)
def test_a_text_that_only_shows_a_tag_is_a_text(name: str, tag: str) -> None:
    assert read_bytes(f"print('begin')\nprint('{tag}')\n".encode(), name).text.count("print") == 2


RSS = (
    '<?xml version="1.0" encoding="ISO-8859-1"?><rss version="2.0" xmlns:c="urn:c" xmlns:a="urn:a"><channel>'
    '<title>Harbor news</title><link>https://x.org/</link><a:link href="https://x.org/rss" rel="self"/>'
    "<description>All of it</description><item><title>Café &amp; pier</title><link>https://x.org/1</link>"
    "<description>The pier &lt;b&gt;opens&lt;/b&gt; ...</description><c:encoded><![CDATA[<p>The pier opens on "
    '<a href="https://x.org/m">Monday</a>.</p><img src=a.png>]]></c:encoded><pubDate>Mon, 02 Mar 2026</pubDate>'
    '<c:creator>Ann</c:creator><category>news</category><enclosure url="https://x.org/a.mp3"/><guid>1</guid></item>'
    "<item><title>Two</title><description>Plain text.</description></item></channel></rss>"
)
ATOM = (
    '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:m="urn:m"><title>Blog</title><author><name>Bo</name></author>'
    '<entry><title type="html">A &amp;amp; B</title><link href="https://x.org/e"/><published>2026-03-02</published>'
    '<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Hello <b>you</b>.</p></div></content>'
    "<m:group><m:description>A film of it</m:description></m:group></entry></feed>"
)
KML = (
    '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><name>Ports</name><Folder><name>North</name><Placemark>'
    "<name>Visby</name><description><![CDATA[Deep <i>water</i>]]></description><ExtendedData><Data name='depth'><value>"
    "9 m</value></Data><SimpleData name='owner'>Town</SimpleData></ExtendedData><Point><coordinates>18.3,57.6"
    "</coordinates></Point></Placemark><Placemark><name>Route</name><LineString><coordinates>1,2 3,4</coordinates>"
    "</LineString></Placemark></Folder></Document></kml>"
)
GPX = (
    '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1"><metadata><name>Gotland</name>'
    '<desc>Two days</desc><author><name>Bo</name><link href="https://x.org/bo"/></author></metadata><wpt lat="57.6" lon="18.3"><ele>4</ele><name>Visby</name><cmt>Deep water</cmt>'
    '<desc>The &lt;b&gt;old&lt;/b&gt; port</desc><link href="https://x.org/v"><text>Guide</text></link></wpt>'
    '<rte><name>Coast</name><rtept lat="1" lon="2"><name>Turn left</name></rtept><rtept lat="3" lon="4"/></rte>'
    '<trk><name>Ride</name><cmt>Windy</cmt><trkseg><trkpt lat="1" lon="2"><ele>3</ele></trkpt>'
    '<trkpt lat="1" lon="3"/></trkseg></trk></gpx>'
)
OPML = (
    '<opml version="2.0"><head><title>Mine</title></head><body><outline text="News"><outline text="Harbor" '
    'xmlUrl="https://x.org/rss" htmlUrl="https://x.org/" description="daily"/></outline>'
    '<outline text="Buy milk" _note="two liters"/></body></opml>'
)


def item(inner: str) -> str:
    return f"<rss><channel><item>{inner}</item></channel></rss>"


def atom(inner: str) -> str:
    return f'<feed xmlns="http://www.w3.org/2005/Atom"><entry>{inner}</entry></feed>'


@pytest.mark.parametrize(
    ("name", "source", "text", "notes"),
    [
        (
            "a.rss",
            RSS,
            "# Harbor news\n\nLink: https://x.org/\n\nAll of it\n\n## Café & pier\n\nLink: https://x.org/1\n"
            "Date: Mon, 02 Mar 2026\nAuthor: Ann\nCategory: news\nAttachment: https://x.org/a.mp3\n\n"
            "The pier opens on [Monday](https://x.org/m).\n\n## Two\n\nPlain text.",
            {NoteKind.PICTURE: 1},
        ),
        (
            "a.xml",
            ATOM,
            "# Blog\n\nAuthor: Bo\n\n## A & B\n\nLink: https://x.org/e\nDate: 2026-03-02\n\nHello you.\n\nA film of it",
            {},
        ),
        (
            "a.kml",
            KML,
            "# Ports\n\n## North\n\n### Visby\n\nDepth: 9 m\nOwner: Town\nCoordinates: 18.3,57.6\n\nDeep water\n\n### Route",
            {NoteKind.OBJECT: 1},
        ),
        (
            "a.gpx",
            GPX,
            "# Gotland\n\nAuthor: Bo\nLink: https://x.org/bo\n\nTwo days\n\n## Visby\n\nLatitude: 57.6\nLongitude: 18.3\nElevation: 4\n"
            "Link: [Guide](https://x.org/v)\n\nDeep water\n\nThe old port\n\n## Coast\n\n### Turn left\n\n"
            "Latitude: 1\nLongitude: 2\n\n## Ride\n\nWindy",
            {NoteKind.OBJECT: 2},
        ),
        (
            "a.opml",
            OPML,
            "# Mine\n\n- News\n  - [Harbor](https://x.org/) (https://x.org/rss) daily\n- Buy milk two liters",
            {},
        ),
        ("a.rss", "<rss><channel><title>A & B&nbsp;&eacute;</title></channel></rss>", "# A & B é", {}),
        ("a.rss", "<rss><channel><title>A</channel></rss>", "<rss><channel><title>A</channel></rss>", {}),
        (
            "a.rss",
            item("<description>Hello world</description><encoded>Hello world.</encoded>"),
            "Hello world.",
            {},
        ),
        (
            "a.rss",
            item("<title>News of the <i>Titanic</i> &amp;lt;1912&gt;</title>"),
            "## News of the Titanic &lt;1912>",
            {},
        ),
        ("a.rss", item("<title>Vec&lt;String&gt; at AT&amp;amp;T</title>"), "## Vec<String> at AT&T", {}),
        ("a.rss", item("<title>&lt;i&gt;Titanic&lt;/i&gt;</title>"), "## Titanic", {}),
        (
            "a.rss",
            item(
                '<content url="https://x.org/a.jpg"><title>Pier</title><description>Ships &lt;b&gt;at&lt;/b&gt; the pier'
                "</description><credit>Bo</credit></content><title>News</title>"
            ),
            "## News\n\nLink: https://x.org/a.jpg\nTitle: Pier\nCredit: Bo\n\nShips at the pier",
            {},
        ),
        ("a.atom", atom("<title>Vec&lt;String&gt; &amp;amp;</title>"), "## Vec<String> &amp;", {}),
        ("a.atom", atom('<title type="text">&lt;b>s&lt;/b></title>'), "## <b>s</b>", {}),
        ("a.atom", atom('<title type="html">&lt;b>s&lt;/b> &amp;lt;</title>'), "## s <", {}),
        ("a.atom", atom('<title type="xhtml"><div>A <b>s</b> &lt;</div></title>'), "## A s <", {}),
        ("a.atom", atom("<content>Vec&lt;String&gt;</content>"), "Vec<String>", {}),
        ("a.opml", '<opml><body><outline text="Vec&lt;String&gt;"/></body></opml>', "- Vec<String>", {}),
    ],
)
def test_feeds_maps_and_outlines(name: str, source: str, text: str, notes: dict[NoteKind, int]) -> None:
    came = read_bytes(source.encode("latin-1"), name)
    assert (came.text, came.notes) == (text, notes)


def test_a_packed_map_is_read() -> None:
    came = read_bytes(archive({"doc.kml": KML}), "a.kmz")
    assert came.text.startswith("# doc.kml\n\n# Ports\n\n## North\n\n### Visby")
