"""The meaning of an endpoint's refusal, for every vendor's status, code and wording.

`understand` classifies a refusal by meaning; the caller decides what to do about it. The endpoint's own message is kept
for people, shortened and without secrets.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from memgpt.endpoints import wordings

_MAX_TEXT = 4_000
_MAX_QUOTE = 240
_MAX_GENERATED = 200_000
_MAX_DEPTH = 6
_REDACTED = "[redacted]"
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|hf|gsk|xai|key)[-_][A-Za-z0-9_*-]{8,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)
"""Matches keys that endpoints repeat in their refusals, tokens, and credentials in addresses."""


class Meaning(StrEnum):
    """The reason why an endpoint returned no answer."""

    TOO_LONG = "too_long"
    """The prompt, or a text to embed, is longer than the model accepts."""

    OUTPUT_LIMIT = "output_limit"
    """More tokens are requested than the model may write."""

    OUT_OF_ROOM = "out_of_room"
    """The model used up its tokens by reasoning before it had answered."""

    RATE_LIMITED = "rate_limited"
    OUT_OF_BALANCE = "out_of_balance"
    BAD_KEY = "bad_key"
    FORBIDDEN = "forbidden"
    COUNTRY = "country"
    UNKNOWN_MODEL = "unknown_model"
    FILTERED = "filtered"

    GENERATION_FAILED = "generation_failed"
    """The endpoint could not read what the model wrote."""

    NO_TOOLS = "no_tools"
    TEMPLATE = "template"
    CRASHED = "crashed"
    LOADING = "loading"
    REDIRECTED = "redirected"

    NOT_AN_ENDPOINT = "not_an_endpoint"
    """The response is a web page, or empty."""

    REFUSED = "refused"
    """The request is refused for another reason."""

    BROKEN_OFF = "broken_off"
    """The endpoint closed the connection without an answer: it may have crashed, also on this prompt."""

    UNAVAILABLE = "unavailable"
    """The endpoint is overloaded, broken or unreachable."""


PASSING = frozenset(
    {Meaning.RATE_LIMITED, Meaning.CRASHED, Meaning.LOADING, Meaning.BROKEN_OFF, Meaning.UNAVAILABLE,
     Meaning.GENERATION_FAILED}
)  # fmt: skip
"""Meanings for which a retry may succeed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An endpoint's refusal.

    Attributes:
        meaning: The reason.
        status: The HTTP status; 0 where there was no response.
        text: The error's code and whole text, for further search; may be long, and is not for people.
        quote: The endpoint's own message, for people; empty if it had none.
        retry_after: Seconds after which to retry; None if the endpoint does not say.
        generated: What the model wrote, if the endpoint could not read it; empty if it does not say.
    """

    meaning: Meaning
    status: int = 0
    text: str = ""
    quote: str = ""
    retry_after: float | None = None
    generated: str = ""


def understand(
    status: int, body: object, headers: Mapping[str, str] | None = None, *, secrets: Sequence[str] = ()
) -> Refusal:
    """Classify a refusal by its meaning.

    Args:
        status: The HTTP status; 200 for an error inside a response that looked like success, 0 for none at all.
        body: The body: decoded JSON, else its text.
        headers: The response's headers, with names in lower case.
        secrets: Texts that must not be quoted, such as the key.
    """
    code, said, whole = _words(body)
    text = f"{code} {whole}".strip()[:_MAX_TEXT]
    wait = _retry_after(headers or {}, text)
    # An error inside an answer of status 200 may name its own status.
    inner = next(filter(None, map(_http_status, code.split())), status) if status == 200 else status
    meaning = _meaning(inner, code, text, wait)
    quote = said
    for secret in secrets:
        if secret:
            quote = quote.replace(secret, _REDACTED)
    generated = _generated(body) if meaning is Meaning.GENERATION_FAILED else ""
    return Refusal(meaning, status, text, _shortened(_SECRET.sub(_REDACTED, quote)), wait, generated)


def error_in(value: object) -> object | None:
    """Return the error in a body whose status was 200; None if there is none."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "error" in value[0]:
        value = value[0]
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    empty = isinstance(error, Mapping) and not any(error.values())
    if (error and not empty) or _blocked(value):
        return value
    if (inner := _error_in_choice(value)) is not None:
        return inner
    base = value.get("base_resp")
    if isinstance(base, dict) and base.get("status_code") not in (0, None):
        return base
    if value.get("choices") or value.get("data") or value.get("embeddings"):
        return None
    if value.get("object") == "error" or value.get("type") == "error" or value.get("success") is False:
        return value
    named = any(
        value.get(key) for key in ("detail", "errors", "error_msg", "error_message", "error_code", "errorMessage")
    )
    coded = value.get("code") not in (None, 0, 200, "", "0", "200") and bool(value.get("message") or value.get("msg"))
    return value if named or coded or _is_gateways(value) else None


def _blocked(value: Mapping[str, object]) -> bool:
    """Whether Gemini has blocked the prompt, which it says in place of an answer."""
    feedback = value.get("promptFeedback")
    return isinstance(feedback, Mapping) and bool(feedback.get("blockReason"))


def _error_in_choice(value: Mapping[str, object]) -> object | None:
    """Return the error in the first choice, for a provider of OpenRouter that broke off, or in a response."""
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else value.get("response")
    return {"error": first["error"]} if isinstance(first, Mapping) and first.get("error") else None


def _is_gateways(value: Mapping[str, object]) -> bool:
    """Whether this is the error of a gateway in front of an endpoint: a message, and a status or nothing else."""
    if not any(isinstance(value.get(key), str) and value[key] for key in ("message", "msg", "description")):
        return False
    states = [value[key] for key in ("status", "statusCode", "status_code", "ok") if key in value]
    failed = any(state is False or state in ("error", "fail", "failed") or _http_status(state) for state in states)
    return failed or value.keys() <= {"message", "request_id", "requestId"}


def _http_status(code: object) -> int:
    """Return the HTTP status of an error that a code names; 0 if it names none."""
    text = str(code)
    return int(text) if re.fullmatch(r"[45]\d\d", text) else 0


def _meaning(status: int, code: str, text: str, wait: float | None) -> Meaning:
    if 300 <= status < 400:
        return Meaning.REDIRECTED
    if status == 402 and not wordings.FEWER_TOKENS.search(text):
        return Meaning.OUT_OF_BALANCE
    by_words = next((meaning for meaning, holds in _IN_ORDER if holds(status, code, text, wait)), None)
    if by_words is not None:
        return by_words
    match status:
        case 401 | 407:
            return Meaning.BAD_KEY
        case 403:
            return Meaning.FORBIDDEN
        case 404 | 405 | 410:
            return Meaning.UNKNOWN_MODEL
        case 413:
            return Meaning.TOO_LONG
        case 429:
            return Meaning.RATE_LIMITED
        case 451:
            return Meaning.COUNTRY
        case 408 | 409 | 424 | 425 | 499:
            return Meaning.UNAVAILABLE
        case 501:
            return Meaning.REFUSED
        case _:
            return Meaning.REFUSED if 400 <= status < 500 else Meaning.UNAVAILABLE


_Test = Callable[[int, str, str, float | None], bool]


def _said(pattern: re.Pattern[str], *, unless: Sequence[int] = (), only: Sequence[int] = ()) -> _Test:
    def holds(status: int, code: str, text: str, wait: float | None) -> bool:
        return status not in unless and (not only or status in only) and pattern.search(text) is not None

    return holds


def _out_of_balance(status: int, code: str, text: str, wait: float | None) -> bool:
    # Gemini says "exceeded your current quota" about a limit per minute, and when to retry.
    passes = wait is not None or (status != 402 and wordings.NAMES_A_SHORT_TIME.search(text) is not None)
    if wordings.FEWER_TOKENS.search(text):
        return False
    return wordings.OUT_OF_BALANCE.search(text) is not None and (
        not passes or wordings.ABOUT_MONEY.search(text) is not None
    )


def _no_tools(status: int, code: str, text: str, wait: float | None) -> bool:
    if status in (401, 403, 429) or wordings.NOT_ONLY_TOOLS.search(text):
        return False
    return wordings.NO_TOOLS.search(text) is not None


def _too_long(status: int, code: str, text: str, wait: float | None) -> bool:
    if status in (401, 402, 404) or wordings.UNKNOWN_OPTION.search(text):
        return False
    if wordings.TOO_LONG_CODES.search(text):
        return True
    if wordings.OUTPUT_LIMIT.search(text) and not wordings.INPUT_AND_OUTPUT.search(text):
        return False
    return wordings.ABOUT_LENGTH.search(text) is not None and wordings.EXCESS.search(text) is not None


def _output_limit(status: int, code: str, text: str, wait: float | None) -> bool:
    return wordings.OUTPUT_LIMIT.search(text) is not None


def _unknown_model(status: int, code: str, text: str, wait: float | None) -> bool:
    # A gateway says of an overloaded or broken model that it is not available, or its response invalid.
    if status in (401, 429, 502, 503, 504, 529) or wordings.TEMPORARY.search(text):
        return False
    return wordings.UNKNOWN_MODEL.search(text) is not None


_IN_ORDER: tuple[tuple[Meaning, _Test], ...] = (
    (Meaning.GENERATION_FAILED, _said(wordings.GENERATION_FAILED, unless=(401, 404, 429))),
    (Meaning.COUNTRY, _said(wordings.COUNTRY)),
    (Meaning.OUT_OF_BALANCE, _out_of_balance),
    (Meaning.RATE_LIMITED, _said(wordings.PER_TIME, unless=(401, 404))),
    (Meaning.NO_TOOLS, _no_tools),
    (Meaning.OUT_OF_ROOM, _said(wordings.OUT_OF_ROOM)),
    (Meaning.TOO_LONG, _too_long),
    (Meaning.OUTPUT_LIMIT, _output_limit),
    (Meaning.BAD_KEY, _said(wordings.BAD_KEY, only=(200, 400, 401, 403))),
    (Meaning.UNKNOWN_MODEL, _unknown_model),
    (Meaning.LOADING, _said(wordings.LOADING, only=(200, 409, 424, 425, 500, 502, 503, 504))),
    (Meaning.TEMPLATE, _said(wordings.TEMPLATE, only=(200, 400, 422, 500))),
    (Meaning.FILTERED, _said(wordings.FILTERED, unless=(401, 404, 429, 502, 503, 504))),
    (Meaning.CRASHED, _said(wordings.CRASHED, only=(200, 400, 500, 502, 503))),
)
"""The first match counts: a limit of tokens per minute comes before a limit of tokens, and so on."""


def _words(body: object) -> tuple[str, str, str]:
    """Return the code, the message for people, and all the text of an error's body."""
    if isinstance(body, str | bytes):
        text = body.decode(errors="replace") if isinstance(body, bytes) else body
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            return "", _page_title(text), text[:_MAX_TEXT]
    if isinstance(body, str):
        return "", body, body
    codes: list[str] = []
    messages: list[str] = []
    _collect(body, codes, messages, 0)
    whole = " ".join(dict.fromkeys(messages))
    return " ".join(dict.fromkeys(codes)), messages[0] if messages else "", whole


_MESSAGES = ("message", "msg", "detail", "error_msg", "error_message", "errorMessage", "status_msg", "error", "reason")
_CODES = ("code", "type", "error_code", "status", "status_code", "statusCode", "error_type", "param")
_NAMED_CODES = ("retryDelay", "failed_generation", "raw", "blockReason")
"""Fields whose values have a meaning only together with their names."""

_WAITS = {"retry_after": "", "retryAfter": "", "retry_after_seconds": "s", "retry_after_ms": "ms", "retryAfterMs": "ms"}
"""Fields with a time to wait, and its unit."""


def _collect(value: object, codes: list[str], messages: list[str], depth: int) -> None:
    """Collect the texts of an error, outermost message first."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        if value.strip():
            messages.append(value.strip()[:_MAX_TEXT])
        return
    if isinstance(value, list):
        for one in value[:8]:
            _collect(one, codes, messages, depth + 1)
        return
    if not isinstance(value, Mapping):
        return
    for key in _MESSAGES:
        if key in value:
            _collect(_unpacked(value[key]), codes, messages, depth + 1)
    codes += [str(value[key])[:200] for key in _CODES if isinstance(value.get(key), str | int)]
    codes += [f"{key} {value[key]}"[:200] for key in _NAMED_CODES if isinstance(value.get(key), str)]
    codes += [f"retry_after {_plain(value[key])}{unit}" for key, unit in _WAITS.items() if _plain(value.get(key))]
    others = [(key, given) for key, given in value.items() if key not in _MESSAGES]
    for _, given in others:
        if isinstance(given, Mapping | list):
            _collect(given, codes, messages, depth + 1)
    # Last, since they are ids and names rather than messages.
    for key, given in others:
        if key not in (*_CODES, *_NAMED_CODES) and isinstance(given, str) and given.strip():
            messages.append(given.strip()[:_MAX_TEXT])


def _plain(value: object) -> str:
    """Return a time to wait as text; empty if it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.3f}" if 0 <= value < 1e9 else ""
    if not isinstance(value, str) or len(value) > _MAX_WAIT_TEXT or (wait := _wait(value.strip())) is None:
        return ""
    return f"{max(0.0, wait):.3f}"


def _generated(body: object, depth: int = 0) -> str:
    """Return what the model wrote, from the error of an endpoint that could not read it."""
    value = _unpacked(body)
    if not isinstance(value, Mapping) or depth > _MAX_DEPTH:
        return ""
    given = value.get("failed_generation")
    if given:
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return text[:_MAX_GENERATED]
    return next(filter(None, (_generated(inner, depth + 1) for inner in value.values())), "")


def _unpacked(value: object) -> object:
    """Return the error that a gateway has wrapped as JSON text in a message."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


_TITLE = re.compile(r"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,300}>")


def _page_title(text: str) -> str:
    title = _TITLE.search(text[:_MAX_TEXT])
    if title:
        return title[1].strip()
    return _TAG.sub(" ", text[:_MAX_TEXT]).strip()


def _shortened(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _MAX_QUOTE else f"{line[:_MAX_QUOTE].rstrip()}…"


_MAX_WAIT = 366 * 86400.0
_MAX_WAIT_TEXT = 200
_UNIT = (
    r"ms\b|milli\w*|s(?:ec\w*)?(?![a-z])|m(?:in\w*)?(?![a-z])|h(?:(?:ou)?rs?)?(?![a-z])|d(?:ays?)?(?![a-z])"
    r"|毫秒|秒|分钟?|小时|天"
)
_SECONDS = {
    "ms": 0.001, "m": 60.0, "h": 3600.0, "d": 86400.0, "毫": 0.001, "分": 60.0, "小": 3600.0, "天": 86400.0,
}  # fmt: skip
_AMOUNT = r"\d{1,9}(?:\.\d{1,9})?(?!\d)"
_PART = re.compile(rf"({_AMOUNT})\s*({_UNIT})?", re.IGNORECASE)
_DURATION = rf"(?:{_AMOUNT}\s*(?:{_UNIT})?\s*(?:,\s*|and\s+)?){{1,4}}"
_WHOLE_DURATION = re.compile(_DURATION, re.IGNORECASE)
_ISO_DURATION = re.compile(
    rf"P(?:(\d{{1,4}})D)?(?:T(?:(\d{{1,6}})H)?(?:(\d{{1,6}})M)?(?:({_AMOUNT})S)?)?", re.IGNORECASE
)
_DELAY = re.compile(
    r"(?:retryDelay\W{1,6}|(?:re)?try (?:again )?(?:in|after)\s*(?:about )?|wait (?:for )?|resets? (?:in|after) "
    rf"|retry[_ -]?after\W{{1,4}}|请在?\s*)({_DURATION})",
    re.IGNORECASE,
)


def _retry_after(headers: Mapping[str, str], text: str) -> float | None:
    """Return the seconds to wait from the headers or the message; None if neither says."""
    if (given := headers.get("retry-after-ms", "")) and _number(given) is not None:
        return max(0.0, (_number(given) or 0.0) / 1000)
    wait = _wait(headers.get("retry-after", "").strip())
    if wait is None and (match := _DELAY.search(text)) is not None:
        wait = _duration(match[1])
    return None if wait is None else min(max(0.0, wait), _MAX_WAIT)


def _wait(given: str) -> float | None:
    """Return the seconds until a time, or of a duration; None if the text is neither."""
    if (seconds := _number(given)) is not None:
        return seconds
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(given)
            # A time without a zone is in UTC.
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            pass
    if (match := _ISO_DURATION.fullmatch(given)) is not None and any(match.groups()):
        return sum(float(amount or 0) * unit for amount, unit in zip(match.groups(), (86400, 3600, 60, 1), strict=True))
    return _duration(given) if _WHOLE_DURATION.fullmatch(given) else None


def _duration(text: str) -> float:
    """Return the seconds of a duration such as ``1h 5m``, ``2 days`` or ``7.5``."""
    return sum(float(amount) * _scale(unit) for amount, unit in _PART.findall(text))


def _scale(unit: str) -> float:
    unit = "ms" if unit.lower().startswith("mil") else unit.lower()
    return next((seconds for begin, seconds in _SECONDS.items() if unit.startswith(begin)), 1.0)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) < 1e9 else None
