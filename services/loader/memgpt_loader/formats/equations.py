"""Equations as single lines of text: `(a + b)/2`, `√(l/g)`, `x_1^2`, from Office Math and MathML elements."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

_MOST_DEPTH = 60
_SPACES = re.compile(r"\s+")
_SIMPLE = re.compile(r"[^\W_]+(?:[.,]\d+)?|\S", re.UNICODE)
_ACCENTS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0305": "bar", "\u20d7": "vec", "\u0307": "dot"}
_NOT_READ = frozenset(
    {"rPr", "ctrlPr", "fPr", "sSupPr", "sSubPr", "sSubSupPr", "sPrePr", "radPr", "dPr", "funcPr", "accPr", "barPr"}
    | {
        "naryPr",
        "limLowPr",
        "limUppPr",
        "mPr",
        "eqArrPr",
        "groupChrPr",
        "borderBoxPr",
        "boxPr",
        "phantPr",
        "oMathParaPr",
    }
    | {"annotation", "annotation-xml", "mphantom", "del", "delText", "instrText", "pPr", "argPr"}
)


def linear(element: Element) -> str:
    """Return an equation as a single line of text.

    Args:
        element: `m:oMath` or `m:oMathPara` of Office Math, `math` of MathML, or an element inside one of them.
    """
    return _SPACES.sub(" ", _read(element, 0)).strip()


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _read(element: Element, depth: int) -> str:
    if depth > _MOST_DEPTH:
        return ""
    children = [child for child in element if _name(child) not in _NOT_READ]
    name = _name(element)
    if name in _OFFICE:
        return _OFFICE[name](element, {_name(child): _read(child, depth + 1) for child in children})
    parts = [_read(child, depth + 1) for child in children]
    if name in _MATHML:
        return _MATHML[name](element, parts)
    return (element.text or "").strip() if not parts and name in _LEAVES else _joined(children, parts)


def _joined(children: Sequence[Element], parts: Sequence[str]) -> str:
    """Return terms in a row, apart where a digit would seem to belong to the previous term: 2 1/2 is not 21/2."""
    text, before = "", ""
    for child, part in zip(children, parts, strict=True):
        name = _name(child)
        if text and part:
            follows = before in _COMPOUND and (part[0].isalnum() or part[0] == "√")
            leads = name in _COMPOUND and text[-1].isdigit() and part[0].isdigit()
            text += " " * (text[-1].isalnum() and (follows or leads))
        text, before = text + part, name if part else before
    return text


_COMPOUND = frozenset({"f", "sSup", "sSub", "sSubSup", "rad", "mfrac", "msup", "msub", "msubsup", "msqrt", "mroot"})
_LEAVES = frozenset({"t", "mi", "mn", "mo", "mtext", "ms", "mspace"})


def _group(text: str) -> str:
    """Return an operand, in brackets if it has more than one term."""
    text = text.strip()
    return text if _SIMPLE.fullmatch(text) or (text.startswith("(") and _closes_at_end(text)) else f"({text})"


def _closes_at_end(text: str) -> bool:
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if not depth:
            return at == len(text) - 1
    return False


def _fraction(above: str, below: str) -> str:
    return f"{_group(above)}/{_group(below)}"


def _script(base: str, below: str = "", above: str = "") -> str:
    lower = f"_{_group(below)}" if below.strip() else ""
    return f"{base}{lower}" + (f"^{_group(above)}" if above.strip() else "")


def _root(inner: str, degree: str = "") -> str:
    return f"{degree.strip()}√{_group(inner)}" if degree.strip() else f"√{_group(inner)}"


def _value(element: Element, properties: str, name: str, default: str) -> str:
    for child in element:
        if _name(child) == properties:
            for each in child:
                if _name(each) == name:
                    return next((value for key, value in each.attrib.items() if key.rpartition("}")[2] == "val"), "")
    return default


def _nary(element: Element, parts: dict[str, str]) -> str:
    sign = _value(element, "naryPr", "chr", "∫")
    return f"{_script(sign, parts.get('sub', ''), parts.get('sup', ''))} {parts.get('e', '')}"


def _delimited(element: Element, parts: dict[str, str]) -> str:
    inner = [_read(child, 1) for child in element if _name(child) == "e"]
    separator = _value(element, "dPr", "sepChr", "|")
    opening, closing = _value(element, "dPr", "begChr", "("), _value(element, "dPr", "endChr", ")")
    return f"{opening}{separator.join(inner)}{closing}"


def _accent(element: Element, parts: dict[str, str]) -> str:
    sign = _value(element, "accPr", "chr", "\u0302")
    return f"{_ACCENTS.get(sign, 'hat')}({parts.get('e', '')})"


def _matrix(element: Element, parts: dict[str, str]) -> str:
    rows = [[_read(cell, 2) for cell in row if _name(cell) == "e"] for row in element if _name(row) == "mr"]
    return "; ".join(", ".join(row) for row in rows)


def _equations(element: Element, parts: dict[str, str]) -> str:
    return "; ".join(_read(child, 1) for child in element if _name(child) == "e")


_OFFICE: dict[str, Callable[[Element, dict[str, str]], str]] = {
    "f": lambda _, parts: _fraction(parts.get("num", ""), parts.get("den", "")),
    "sSup": lambda _, parts: _script(parts.get("e", ""), "", parts.get("sup", "")),
    "sSub": lambda _, parts: _script(parts.get("e", ""), parts.get("sub", "")),
    "sSubSup": lambda _, parts: _script(parts.get("e", ""), parts.get("sub", ""), parts.get("sup", "")),
    "sPre": lambda _, parts: _script("", parts.get("sub", ""), parts.get("sup", "")) + parts.get("e", ""),
    "rad": lambda _, parts: _root(parts.get("e", ""), parts.get("deg", "")),
    "nary": _nary,
    "d": _delimited,
    "func": lambda _, parts: f"{parts.get('fName', '')} {_group(parts.get('e', ''))}",
    "acc": _accent,
    "bar": lambda _, parts: f"bar({parts.get('e', '')})",
    "limLow": lambda _, parts: _script(parts.get("e", ""), parts.get("lim", "")),
    "limUpp": lambda _, parts: _script(parts.get("e", ""), "", parts.get("lim", "")),
    "m": _matrix,
    "eqArr": _equations,
}


def _part(parts: Sequence[str], index: int) -> str:
    return parts[index] if index < len(parts) else ""


def _fenced(element: Element, parts: Sequence[str]) -> str:
    separators = (element.get("separators") or ",").strip()[:1]
    return f"{element.get('open', '(')}{separators.join(parts)}{element.get('close', ')')}"


def _prescripts(_: Element, parts: Sequence[str]) -> str:
    return _script(_part(parts, 0), _part(parts, 1), _part(parts, 2))


_MATHML: dict[str, Callable[[Element, Sequence[str]], str]] = {
    "mfrac": lambda _, parts: _fraction(_part(parts, 0), _part(parts, 1)),
    "msup": lambda _, parts: _script(_part(parts, 0), "", _part(parts, 1)),
    "msub": lambda _, parts: _script(_part(parts, 0), _part(parts, 1)),
    "msubsup": lambda _, parts: _script(_part(parts, 0), _part(parts, 1), _part(parts, 2)),
    "munder": lambda _, parts: _script(_part(parts, 0), _part(parts, 1)),
    "mover": lambda _, parts: _script(_part(parts, 0), "", _part(parts, 1)),
    "munderover": lambda _, parts: f"{_script(_part(parts, 0), _part(parts, 1), _part(parts, 2))} ",
    "msqrt": lambda _, parts: _root("".join(parts)),
    "mroot": lambda _, parts: _root(_part(parts, 0), _part(parts, 1)),
    "mfenced": _fenced,
    "mmultiscripts": _prescripts,
    "mtable": lambda _, parts: "; ".join(parts),
    "mtr": lambda _, parts: ", ".join(parts),
}
