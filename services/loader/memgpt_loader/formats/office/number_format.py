"""Numbers as a spreadsheet shows them: number formats of Excel (ECMA-376 part 1, 18.8.30 and 18.8.31)."""

from __future__ import annotations

import datetime as dt
import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache

BUILT_IN = {
    0: "General", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?",
    13: "# ??/??", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM",
    20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm", 37: "#,##0;(#,##0)", 38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)", 40: "#,##0.00;(#,##0.00)", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0",
    49: "@",
}  # fmt: skip
"""Built-in formats by id. Formats whose date order depends on the locale (14, 22) use ISO 8601."""

_TOKENS = re.compile(
    r'"(?P<text>[^"]*)"?|\\(?P<escaped>.)|_.|\*.|\[(?P<bracket>[^\]]*)\]|(?P<ampm>AM/PM|A/P)|(?P<general>General)'
    r"|(?P<letters>[yY]+|[mM]+|[dD]+|[hH]+|[sS]+(?:\.0+)?|[eE][+-])|(?P<digits>[0#?.,]+)|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_CURRENCY = re.compile(r"\$([^-]*)")
_ELAPSED = re.compile(r"h+|m+|s+", re.IGNORECASE)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)(-?\d+(?:\.\d+)?)")
_FRACTION = re.compile(r"(?P<whole>[#?0]+ )?[#?0]+/(?P<below>[#?]+|\d+)")
_MONTHS = "January February March April May June July August September October November December".split()  # noqa: SIM905
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()  # noqa: SIM905
_MOST_FORMAT_CHARS = 255
_TEXT = ("general", "@")
"""The token that stands for the text of a cell."""
_LEAST_SERIAL = -690_000  # some programs use negative numbers for days before 1900
_MOST_SERIAL = 2_958_466  # the last day of the year 9999


def displayed(value: float, code: str, *, from_1904: bool = False) -> str:
    """Return a number as a cell with this format displays it.

    Args:
        value: The number. A date is a number of days since 1900 or 1904.
        code: The format.
        from_1904: Whether days are counted from 1904 instead of 1900.
    """
    try:
        shown = _displayed(value, code[:_MOST_FORMAT_CHARS], from_1904=from_1904)
    except (ValueError, OverflowError, InvalidOperation, ArithmeticError):
        shown = ""
    return shown or general(value)


def displayed_text(text: str, code: str) -> str:
    """Return a text as a cell with this format displays it: ``"No. "@`` puts words before it."""
    if "@" not in code:
        return text
    section = next((each for each in _sections(code[:_MOST_FORMAT_CHARS]) if _TEXT in each), [_TEXT])
    pieces = (text if token == _TEXT else token[1] for token in section if token[0] in ("general", "text", "literal"))
    return "".join(pieces).strip()


def general(value: float) -> str:
    """Return a number as the format "General" displays it, but whole ones with all of their digits."""
    value = float(value)
    if value.is_integer() and abs(value) < 1e17:
        return str(int(value))
    return f"{value:.12g}"


def _displayed(value: float, code: str, *, from_1904: bool) -> str:
    sections = _sections(code)
    tokens, negative = _section(sections, value)
    kinds = {kind for kind, _ in tokens}
    if "date" in kinds or "elapsed" in kinds:
        return _date(value, tokens, from_1904=from_1904)
    if "general" in kinds or not kinds & {"digits", "text"}:
        return general(value)
    if (fraction := _FRACTION.search(code)) and "/" in code:
        return _as_fraction(value, fraction)
    return _number(abs(value) if negative else value, tokens)


def _section(sections: list[list[tuple[str, str]]], value: float) -> tuple[list[tuple[str, str]], bool]:
    """Return the section of a format that applies to a value, and whether it shows the sign itself."""
    conditions = [next((text for kind, text in section if kind == "condition"), "") for section in sections]
    if any(conditions):
        for section, condition in zip(sections, conditions, strict=True):
            if not condition or _holds(value, condition):
                return section, False
        return sections[-1], False
    if len(sections) > 1 and value < 0:
        return sections[1], True
    if len(sections) > 2 and value == 0:
        return sections[2], True
    return sections[0], False


def _holds(value: float, condition: str) -> bool:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        return False
    limit = float(match[2])
    return {
        "<": value < limit, ">": value > limit, "=": value == limit,
        "<=": value <= limit, ">=": value >= limit, "<>": value != limit,
    }[match[1]]  # fmt: skip


@lru_cache(maxsize=500)
def _sections(code: str) -> list[list[tuple[str, str]]]:
    """Split a format into the tokens of each of its semicolon-separated sections."""
    sections: list[list[tuple[str, str]]] = [[]]
    for match in _TOKENS.finditer(code):
        kind, text = match.lastgroup, match.group()
        value = match[kind] if kind else ""
        match kind:
            case "text" | "escaped":
                sections[-1].append(("text", value))
            case "bracket":
                sections[-1] += _bracket(value)
            case "ampm":
                sections[-1].append(("date", "ampm"))
            case "general":
                sections[-1].append(("general", ""))
            case "letters" if value[0] in "eE":
                sections[-1].append(("exponent", value))
            case "letters":
                sections[-1].append(("date", value.lower()))
            case "digits":
                sections[-1].append(("digits", value))
            case "other" if text == ";":
                sections.append([])
            case "other" if text == "%":
                sections[-1].append(("percent", "%"))
            case "other" if text == "@":
                sections[-1].append(_TEXT)
            case "other":
                sections[-1].append(("literal", text))
            case _:
                sections[-1].append(("literal", " " if text.startswith("_") else ""))
    return sections


def _bracket(inner: str) -> list[tuple[str, str]]:
    if currency := _CURRENCY.match(inner):
        return [("text", currency[1])] if currency[1] else []
    if _ELAPSED.fullmatch(inner):
        return [("elapsed", inner.lower())]
    if _CONDITION.fullmatch(inner):
        return [("condition", inner)]
    return []  # a color


def _number(value: float, tokens: list[tuple[str, str]]) -> str:
    pattern = "".join(text for kind, text in tokens if kind == "digits")
    number = Decimal(repr(value))
    number *= 100 ** sum(kind == "percent" for kind, _ in tokens)
    stripped = pattern.rstrip(",")
    number /= 1000 ** (len(pattern) - len(stripped))
    whole, _, decimals = stripped.partition(".")
    decimals = decimals.replace(",", "")
    exponent = any(kind == "exponent" for kind, _ in tokens)
    if exponent:
        return _scientific(number, tokens)
    rounded = abs(number).quantize(Decimal(1).scaleb(-len(decimals)), rounding=ROUND_HALF_UP)
    integer, _, fraction = f"{rounded:f}".partition(".")
    while fraction and len(fraction) > decimals.count("0") and fraction.endswith("0"):
        fraction = fraction[:-1]
    integer = integer.lstrip("0").rjust(whole.count("0"), "0")
    sign = "-" if number < 0 and rounded else ""
    return sign + _filled(tokens, integer, fraction, grouped="," in whole)


def _filled(tokens: list[tuple[str, str]], integer: str, fraction: str, *, grouped: bool) -> str:
    """Fill the placeholders of a format with digits; literals between integer placeholders stay, as in 000-0000."""
    places = [(at, text) for at, (kind, text) in enumerate(tokens) if kind == "digits"]
    point = next((at for at, text in places if "." in text), places[-1][0] if places else -1)
    before = [at for at, _ in places if at <= point]
    pieces = [""] * len(tokens)
    rest = integer
    for at in reversed(before):
        size = len(tokens[at][1].partition(".")[0].replace(",", ""))
        cut = 0 if at == before[0] else max(len(rest) - size, 0)
        pieces[at], rest = rest[cut:], rest[:cut]
    if grouped and len(before) == 1:
        pieces[before[0]] = _grouped(pieces[before[0]])
    if fraction and before:
        pieces[before[-1]] += f".{fraction}"
    for at, (kind, text) in enumerate(tokens):
        if kind in ("text", "literal", "percent"):
            pieces[at] = text
    return "".join(pieces).strip()


def _grouped(digits: str) -> str:
    return f"{int(digits):,}".rjust(len(digits)) if digits.isdigit() and not digits.startswith("0") else digits


def _scientific(number: Decimal, tokens: list[tuple[str, str]]) -> str:
    patterns = [text for kind, text in tokens if kind == "digits"]
    decimals = len(patterns[0].partition(".")[2])
    mantissa, _, power = f"{number:.{decimals}E}".partition("E")
    sign = "+" if any(text.endswith("+") for kind, text in tokens if kind == "exponent") and int(power) >= 0 else ""
    digits = str(abs(int(power))).rjust(len(patterns[1]) if len(patterns) > 1 else 1, "0")
    return f"{mantissa}E{'-' if int(power) < 0 else sign}{digits}"


def _as_fraction(value: float, match: re.Match[str]) -> str:
    below = match["below"]
    if below.isdigit():
        fraction = Fraction(round(abs(value) * int(below)), int(below))
        above, under = fraction.numerator * int(below) // fraction.denominator, int(below)
    else:
        limited = Fraction(abs(value)).limit_denominator(10 ** min(len(below), 4) - 1)
        above, under = limited.numerator, limited.denominator
    sign = "-" if value < 0 else ""
    if match["whole"] is None:
        return f"{sign}{above}/{under}"
    whole, above = divmod(above, under)
    parts = (str(whole) if whole or not above else "", f"{above}/{under}" if above else "")
    return sign + " ".join(filter(None, parts))


def _date(value: float, tokens: list[tuple[str, str]], *, from_1904: bool) -> str:
    if not _LEAST_SERIAL < value < _MOST_SERIAL:
        return ""
    seconds_shown = any(kind == "date" and text.startswith("s") and "." in text for kind, text in tokens)
    step = 1000 if seconds_shown else 1
    ticks = round(value * 86_400 * step)
    moment = _moment(ticks, step, from_1904=from_1904)
    half = any(text == "ampm" for _, text in tokens)
    pieces = []
    for at, (kind, text) in enumerate(tokens):
        match kind:
            case "elapsed":
                pieces.append(_elapsed(ticks // step, text))
            case "date":
                pieces.append(_field(moment, text, minutes=_is_minutes(tokens, at), half=half))
            case "text" | "literal":
                pieces.append(text)
            case "digits":
                pieces.append(text)
    return "".join(pieces).strip()


def _moment(ticks: int, step: int, *, from_1904: bool) -> dt.datetime:
    days = ticks // (86_400 * step)
    # Excel counts February 29, 1900, which did not exist.
    epoch = dt.datetime(1904, 1, 1) if from_1904 else dt.datetime(1899, 12, 31 if 0 <= days < 60 else 30)
    return epoch + dt.timedelta(milliseconds=ticks * 1000 // step)


def _elapsed(seconds: int, text: str) -> str:
    unit = {"h": 3600, "m": 60, "s": 1}[text[0]]
    return str(seconds // unit).rjust(len(text), "0")


def _is_minutes(tokens: list[tuple[str, str]], at: int) -> bool:
    """Whether an m at a position means minutes (after hours or before seconds) rather than months."""
    before = [text[0] for kind, text in tokens[:at] if kind in ("date", "elapsed") and text != "ampm"]
    after = [text[0] for kind, text in tokens[at + 1 :] if kind in ("date", "elapsed") and text != "ampm"]
    return before[-1:] == ["h"] or after[:1] == ["s"]


def _field(moment: dt.datetime, text: str, *, minutes: bool, half: bool) -> str:
    match text[0]:
        case "y":
            return f"{moment.year % 100:02}" if len(text) < 3 else f"{moment.year:04}"
        case "m" if minutes and len(text) < 3:
            return str(moment.minute).rjust(len(text), "0")
        case "m":
            name = _MONTHS[moment.month - 1]
            return {1: str(moment.month), 2: f"{moment.month:02}", 3: name[:3], 5: name[0]}.get(len(text), name)
        case "d":
            name = _DAYS[moment.weekday()]
            return {1: str(moment.day), 2: f"{moment.day:02}", 3: name[:3]}.get(len(text), name)
        case "h":
            hour = (moment.hour % 12 or 12) if half else moment.hour
            return str(hour).rjust(len(text), "0")
        case "s":
            whole, _, fraction = text.partition(".")
            digits = f"{moment.microsecond // 1000:03}"[: len(fraction)]
            return str(moment.second).rjust(len(whole), "0") + (f".{digits}" if fraction else "")
        case _:
            return "AM" if moment.hour < 12 else "PM"
