"""Office documents that were saved as one XML file, converted to packages: flat packages, and Word 2003."""

from __future__ import annotations

import base64
import binascii
import io
import re
import zipfile
from xml.etree.ElementTree import Element, tostring

from memgpt_loader.formats.inspected_file import InspectedFile, after_prolog
from memgpt_loader.formats.office.packages import attribute, local, parse_tree
from memgpt_loader.formats.spec import File, broken

_START = re.compile(rb"<(?:\w+:)?(?:package|wordDocument)[\s>]")
_PACKAGE, _WORD_2003 = b"office/2006/xmlPackage", b"office/word/2003/wordml"
_TYPES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONSHIPS = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_MAIN = "word/document.xml"


def is_flat(inspected: InspectedFile, program: bytes, schema: bytes) -> bool:
    """Whether a file is a document of a program in a single XML file.

    Args:
        inspected: The file.
        program: The program's name in the processing instruction, such as ``Word.Document``.
        schema: The name of its schema, such as ``wordprocessingml``.
    """
    head = inspected.head
    if _START.match(after_prolog(head)) is None:
        return False
    if _WORD_2003 in head:
        return program == b"Word.Document"
    return _PACKAGE in head and (program in head or (schema in head and b"mso-application" not in head))


def packed(file: File, what: str) -> File:
    """Return a document that is a single XML file as a package; any other file as it is."""
    with file.open() as stream:
        if _START.match(after_prolog(stream.read(4096))) is None:
            return file
        stream.seek(0)
        root = parse_tree(stream, what)
    parts = _parts(root, what) if local(root) == "package" else _word_2003(root)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return File(made.getvalue(), file.name, file.media_type, file.depth)


def _parts(package: Element, what: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in package:
        name = attribute(part, "name").lstrip("/")
        for holder in part:
            if local(holder) == "xmlData" and len(holder):
                found[name] = tostring(holder[0])
            elif local(holder) == "binaryData":
                try:
                    found[name] = base64.b64decode(holder.text or "")
                except binascii.Error as error:
                    raise broken(what, error) from error
    return found


def _word_2003(root: Element) -> dict[str, bytes]:
    """Return the parts of a Word 2003 document, whose elements have the same names as later ones."""
    document, parts = Element("document"), {}
    related = {"styles": "styles"}
    for child in root:
        match local(child):
            case "body":
                document.append(child)
            case "styles":
                parts["word/styles.xml"] = tostring(child)
    for each in list(document.iter()):
        _modernize(each)
    for section in [each for each in document.iter() if local(each) == "sectPr"]:
        for child in list(section):
            kind = {"hdr": "header", "ftr": "footer"}.get(local(child))
            if kind is not None:
                identity = f"{kind}{len(related)}"
                related[identity] = kind
                parts[f"word/{identity}.xml"] = tostring(child)
                section.remove(child)
                section.append(Element(f"{kind}Reference", {f"{{{_TYPES}}}id": identity}))
    parts[_MAIN] = tostring(document)
    parts["_rels/.rels"] = _relations({"main": ("officeDocument", _MAIN)})
    targets = {identity: (kind, f"{identity}.xml") for identity, kind in related.items()}
    parts["word/_rels/document.xml.rels"] = _relations(targets)
    return parts


def _modernize(element: Element) -> None:
    """Write links, notes and comments of Word 2003 in a form that is read in its place."""
    match local(element), attribute(element, "type"):
        case "hlink", _:
            target = attribute(element, "dest").replace('"', "%22")
            element.tag = "fldSimple"
            element.attrib = {"instr": f'HYPERLINK "{target}"'}
        case "footnote" | "endnote", _:
            _bracket(element, " [")
        case "annotation", "Word.Comment":
            _bracket(element, " [Comment: ")


def _bracket(element: Element, begin: str) -> None:
    for place, words in ((0, begin), (len(element) + 1, "]")):
        mark = Element("t")
        mark.text = words
        element.insert(place, mark)


def _relations(targets: dict[str, tuple[str, str]]) -> bytes:
    root = Element(f"{_RELATIONSHIPS}Relationships")
    for identity, (kind, target) in targets.items():
        given = {"Id": identity, "Type": f"{_TYPES}/{kind}", "Target": target}
        root.append(Element(f"{_RELATIONSHIPS}Relationship", given))
    return tostring(root)
