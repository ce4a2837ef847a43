"""Days as models and users write them: dates, and words such as "last week" or "昨天", relative to today."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta

Days = tuple[date, date]
"""The first and the last day of a range."""

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CHINESE_DIGITS = {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10}
_SPELLED = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
_UNITS = {"day": "day", "天": "day", "week": "week", "周": "week", "星期": "week", "month": "month", "月": "month"}

_AGO = re.compile(
    r"(\d{1,4}|[a-z]+) (day|week|month)s? ago|(\d{1,4}|[一二两三四五六七八九十])个?(天|周|星期|月)(?:以)?前"
)
_WEEKDAY = re.compile(r"(?:on |last |past )?([a-z]+)")
_CHINESE_WEEKDAY = re.compile(r"(上|这|本)?个?(?:周|星期|礼拜)([一二三四五六日天])")
_MONTH = re.compile(r"(\d{4})-(\d{2})")

_PLAIN = {
    "today": ("day", 0), "今天": ("day", 0),
    "yesterday": ("day", 1), "昨天": ("day", 1),
    "day before yesterday": ("day", 2), "前天": ("day", 2),
    "this week": ("week", 0), "本周": ("week", 0), "这周": ("week", 0), "这个星期": ("week", 0),
    "last week": ("week", 1), "上周": ("week", 1), "上个星期": ("week", 1), "上星期": ("week", 1),
    "this month": ("month", 0), "本月": ("month", 0), "这个月": ("month", 0),
    "last month": ("month", 1), "上个月": ("month", 1), "上月": ("month", 1),
}  # fmt: skip


def days_of(text: str, today: date) -> Days | None:
    """Return the days that a text names; None if it names none.

    Weeks begin on Monday. A weekday alone is its last occurrence before today.
    """
    text = " ".join(text.casefold().split()).removeprefix("the ").replace("_", " ")
    try:
        return _date(text) or _relative(text, today) or _weekday(text, today)
    except (ValueError, OverflowError):
        return None


def _date(text: str) -> Days | None:
    if match := _MONTH.fullmatch(text):
        return _month(int(match[1]), int(match[2]))
    # Small models copy the whole time that is shown with a message.
    if text[10:11] in (" ", "t"):
        text = text[:10]
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    day = date.fromisoformat(text)
    return day, day


def _relative(text: str, today: date) -> Days | None:
    if text in _PLAIN:
        unit, count = _PLAIN[text]
        return _before(unit, count, today)
    if match := _AGO.fullmatch(text):
        number = _number(match[1] or match[3])
        return None if number is None else _before(_UNITS[match[2] or match[4]], number, today)
    return None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else _CHINESE_DIGITS.get(text) or _SPELLED.get(text)


def _before(unit: str, count: int, today: date) -> Days:
    """Return the day, week or month that lies this many before the current one."""
    if unit == "day":
        day = today - timedelta(days=count)
        return day, day
    if unit == "week":
        monday = today - timedelta(days=today.weekday(), weeks=count)
        return monday, monday + timedelta(days=6)
    years, month = divmod(today.year * 12 + today.month - 1 - count, 12)
    return _month(years, month + 1)


def _month(year: int, month: int) -> Days:
    first = date(year, month, 1)
    return first, first.replace(day=monthrange(year, month)[1])


def _weekday(text: str, today: date) -> Days | None:
    if match := _CHINESE_WEEKDAY.fullmatch(text):
        number = {"日": 7, "天": 7}.get(match[2]) or _CHINESE_DIGITS[match[2]]
        if match[1]:
            day = _before("week", int(match[1] == "上"), today)[0] + timedelta(days=number - 1)
            return day, day
    elif (match := _WEEKDAY.fullmatch(text)) and match[1] in _WEEKDAYS:
        number = _WEEKDAYS.index(match[1]) + 1
    else:
        return None
    day = today - timedelta(days=(today.isoweekday() - number) % 7 or 7)
    return day, day
