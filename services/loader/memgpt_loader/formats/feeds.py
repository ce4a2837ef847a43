"""News feeds (RSS, Atom), places of maps (KML, GPX) and outlines (OPML): entries with their titles, texts and links."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from xml.etree.ElementTree import Element, tostring

from memgpt_loader import decoding
from memgpt_loader.failures import FileFailure
from memgpt_loader.formats import plain
from memgpt_loader.formats.inspected_file import InspectedFile, after_prolog
from memgpt_loader.formats.office.packages import attribute, local, parse_elements
from memgpt_loader.formats.spec import MARKDOWN, File, FileLimits, Format, Parsed, flowing
from memgpt_loader.markup import Blocks, link, one_line
from memgpt_loader.notes import NoteKind, Notes

RSS, ATOM = "application/rss+xml", "application/atom+xml"
KML, GPX, OPML = "application/vnd.google-earth.kml+xml", "application/gpx+xml", "text/x-opml"

_WHAT = "the feed"
_START = re.compile(rb"<(?:\w+:)?(rss|RDF|feed|kml|gpx|opml)[\s>]")
_KINDS = {b"rss": RSS, b"RDF": RSS, b"feed": ATOM, b"kml": KML, b"gpx": GPX, b"opml": OPML}
_NAMESPACES = {b"RDF": b"purl.org/rss/1.0", b"feed": b"w3.org/2005/Atom"}
_DECLARATION = re.compile(r"^\s*<\?xml[^<>]*\?>")
_NAMED_SIGN = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\w+);)(\w{2,31});")
_BARE_SIGN = re.compile(r"&(?!#?\w{1,31};)")
_TEXTS = ("description", "summary", "content", "encoded", "subtitle", "tagline", "desc", "cmt")
_PEOPLE = ("author", "creator", "contributor", "managingEditor")
_LABELS = {
    "pubDate": "Date", "date": "Date", "published": "Date", "issued": "Date", "creator": "Author", "lat": "Latitude",
    "lon": "Longitude", "ele": "Elevation", "sym": "Symbol", "src": "Source",
}  # fmt: skip
_NOT_SHOWN = frozenset(
    {"guid", "id", "ttl", "docs", "generator", "cloud", "skipHours", "skipDays", "items", "textInput", "thumbnail"}
    | {"Style", "StyleMap", "styleUrl", "LookAt", "Camera", "Region", "Icon", "visibility", "open", "tessellate"}
    | {"extrude", "altitudeMode", "drawOrder", "refreshVisibility", "flyToView", "Schema", "targetHref"}
)
_PATHS = ("LineString", "LinearRing", "Polygon", "Track", "Model")
_PLACES = ("Placemark", "NetworkLink", "GroundOverlay", "ScreenOverlay", "PhotoOverlay")
_ENTRIES = ("item", "entry", "wpt", "rte", "trk")
_POINTS = ("rtept", "trkpt")
_PATH = "lines, areas and models of maps are not read"
_ATOM = "{http://www.w3.org/2005/Atom}"
_LINES = ("title", "name", "text")
"""Elements that mostly are plain text, in which `Vec<String>` is no tag."""
_TAG = re.compile(r"</(?:a|abbr|b|big|cite|code|em|font|i|q|s|small|span|strong|su[bp]|tt|u)>|<br\s*/?>|<img\s", re.I)
_SIGN = re.compile(r"&#?\w{1,31};")
_MOST_DEPTH = 50
_MOST_COMPARED = 20
"""Maximum texts of an entry that are compared, to leave out those that another one contains, such as a summary."""


def _parse(file: File, limits: FileLimits) -> Parsed:
    data = file.read()
    for mend in (str, _mended):
        notes = Notes()
        source = _DECLARATION.sub("", decoding.decode(data, decoding.declared_encoding(data), notes))
        with suppress(FileFailure):
            if text := _READERS[file.media_type](mend(source), notes):
                return Parsed(1, flowing(text), notes)
    return plain.parse(file, limits)  # damaged, or in another vocabulary: as it stands


def _mended(source: str) -> str:
    """Return XML without the mistakes that programs make in it most: signs that HTML alone has, and bare ones."""
    signs = _NAMED_SIGN.sub(lambda match: html.escape(html.unescape(match[0])), source)
    return _BARE_SIGN.sub("&amp;", signs)


def _elements(source: str) -> Iterator[tuple[str, Element]]:
    return parse_elements(io.BytesIO(source.encode()), _WHAT)


def _ended(source: str) -> Iterator[tuple[Element, list[str]]]:
    """Yield each element when it ends, with the names of those that it is in."""
    above: list[str] = []
    for event, element in _elements(source):
        if event == "start":
            above.append(local(element))
        else:
            above.pop()
            yield element, above


def _feed(source: str, notes: Notes) -> str:
    blocks = Blocks()
    about: list[Element] = []
    for element, above in _ended(source):
        name = local(element)
        if name in _POINTS and not _is_described(element):
            element.clear()
        elif name in _ENTRIES:
            _add_about(blocks, about, notes)
            _Entry(notes).write(blocks, element, 2)
            element.clear()
        elif above[-1:] in (["channel"], ["feed"], ["gpx"]):
            about.append(element)
    _add_about(blocks, about, notes)
    return blocks.text()


def _add_about(blocks: Blocks, about: list[Element], notes: Notes) -> None:
    """Write what is known of the feed itself, which mostly stands before its entries."""
    if about:
        _Entry(notes).write(blocks, about, 1)
        about.clear()


class _Entry:
    """An entry of a feed, or a placemark of a map."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._title = ""
        self._lines: list[str] = []
        self._texts: list[str] = []
        self._points: list[Element] = []
        """Points of a route or track."""

    def write(self, blocks: Blocks, children: Iterable[Element], level: int) -> None:
        """Add the entry with these elements to a text."""
        if isinstance(children, Element):
            for name in ("lat", "lon"):
                self._add(_LABELS[name], children.get(name) or "")
        self._read(children, 0, titled=True)
        blocks.heading(level, self._title)
        blocks.paragraph("\n".join(dict.fromkeys(self._lines)))
        for words in _without_summaries(list(dict.fromkeys(self._texts))):
            blocks.paragraph(words)
        described = [point for point in self._points if _is_described(point)]
        if len(described) < len(self._points):
            self._notes.add(NoteKind.OBJECT, reason=_PATH)
        for point in described:
            _Entry(self._notes).write(blocks, point, level + 1)

    def _read(self, children: Iterable[Element], depth: int, *, titled: bool = False) -> None:
        for child in children if depth < _MOST_DEPTH else ():
            name = local(child)
            if name in ("title", "name") and titled and not self._title:
                self._title = one_line(_words(child, self._notes))
            elif name in ("link", "enclosure", "content") and (target := _target(child)):
                label = "Attachment" if name == "enclosure" or _rel(child) == "enclosure" else "Link"
                words = " ".join(_leaves(child, "text"))
                self._add(label, link(words, target) if words else target)
                self._read(child if name == "content" else (), depth + 1)
            elif name in _TEXTS:
                self._texts += filter(None, [_words(child, self._notes)])
            elif name in _PEOPLE:
                self._add("Author", ", ".join(_leaves(child)))
                self._read((each for each in child if local(each) == "link"), depth + 1)
            elif name == "category":
                self._add("Category", child.get("label") or child.get("term") or child.get("text") or child.text or "")
            elif name in _POINTS:
                self._points.append(child)
            elif name in _PATHS:
                self._notes.add(NoteKind.OBJECT, reason=_PATH)
            elif name == "Data":
                self._add(_label(child), " ".join(_leaves(child, "value")))
            elif name not in _NOT_SHOWN:
                self._add(_label(child), child.text or "")
                self._read(child, depth + 1, titled=titled and name == "metadata")

    def _add(self, label: str, words: str) -> None:
        if words := one_line(words):
            self._lines.append(f"{label}: {words}")


def _without_summaries(texts: list[str]) -> list[str]:
    kept: list[str] = []
    if len(texts) > _MOST_COMPARED:
        return texts
    for words in sorted(texts, key=len, reverse=True):
        if not any(words.rstrip(" .…") in longer for longer in kept):
            kept.append(words)
    return [words for words in texts if words in kept]


def _label(element: Element) -> str:
    name = attribute(element, "name") or _LABELS.get(local(element)) or local(element)
    return name[:1].upper() + name[1:]


def _is_described(point: Element) -> bool:
    return any(local(each) in ("name", "link", "url", *_TEXTS) for each in point)


def _target(element: Element) -> str:
    """Return where a link leads, except to the feed itself."""
    if _rel(element) not in ("", "alternate", "enclosure", "related", "via"):
        return ""
    target = element.get("href") or element.get("url") or element.get("src") or ""
    return target or (one_line(element.text or "") if local(element) == "link" else "")


def _rel(element: Element) -> str:
    return element.get("rel") or ""


def _leaves(element: Element, name: str = "") -> list[str]:
    """Return the distinct texts of an element and its descendants, or only of those with a name."""
    texts = (one_line(each.text or "") for each in element.iter() if local(each) == name or not name)
    return list(dict.fromkeys(filter(None, texts)))


def _words(element: Element, notes: Notes) -> str:
    """Return the text of an element, which may be a page in itself."""
    words = (element.text or "").strip()
    if len(element):
        words = html.escape(element.text or "") + "".join(tostring(child, "unicode") for child in element)
    elif not _is_page(element, words):
        return words if _kind(element) else _SIGN.sub(lambda match: html.unescape(match[0]), words)
    from memgpt_loader.formats.html_text import to_text

    return to_text(re.sub(r"(</?)\w+:", r"\1", words) if len(element) else words, title=False, notes=notes)


def _is_page(element: Element, words: str) -> bool:
    """Whether the text of an element is a page of HTML, as descriptions are; titles without a type are so at times."""
    if "<" not in words and "&" not in words:
        return False
    if kind := _kind(element):
        return "html" in kind or "xml" in kind
    return local(element) not in _LINES or _TAG.search(words) is not None


def _kind(element: Element) -> str:
    return element.get("type") or ("text" if _ATOM in element.tag else "")


def _places(source: str, notes: Notes) -> str:
    blocks = Blocks()
    for element, above in _ended(source):
        name = local(element)
        level = max(sum(each in ("Document", "Folder") for each in above), 1)
        if name in _PLACES:
            _Entry(notes).write(blocks, element, level + 1)
            element.clear()
        elif above[-1:] in (["Document"], ["Folder"]) and name == "name":
            blocks.heading(level, element.text or "")
        elif above[-1:] in (["Document"], ["Folder"]) and name == "description":
            blocks.paragraph(_words(element, notes))
    return blocks.text()


def _outline(source: str, notes: Notes) -> str:
    blocks = Blocks()
    depth = -1
    for event, element in _elements(source):
        match local(element), event:
            case "title", "end":
                blocks.heading(1, element.text or "")
            case "outline", "start":
                depth += 1
                blocks.item(depth, _outlined(element, notes))
            case "outline", "end":
                depth -= 1
    return blocks.text()


def _outlined(element: Element, notes: Notes) -> str:
    """Return the text of an item, with its addresses and its note."""
    holder = Element("text")
    holder.text = element.get("text") or element.get("title") or ""
    addresses = [address for name in ("htmlUrl", "url", "xmlUrl") if (address := element.get(name))]
    words = link(_words(holder, notes), addresses[0] if addresses else "")
    more = filter(None, (element.get("description"), element.get("_note")))
    return " ".join([words, *(f"({address})" for address in addresses[1:]), *map(one_line, more)])


_READERS: dict[str, Callable[[str, Notes], str]] = {RSS: _feed, ATOM: _feed, KML: _places, GPX: _feed, OPML: _outline}


def _signature(inspected: InspectedFile) -> str:
    match = _START.match(after_prolog(inspected.head)) if inspected.named != MARKDOWN else None
    if match is None or _NAMESPACES.get(match[1], b"") not in inspected.head:
        return ""
    return _KINDS[match[1]]


FORMAT = Format(
    name="feed or outline",
    media_types={RSS: (".rss",), ATOM: (".atom",), KML: (".kml",), GPX: (".gpx",), OPML: (".opml",)},
    parse=_parse,
    reads="entries of RSS and Atom feeds, places of KML maps, waypoints, routes and tracks of GPX files and items of "
    "OPML outlines with their titles, texts, links, dates, people and further values; a damaged file unchanged",
    omits="lines, areas and models of maps, pictures without alternative text",
    signature=_signature,
)
