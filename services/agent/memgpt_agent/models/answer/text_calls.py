"""Calls that a model wrote as text, in the dialects that models were trained on.

Three grammars cover them: JSON objects, with the function's name inside or before them; tags with one parameter each;
and calls as in Python. Text around them, such as ``<tool_call>``, ``[ARGS]`` or a fence, is ignored. Names of functions
that may be called keep prose from being taken for a call. Nothing is executed.
"""

# ruff: noqa: E501 - one pattern a line

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from memgpt_agent import envelopes
from memgpt_agent.functions import parameters_schema
from memgpt_agent.functions.core_memory_append import CORE_MEMORY_APPEND
from memgpt_agent.functions.function import ABOUT_USER, HUMAN, INNER_THOUGHTS, Function
from memgpt_agent.models.answer.answer import RawCall
from memgpt_agent.models.answer.function_names import MAX_NAME, FunctionNames
from memgpt_agent.models.answer.lenient_json import decode, read_object

_MAX_TEXT = 200_000
_MAX_CALLS = 32
_MAX_PYTHON = 50_000
_MAX_TRIED = 2_000_000
"""Total of characters read without finding a call, after which the rest of a text counts as prose."""

_NAME_KEYS = ("name", "function", "tool", "tool_name", "function_name", "action", "recipient_name", "command")
_ARGUMENT_KEYS = (
    "arguments", "parameters", "args", "input", "tool_input", "action_input", "params", "kwargs", "tool_args", "tool_arguments",
    "content",
)  # fmt: skip
_CALL_KEYS = ("call", "function_call", "tool_call", "tool_calls", "function_calls", "calls", "tool_uses", "actions")
_THOUGHT_KEYS = (INNER_THOUGHTS, "thought", "thoughts", "reasoning", "thinking")
_OTHER_KEYS = ("id", "type", "index")
_NOTHING = re.compile(
    r"\W*(?:(?:none|null|nil|undefined|n/?a|no|nothing|unknown|empty)(?: new)?(?: facts?)?|无|沒有|没有|)\W*",
    re.IGNORECASE,
)
"""What models write in place of no fact."""

_NO_PLAIN_TEXT = ("{", "[", "'", '"', "`", "<", "(")

_TAG = re.compile(
    r"<[\w｜|:]*?(?:function|invoke|tool|function_call|tool_call)(?:=|\s+name\s*=\s*|:)\s*[\"']?(?P<name>[\w.\-]{1,80})[\"']?\s*>"
    r"|<(?P<own>\w{1,64})>(?=\s*<\w)"
    r"|<(?P<name_tag>(?:tool_|function_)?name)>\s*(?P<inner>[\w.\-]{1,80})\s*</(?P=name_tag)>"
    r"|<tool_call>\s*(?P<glm>[\w.\-]{1,80})\s*(?:<tool_sep>\s*)?(?=<arg_key>|</tool_call>)"
)
_TAG_END = re.compile(r"</[\w｜|:]*?(?:function|invoke|tool|tool_use|function_call|tool_call)>|\Z")
_PARAMETER = re.compile(
    r"<[\w｜|:]*?(?P<tag>param(?:eter)?|arg(?:ument)?)(?:=|\s+(?:name|key)\s*=\s*)[\"']?(?P<key>[\w.\-]{1,80})[\"']?[^<>]{0,80}>"
    r"|<arg_key>\s*(?P<glm>[\w.\-]{1,80})\s*</arg_key>\s*<(?P<glm_tag>arg_value)>"
)
_PARAMETER_END = {tag: re.compile(rf"</[\w｜|:]*?{tag}>") for tag in ("param", "parameter", "arg", "argument")} | {
    "arg_value": re.compile("</arg_value>")
}
_UNTAGGED = re.compile(r"\s*(?:<tool_sep>\s*)?(?=<arg_key>)")
"""Follows a name whose opening tag the server has left out."""

_CHATGLM = "tool_call("
"""Stands in place of the function's name, which is before it."""

_GLUED = re.compile(r"(?:json|code)\Z")
"""Directly follows a recipient if the server leaves out special tokens."""

_RECIPIENT = re.compile(r"\bto=\Z")
_CDATA = re.compile(r"\A\s*<!\[CDATA\[(.*)\]\]>\s*\Z", re.DOTALL)
_GEMMA = re.compile(
    r"call:(?P<name>[\w.\-]{1,80})(?P<body>\{.*?\})(?=\s*(?:<end_function_call>|<tool_call\|>|<\|tool_response>|call:|\Z))",
    re.DOTALL,
)
_GEMMA_TEXT = re.compile(r"<escape>(.*?)<escape>", re.DOTALL)
_GLUE = re.compile(
    r"(?:\s|✿[A-Z]{1,20}✿|:\d+(?=\D)|commentary\b|\[CALL_ID\]\w{1,40}|\[[A-Z_]{3,20}\]|<[^<>]{1,60}>|```\w*|json\b|code\b|>|:|=|\(|\"|'|\*\*|,?\s*\"?(?:Action Input|arguments|parameters|args|input)\"?\s*:)*",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z_][\w.\-]{1,80}")
_PYTHON_BEFORE = re.compile(r"(?:^|[\[,(>|;\]=])\s*(?:print\(|await |`|Call: )?\Z", re.MULTILINE)
_ACTION = re.compile(r"^Action\s*:\s*\Z", re.MULTILINE)
_ACTION_INPUT = re.compile(r"\s*^Action Input\s*:[ \t]*[\"']?(?P<text>[^\s{\[\"'`][^\n]*?)[\"']?[ \t]*$", re.MULTILINE)
"""An input in words, for a function with one argument."""
_MARKUP = re.compile(
    r"</?[|｜]?/?[\w ▁:｜|\-]{2,60}[|｜]?>|\[/?[A-Z_]{3,20}\]|```\w*|functools(?=\s*\[?)|<function=|Action(?: Input)?\s*:|\bto=functions?\b|\A[\s,;\[\]]+"
)
_TAIL = re.compile(r"(?<![\[\];,\s)])[\[\];,\s)]+\Z")
_SPELLINGS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("DSML", re.compile(r"<(/?)\s?[|｜]\s?DSML\s?[|｜]\s?"), r"<\1"),
    ("<longcat_", re.compile(r"(?<=[</])longcat_"), ""),
    ("]<]minimax[>[", re.compile(r"\]<\]minimax\[>\["), ""),
    (":opensource>", re.compile(r"(?<=\w):opensource(?=>)"), ""),
    ('<|"|>', re.compile(r'<\|"\|>'), "<escape>"),
    (
        "<|open|>call ",
        re.compile(r'<\|open\|>call\b[^<>]*?\btool="([\w.\-]{1,80})"[^<>]*<\|sep\|>'),
        r'<invoke name="\1">',
    ),
    ("<|close|>call<|sep|>", re.compile(r"<\|close\|>call<\|sep\|>"), "</invoke>"),
    (
        "<|open|>argument ",
        re.compile(r'<\|open\|>argument\b[^<>]*?\bkey="([\w.\-]{1,80})"[^<>]*<\|sep\|>'),
        r'<parameter name="\1">',
    ),
    ("<|close|>argument<|sep|>", re.compile(r"<\|close\|>argument<\|sep\|>"), "</parameter>"),
    ("<|sep|>", re.compile(r"<\|(?:open|close)\|>\w{1,20}[^<>]{0,80}<\|sep\|>"), ""),
)
"""Marks that only some models use: a text that shows their use, the mark, and its common spelling."""

_PROSE = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class TextCalls:
    """The calls and the thought found in a text.

    Attributes:
        calls: The calls, in order.
        thought: The thought in their JSON, and the text around them.
    """

    calls: tuple[RawCall, ...] = ()
    thought: str = ""


def calls_in(text: str, names: FunctionNames, *, contiguous: bool = False) -> TextCalls:
    """Find the calls in a text.

    Args:
        text: The text; characters beyond the first 200,000 are not read.
        names: The functions that may be called.
        contiguous: Whether to stop at the first prose after a call: unconstrained models continue with invented results
            and calls.
    """
    text = _spelled(_unquoted(text[:_MAX_TEXT]))
    calls: list[RawCall] = []
    thoughts: list[str] = []
    around: list[str] = []
    place = 0
    for found in _found(text, names):
        between = _plain(text[place : found.start])
        if contiguous and calls and _PROSE.search(between):
            break
        around.append(between)
        calls += found.calls
        thoughts += [found.thought] if found.thought else []
        place = found.end
        if len(calls) >= _MAX_CALLS:
            break
    if not calls:
        return TextCalls()
    if not contiguous:
        around.append(_plain(text[place:]))
    beside = " ".join(" ".join(around).split()) if not contiguous else ""
    return TextCalls(
        tuple(calls[:_MAX_CALLS]), "\n".join(filter(None, (*thoughts, beside if _PROSE.search(beside) else "")))
    )


def _plain(text: str) -> str:
    """Return the text beside calls without its markup."""
    return _TAIL.sub(" ", _MARKUP.sub(" ", text))


def unfold(raw: RawCall, names: FunctionNames) -> TextCalls:
    """Return the calls that a call wraps, in its name or in its arguments; else the call itself.

    Some servers also wrap the JSON of a constrained answer in the call of a function of their own.
    """
    function = names.by_name.get(raw.name)
    value = read_object(raw.arguments) or {}
    if function is None:
        written = TextCalls(*interpret(value, names)) if raw.arguments.strip() else calls_in(raw.name, names)
        return written if written.calls else TextCalls((replace(raw, name=raw.name[:MAX_NAME]),))
    own = frozenset(cast(Mapping[str, Any], parameters_schema(function, inner_thoughts=True)["properties"]))
    inner = next((value[key] for key in _ARGUMENT_KEYS if key not in own and isinstance(value.get(key), dict)), None)
    if inner and inner.keys() <= own and value.keys() <= {*_ARGUMENT_KEYS, *_NAME_KEYS, *_OTHER_KEYS, *own}:
        beside = {key: given for key, given in value.items() if key in own - set(_NAME_KEYS)}
        return TextCalls((replace(raw, arguments=envelopes.dumps({**beside, **inner})),))
    text, plain = sole_text(function), raw.arguments.strip()
    if text and not value and not plain.startswith((*_NO_PLAIN_TEXT, text)) and not _NOTHING.fullmatch(plain):
        return TextCalls((replace(raw, arguments=envelopes.dumps({text: plain})),))
    return TextCalls((raw,))


def sole_text(function: Function) -> str:
    """Return the only argument that a function requires, if it is a text: it may stand without its name."""
    required = [parameter for parameter in function.parameters if parameter.required]
    return required[0].name if len(required) == 1 and required[0].type == "string" else ""


def _unquoted(text: str) -> str:
    """Return the text that a JSON string holds: servers encode an answer twice."""
    if text.lstrip()[:1] != '"':
        return text
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str) else text


def _spelled(text: str) -> str:
    """Return a text with the marks of single models in their common spelling."""
    for sign, mark, common in _SPELLINGS:
        if sign in text:
            text = mark.sub(common, text)
    return text


def looks_like_a_call(text: str, names: FunctionNames) -> bool:
    """Whether a text without a call that can be read seems to be one."""
    begins = re.match(r"\s*(?:[{\[<]|```|functools|call:)", text) is not None
    return begins and any(name in text for name in names.by_name)


@dataclass(frozen=True, slots=True)
class _Found:
    start: int
    end: int
    calls: tuple[RawCall, ...]
    thought: str = ""


_ANCHOR = re.compile(r"[{\[<]|[A-Za-z_]\w*")


def _found(text: str, names: FunctionNames) -> Iterator[_Found]:
    place = 0
    budget = _MAX_TRIED
    while (anchor := _ANCHOR.search(text, place)) is not None:
        found = _at(text, anchor.start(), names)
        if found is not None:
            yield found
            place = found.end
            continue
        # A word is skipped as a whole; a bracket without a value may have one inside.
        place = anchor.end()
        budget -= _cost(text, anchor.start(), names)
        if budget < 0:
            return


def _cost(text: str, place: int, names: FunctionNames) -> int:
    """Return the maximum number of characters that an attempt to parse a call at a position reads."""
    if text[place] in "{[" or _tag(text, place, names) is not None:
        return len(text) - place
    word = _WORD.match(text, place)
    return min(len(text) - place, _MAX_PYTHON) if word is not None and names.known(word[0]) else 0


def _at(text: str, place: int, names: FunctionNames) -> _Found | None:
    mark = text[place]
    if mark == "<":
        return _tagged(text, place, names)
    if mark in "{[":
        return _json(text, place, names) or (_python_list(text, place, names) if mark == "[" else None)
    return _gemma(text, place, names) or _named(text, place, names)


def _tagged(text: str, place: int, names: FunctionNames) -> _Found | None:
    """Find ``<function=NAME>`` or ``<invoke name="NAME">``, with a tag for each parameter or with JSON inside."""
    tag = _tag(text, place, names)
    if tag is None:
        return None
    match, name = tag
    ends = re.compile(f"</{name}>") if match["own"] else _TAG_END
    end = ends.search(text, match.end())
    if match["own"] and end is None:
        return None
    body = text[match.end() : end.start() if end else len(text)]
    if end is not None and end[0] and body.count("<parameter=") == body.count("</parameter>") + 1:
        body += "</parameter>"
    values = _parameters(body, names.by_name[name])
    if not values and (match["inner"] or body.strip()):
        return None
    return _Found(place, end.end() if end else len(text), (RawCall(name, envelopes.dumps(values)),))


def _tag(text: str, place: int, names: FunctionNames) -> tuple[re.Match[str], str] | None:
    """Return the tag of a function at a place, and the function's name."""
    match = _TAG.match(text, place)
    if match is None:
        return None
    name = names.known(match["name"] or match["inner"] or match["glm"] or "")
    if match["own"] in names.by_name:
        name = match["own"]
    return (match, name) if name else None


def _parameters(body: str, function: Function) -> dict[str, object]:
    """Return the arguments inside of a tag: in a tag for each, or as JSON."""
    values: dict[str, object] = {}
    for key, value in _tagged_parameters(body):
        values[key] = _typed(function, key, value)
    if not values and "{" in body.partition("<")[0]:
        try:
            decoded, _ = decode(body, body.index("{"))
        except ValueError:
            decoded = None
        values = decoded if isinstance(decoded, dict) else {}
    if not values:
        for key in cast(Mapping[str, Any], parameters_schema(function, inner_thoughts=True)["properties"]):
            _, found, rest = body.partition(f"<{key}>")
            value, closed, _ = rest.partition(f"</{key}>")
            if found and closed:
                values[key] = _typed(function, key, value)
    return values


def _tagged_parameters(body: str) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of parameters that are written as one tag each."""
    place, endless = 0, set()
    while (begin := _PARAMETER.search(body, place)) is not None:
        place, tag = begin.end(), begin["tag"] or begin["glm_tag"]
        # Where one has no end, neither have those after it: each would be looked for in all that is left.
        end = _PARAMETER_END[tag].search(body, place) if tag not in endless else None
        if end is None:
            endless.add(tag)
            continue
        yield begin["key"] or begin["glm"], body[place : end.start()]
        place = end.end()


def _typed(function: Function, key: str, text: str) -> object:
    """Convert a parameter's text to a value of its type."""
    text = _CDATA.sub(r"\1", text)
    properties = cast(Mapping[str, Any], parameters_schema(function, inner_thoughts=True)["properties"])
    schema = properties.get(key)
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    kinds = kind if isinstance(kind, list) else [kind]
    if "string" in kinds or kind is None:
        plain = text.removeprefix("\n").removesuffix("\n")
        return None if "null" in kinds and plain.strip() == "null" else plain
    text = text.strip()
    try:
        value, end = decode(text)
    except ValueError:
        return text
    return value if end == len(text) else text


def _json(text: str, place: int, names: FunctionNames) -> _Found | None:
    try:
        value, end = decode(text, place)
    except ValueError:
        return None
    calls, thought = interpret(value, names)
    if not calls and not text[:place].strip() and not text[end:].strip(" \n`"):
        calls = _unknown(value)
    return _Found(place, end, calls, thought) if calls else None


def _unknown(value: object) -> tuple[RawCall, ...]:
    """Return a call of an unknown function, which the model is told about."""
    if not isinstance(value, dict):
        return ()
    call = value.get("call")
    inner: dict[str, Any] = call if isinstance(call, dict) else value
    name = inner.get("name") or inner.get("function")
    given = next((inner[key] for key in ("arguments", "parameters") if key in inner), None)
    if not isinstance(name, str) or not name.strip() or not isinstance(given, dict):
        return ()
    return (RawCall(name.strip()[:MAX_NAME], envelopes.dumps(given)),)


def interpret(value: object, names: FunctionNames, depth: int = 0) -> tuple[tuple[RawCall, ...], str]:
    """Return the calls in a decoded value, and the thought next to them."""
    if depth > 4:
        return (), ""
    if isinstance(value, list):
        found = [interpret(one, names, depth + 1) for one in value[:_MAX_CALLS]]
        return tuple(call for calls, _ in found for call in calls), "\n".join(t for _, t in found if t)
    if not isinstance(value, dict):
        return (), ""
    thought = next((str(value[key]) for key in _THOUGHT_KEYS if isinstance(value.get(key), str)), "")
    for key in _CALL_KEYS:
        given = value.get(key)
        if isinstance(given, str) and (written := calls_in(given, names)).calls:
            return (*_learned(value), *written.calls), thought
        if isinstance(given, dict | list):
            calls, inner = interpret(given, names, depth + 1)
            if calls:
                return (*_learned(value), *calls), "\n".join(filter(None, (thought, inner)))
    if isinstance(value.get("function"), dict):
        calls, inner = interpret(value["function"], names, depth + 1)
        return calls, thought or inner
    for key in _NAME_KEYS:
        if isinstance(value.get(key), str) and (name := names.known(value[key])):
            arguments = _arguments(value, key, names.by_name[name])
            # A name alone is not a call of a function that needs arguments.
            complete = arguments or not any(parameter.required for parameter in names.by_name[name].parameters)
            return ((RawCall(name, envelopes.dumps(arguments)),), thought) if complete else ((), "")
    named = [(names.known(key), given) for key, given in value.items() if isinstance(given, dict | str)]
    texts = {name: sole_text(names.by_name[name]) for name, given in named if name and isinstance(given, str)}
    given_by_name = [(name, {texts[name]: given} if texts.get(name) else given) for name, given in named if name]
    calls = tuple(RawCall(name, envelopes.dumps(given)) for name, given in given_by_name if isinstance(given, dict))
    return calls, thought if calls else ""


def _learned(value: Mapping[str, Any]) -> tuple[RawCall, ...]:
    """Return the call that saves the facts about the user beside a call; see ``schemas.json_schema``."""
    line = value.get(ABOUT_USER)
    if not isinstance(line, str) or _NOTHING.fullmatch(line.strip()):
        return ()
    return (RawCall(CORE_MEMORY_APPEND.name, envelopes.dumps({"name": HUMAN, "content": line.strip()})),)


def _arguments(value: Mapping[str, Any], name_key: str, function: Function) -> Mapping[str, Any]:
    """Return the arguments next to a name: an object of their own, JSON text, or the other keys."""
    own = cast(Mapping[str, Any], parameters_schema(function, inner_thoughts=False)["properties"])
    for key in _ARGUMENT_KEYS:
        given = value.get(key)
        if isinstance(given, str) and key not in own and given.lstrip()[:1] == "{":
            try:
                given, _ = decode(given, given.index("{"))
            except ValueError:
                continue
        if isinstance(given, str) and key not in own and given.strip() and (text := sole_text(function)):
            given = {text: given}
        if isinstance(given, dict):
            # Arguments that were written beside the object, such as request_heartbeat.
            own_names = own.keys() - {name_key, key, *_OTHER_KEYS}
            beside = {name: one for name, one in value.items() if name in own_names}
            return {**beside, **given}
    skipped = (name_key, *_THOUGHT_KEYS, *_OTHER_KEYS)
    rest = {key: given for key, given in value.items() if key not in skipped}
    return {} if all(given in (None, "", []) for given in rest.values()) else rest


def _named(text: str, place: int, names: FunctionNames) -> _Found | None:
    """Find ``NAME {…}``, with markup in between, or ``NAME(…)`` as in Python."""
    word = _WORD.match(text, place)
    if word is None or not (name := _name(text, word, names)):
        return None
    if text[word.end() : word.end() + 1] == "(" and (called := _python(text, place, word.end(), name, names)):
        return called
    if untagged := _UNTAGGED.match(text, word.end()):
        closing = _TAG_END.search(text, untagged.end())
        body = text[untagged.end() : closing.start() if closing else len(text)]
        if values := _parameters(body, names.by_name[name]):
            return _Found(place, closing.end() if closing else len(text), (RawCall(name, envelopes.dumps(values)),))
    if _ACTION.search(text[max(0, place - 20) : place]) and (given := _ACTION_INPUT.match(text, word.end())):
        plain = sole_text(names.by_name[name])
        return _Found(place, given.end(), (RawCall(name, envelopes.dumps({plain: given["text"]})),)) if plain else None
    glue = _GLUE.match(text, word.end(), word.end() + 200)
    begin = glue.end() if glue else word.end()
    if text.startswith(_CHATGLM, begin):
        return _python(text, place, begin + len(_CHATGLM) - 1, name, names)
    if text[begin : begin + 1] != "{":
        return None
    try:
        value, end = decode(text, begin)
    except ValueError:
        return None
    if not isinstance(value, dict) or interpret(value, names)[0]:
        return None
    return _Found(place, end, (RawCall(name, envelopes.dumps(_only_arguments(value))),))


def _name(text: str, word: re.Match[str], names: FunctionNames) -> str:
    """Return the name of the function that a word of a text means; empty if there is none."""
    written = word[0].removesuffix(".call")
    name = names.known(written)
    if not name and _RECIPIENT.search(text, max(0, word.start() - 4), word.start()):
        name = names.known(_GLUED.sub("", written))
    return name


def _only_arguments(value: dict[str, Any]) -> dict[str, Any]:
    inner = next((value[key] for key in ("arguments", "parameters") if isinstance(value.get(key), dict)), None)
    return value if inner is None or len(value) > 1 else inner


def _gemma(text: str, place: int, names: FunctionNames) -> _Found | None:
    match = _GEMMA.match(text, place)
    name = names.known(match["name"]) if match else ""
    if match is None or not name:
        return None
    try:
        values, _ = decode(_GEMMA_TEXT.sub(lambda quoted: json.dumps(quoted[1]), match["body"]))
    except ValueError:
        return None
    return _Found(place, match.end(), (RawCall(name, envelopes.dumps(values)),))


def _python_list(text: str, place: int, names: FunctionNames) -> _Found | None:
    word = _WORD.match(text, place + 1)
    return _named(text, place + 1, names) if word is not None else None


def _python(text: str, place: int, paren: int, name: str, names: FunctionNames) -> _Found | None:
    """Read a call as in Python; only constants are accepted as arguments."""
    before = text[max(0, place - 80) : place]
    if not _PYTHON_BEFORE.search(before):
        return None
    end = _closing(text, paren)
    if end < 0:
        return None
    places = [parameter.name for parameter in names.by_name[name].parameters]
    try:
        values = _python_values(text[paren : end + 1], places)
        return _Found(place, end + 1, (RawCall(name, envelopes.dumps(values)),))
    except (TypeError, ValueError, RecursionError):
        return None


def _python_values(written: str, places: Sequence[str]) -> dict[str, Any]:
    """Return the arguments in brackets.

    Raises:
        ValueError: They cannot be read, or are not all constants.
    """
    try:
        tree = ast.parse("f" + written, mode="eval").body
    except (SyntaxError, MemoryError):
        # Strings may have line breaks.
        values, end = decode(f"{{{written[1:-1]}}}")
        if end != len(written):
            raise ValueError("not only arguments") from None
        return cast(dict[str, Any], values)
    if not isinstance(tree, ast.Call):
        raise ValueError("not a call")
    values = {keyword.arg: _constant(keyword.value) for keyword in tree.keywords if keyword.arg}
    given = [_constant(argument) for argument in tree.args]
    if len(given) == 1 and isinstance(given[0], dict):
        return {**given[0], **values}
    return {**dict(zip(places, given, strict=False)), **values}


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        if node.id in ("true", "false", "null"):
            return json.loads(node.id)
        raise ValueError(node.id)
    value = ast.literal_eval(node)
    if isinstance(value, bytes | set | complex):
        raise ValueError("not JSON")
    return value


def _closing(text: str, paren: int) -> int:
    """Return where the bracket at ``paren`` is closed, outside of strings; -1 if it is not, or too far away."""
    depth, quote, place = 0, "", paren
    while place < min(len(text), paren + _MAX_PYTHON):
        char = text[place]
        if quote:
            if char == "\\":
                place += 1
            elif text.startswith(quote, place):
                place += len(quote) - 1
                quote = ""
        elif char in "\"'":
            quote = char * 3 if text.startswith(char * 3, place) else char
            place += len(quote) - 1
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return place
        place += 1
    return -1
