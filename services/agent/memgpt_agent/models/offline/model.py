"""The built-in model: no key, no network, no weights. It follows the loop's protocol and quotes instead of writing.

It is a pure function of the prompt: like any other model, it finds in the messages what it has searched and read, so
that another process can continue a turn. It searches archival memory, reads pages until it has enough, and answers with
sentences and their pages; it notes facts that users state about themselves, and looks up what was said before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from memgpt_runtime.tokens import count_tokens

from memgpt_agent import envelopes, profiles
from memgpt_agent.domain import FunctionCall, Message, Role, Usage, new_call_id
from memgpt_agent.functions.archival_memory_insert import ARCHIVAL_MEMORY_INSERT
from memgpt_agent.functions.archival_memory_search import ARCHIVAL_MEMORY_SEARCH
from memgpt_agent.functions.conversation_search import CONVERSATION_SEARCH
from memgpt_agent.functions.core_memory_append import CORE_MEMORY_APPEND
from memgpt_agent.functions.function import REQUEST_HEARTBEAT
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.models.base import Completion, DeltaKind, ModelRequest, Sink
from memgpt_agent.models.offline import facts, intents, quoting
from memgpt_agent.models.offline.phrases import ENGLISH, Phrases, pages, phrases_for
from memgpt_agent.profiles import ProfileKind

NAME = "offline"

_MIN_PAGES, _MAX_PAGES = 2, 6
"""The fewest pages to read, if there are as many, and the most. One page holds five passages."""

_ENOUGH_SENTENCES = 4
_MAX_QUOTES = 5
_SUMMARY_WORDS = 90

_MAX_TOPIC_WORDS = 3
"""The most words of a message that only names a topic."""

_RESULTS = re.compile(r"Showing (\d+) of (\d+) results \(page (\d+)/(\d+)\): ")
_HUMAN_BLOCK = re.compile(r"<human characters=\"\d+/\d+\">\n(.*?)\n</human>", re.DOTALL)
_OPEN_QUESTION = re.compile(r"Still to be answered, in the user's words: (.*)", re.DOTALL)
_SOURCES = re.compile(r"passages of the attached sources: ([^\";]+)")


@dataclass(frozen=True, slots=True)
class _Done:
    """A call made since the event: its arguments and its result."""

    name: str
    arguments: Mapping[str, object]
    ok: bool
    text: str

    @property
    def hits(self) -> list[Mapping[str, object]]:
        """The results of a search; none if there were none or they were elided."""
        match = _RESULTS.match(self.text)
        if match is None:
            return []
        try:
            value, _ = json.JSONDecoder().raw_decode(self.text, match.end())
        except ValueError:
            return []
        return [hit for hit in value if isinstance(hit, dict)]

    @property
    def page(self) -> int:
        """The page that a search showed."""
        match = _RESULTS.match(self.text)
        return int(match[3]) if match else 0

    @property
    def last_page(self) -> int:
        """The last page that a search has."""
        match = _RESULTS.match(self.text)
        return int(match[4]) if match else 0


@dataclass(slots=True)
class _Scene:
    """The state of the conversation, read from the prompt."""

    event: str = ""
    text: str = ""
    alert_open: bool = False
    first: bool = True
    human: str = ""
    sources: str = ""
    done: list[_Done] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def phrases(self) -> Phrases:
        """What to say, in the language of the user's message."""
        return phrases_for(self.text)

    @property
    def spoken(self) -> bool:
        """Whether the event has been answered."""
        return any(d.ok and d.name == SEND_MESSAGE.name for d in self.done)

    def tried(self, name: str) -> list[_Done]:
        """Return the calls of one function since the event."""
        return [d for d in self.done if d.name == name]


@dataclass(frozen=True, slots=True)
class _Act:
    """The model's decision: a thought and a call."""

    thought: str
    name: str
    arguments: Mapping[str, object]


class OfflineModel:
    """The built-in model."""

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        """Return an answer made from the prompt alone. Never fails."""
        prompt_tokens = sum(count_tokens(message.text) for message in request.messages)
        if not request.functions:
            text = _summarize(request.messages[-1].text)
            return Completion(text, usage=Usage(prompt_tokens, count_tokens(text)))
        act = _decide(_read(request.messages, request.note))
        arguments = envelopes.dumps(act.arguments)
        _stream(sink, DeltaKind.THOUGHT, act.thought)
        if act.name == SEND_MESSAGE.name:
            _stream(sink, DeltaKind.MESSAGE, str(act.arguments["message"]))
        usage = Usage(prompt_tokens, count_tokens(act.thought) + count_tokens(arguments))
        return Completion(act.thought, FunctionCall(new_call_id(), act.name, arguments), usage)


def _stream(sink: Sink, kind: DeltaKind, text: str) -> None:
    for word in re.findall(r"\S+\s*|\s+", text):
        sink.delta(kind, word)


def _read(messages: Sequence[Message], note: str) -> _Scene:
    scene = _Scene()
    changed = _HUMAN_BLOCK.search(note)
    if attached := _SOURCES.search(note):
        scene.sources = attached[1].strip().rstrip(".")
    calls: dict[str, FunctionCall] = {}
    seen_event = False
    for message in messages:
        envelope = envelopes.parse(message.text) if message.role in (Role.USER, Role.TOOL) else {}
        if message.role is Role.SYSTEM:
            match = changed or _HUMAN_BLOCK.search(message.text)
            scene.human = match[1] if match else ""
        elif message.role is Role.ASSISTANT:
            scene.first = scene.first and not seen_event
            if message.function_call is not None:
                calls[message.function_call.call_id] = message.function_call
                scene.alert_open = False
        elif message.role is Role.TOOL and message.call_id in calls:
            call = calls[message.call_id]
            scene.done.append(
                _Done(
                    call.name,
                    envelopes.parse(call.arguments),
                    envelope.get("status") == "OK",
                    str(envelope.get("message", "")),
                )
            )
        elif message.role is Role.USER:
            _read_event(scene, envelope)
            seen_event = True
    return scene


def _read_event(scene: _Scene, envelope: Mapping[str, object]) -> None:
    kind = str(envelope.get("type", ""))
    text = str(envelope.get("message", ""))
    if kind in ("user_message", "login"):
        scene.event, scene.text, scene.done = kind, text, []
        if kind == "user_message":
            scene.said.append(text)
    elif kind == "system_alert":
        waiting = _OPEN_QUESTION.search(text)
        if waiting:
            scene.event, scene.text = "user_message", waiting[1]
            scene.said.append(waiting[1])
        else:
            scene.alert_open = True


def _decide(scene: _Scene) -> _Act:
    phrases = scene.phrases
    if scene.spoken or not scene.event:
        if scene.alert_open and scene.said:
            return _save(scene)
        return _say("Nothing new has come.", phrases.still_here)
    if scene.event == "login":
        return _say("Somebody logged in: I greet them.", _joined(phrases, _hello(scene), phrases.introduction))
    if told := facts.about_the_user(scene.text):
        return _learn(scene, "\n".join(told), CORE_MEMORY_APPEND.name)
    if note := facts.to_remember(scene.text):
        return _learn(scene, note, ARCHIVAL_MEMORY_INSERT.name)
    if intents.WHO_ARE_YOU.search(scene.text):
        return _say("They want to know what I am.", phrases.introduction)
    if intents.GREETING.match(scene.text):
        known = phrases.welcome if intents.THANKS.match(scene.text) else _joined(phrases, _hello(scene), phrases.here)
        return _say(
            "A greeting deserves one.",
            _joined(phrases, _hello(scene), phrases.introduction) if scene.first else known,
        )
    if intents.ABOUT_ME.search(scene.text) and not scene.first:
        known = _known(scene)
        if known:
            return _say("Core memory holds what I know of them.", known)
        if not quoting.key_words(scene.text):
            return _say("They have not told me.", phrases.not_told)
        return _recall(scene)
    if intents.PAST.search(scene.text) and not scene.first:
        return _recall(scene)
    if intents.ASKS.search(scene.text):
        return _research(scene)
    if len(quoting.words(scene.text)) <= _MAX_TOPIC_WORDS and not intents.CHINESE_STATEMENT.search(scene.text):
        return _research(scene)
    return _say("They tell me something, and ask nothing.", phrases.read)


# The decision for each kind of event.


def _say(thought: str, message: str) -> _Act:
    return _Act(thought, SEND_MESSAGE.name, {"message": message})


def _joined(phrases: Phrases, *sentences: str) -> str:
    return phrases.between.join(sentences)


def _hello(scene: _Scene) -> str:
    match = re.search(r"^Name: (.+)$", scene.human, re.MULTILINE)
    return scene.phrases.hello_named.format(name=match[1]) if match else scene.phrases.hello


def _save(scene: _Scene) -> _Act:
    note = "What the user said lately: " + " / ".join(text[:200] for text in scene.said[-8:])
    return _Act(
        "My context is filling up: I put down what was said lately.",
        ARCHIVAL_MEMORY_INSERT.name,
        {"content": note, REQUEST_HEARTBEAT: False},
    )


def _learn(scene: _Scene, fact: str, function: str) -> _Act:
    if scene.first and not scene.done:
        # A new agent's first call must be a message or a search.
        return _search("They tell me something about themselves. Do I know it already?", fact, 0)
    if function == CORE_MEMORY_APPEND.name:
        appended = scene.tried(function)
        if not appended and fact.lower() not in scene.human.lower():
            return _Act(
                "This belongs in core memory, where I always see it.",
                function,
                {"name": "human", "content": fact, REQUEST_HEARTBEAT: True},
            )
        if any(not d.ok for d in appended):
            function = ARCHIVAL_MEMORY_INSERT.name
    if function == ARCHIVAL_MEMORY_INSERT.name and not scene.tried(function):
        return _Act(
            "I put this into archival memory, where I can find it again.",
            function,
            {"content": fact, REQUEST_HEARTBEAT: True},
        )
    told = fact.replace("\n", "; ")
    return _say("It is noted, and I say so.", scene.phrases.noted.format(fact=told))


def _known(scene: _Scene) -> str:
    terms = {quoting.stem(word) for word in quoting.key_words(scene.text)}
    said = profiles.built_in(ProfileKind.HUMAN)[profiles.DEFAULT_HUMAN].splitlines()
    lines = [line.strip() for line in scene.human.splitlines() if line.strip() and line not in said]
    kind = facts.kind_asked(scene.text)
    if kind is not None:
        fitting = [line for line in lines if kind.search(line)]
    else:
        fitting = [line for line in lines if terms & {quoting.stem(word) for word in quoting.words(line)}]
        if not fitting and not terms:
            fitting = lines
    return scene.phrases.known.format(facts=" / ".join(fitting)) if fitting else ""


def _recall(scene: _Scene) -> _Act:
    terms = quoting.key_words(scene.text)
    by_length = sorted(terms, key=len, reverse=True)
    queries = [" ".join(terms[:3]), *by_length[:2]] if terms else [scene.phrases.first_person]
    searches = scene.tried(CONVERSATION_SEARCH.name)
    lines = [line for search in searches for line in _remembered(search, scene)]
    if lines:
        told = _joined(scene.phrases, *lines[:4])
        return _say("I found where we spoke of it.", scene.phrases.recalled.format(lines=told))
    asked = {str(search.arguments.get("query")) for search in searches}
    for query in queries:
        if query not in asked:
            return _Act(
                "They ask about our conversation: recall memory holds it all.",
                CONVERSATION_SEARCH.name,
                {"query": query, "page": 0, REQUEST_HEARTBEAT: True},
            )
    return _research(scene)


def _remembered(search: _Done, scene: _Scene) -> list[str]:
    lines = []
    wanted = str(search.arguments.get("query", "")).casefold().split()
    for hit in search.hits:
        message = str(hit.get("message", ""))
        if (
            not message
            or message == scene.text
            or hit.get("role") != "user"
            or message.startswith(envelopes.SYSTEM_NOTE)
        ):
            continue
        if not all(word in message.casefold() for word in wanted):
            continue  # only similar
        lines.append(scene.phrases.you_said.format(message=message, day=_day(hit)))
    return lines


def _research(scene: _Scene) -> _Act:
    """Search archival memory, read further pages while they help, and answer with quotations."""
    terms = quoting.key_words(scene.text)
    for earlier in reversed(scene.said[:-1]):
        if terms or not intents.REFERS_BACK.search(scene.text):
            break
        # "Tell me more about it" refers to the earlier question.
        terms = quoting.key_words(earlier)
    if not terms:
        asked_back = _joined(scene.phrases, scene.phrases.what_to_know, scene.phrases.introduction)
        return _say("There is nothing in it to look for.", asked_back)
    topic = quoting.topic_of(scene.text, terms)
    query = _query(terms)
    searches = scene.tried(ARCHIVAL_MEMORY_SEARCH.name)
    if not searches:
        return _search("The answer usually lies in archival memory: I look there first.", query, 0)
    last = searches[-1]
    if not last.ok:
        return _say("The search failed, and I say so.", scene.phrases.search_failed.format(error=last.text))
    quotes = _quotes(searches, terms, topic, scene.phrases)
    read = last.page + 1
    told = not topic or any(quoting.defines(quote.text, topic) for quote in quotes)
    enough = read >= _MIN_PAGES and len(quotes) >= _ENOUGH_SENTENCES and told
    if not enough and last.page < last.last_page and read < _MAX_PAGES:
        thought = "This page helps, but there is more to read." if quotes else "Not yet what they asked for: I read on."
        return _search(thought, str(last.arguments.get("query", query)), last.page + 1)
    if not quotes:
        return _say(
            "I have read enough to say that it is not there.", _nothing_found(scene, searches, " ".join(terms), read)
        )
    body = "\n\n".join(f"“{quote.text}” ({quote.where})" for quote in quotes)
    found, missing = quoting.covered(quotes, terms)
    head = scene.phrases.found.format(topic=" ".join(found))
    if missing:
        # Said first, so that these sentences do not pass for an answer to another question.
        head = _joined(scene.phrases, scene.phrases.missing.format(topic=" ".join(missing)), head)
    return _say(f"I have read {pages(read, ENGLISH)} of results, and can answer.", f"{head}\n\n{body}")


def _query(terms: Sequence[str]) -> str:
    """Return the query: a sentence that resembles the answer is more similar to it than a bare name."""
    if len(terms) == 1 and terms[0] != terms[0].lower():
        return f"we introduce {terms[0]}, a system that"
    return " ".join(terms)


def _search(thought: str, query: str, page: int) -> _Act:
    return _Act(
        thought,
        ARCHIVAL_MEMORY_SEARCH.name,
        {"query": query, "page": page, REQUEST_HEARTBEAT: True},
    )


def _quotes(searches: Sequence[_Done], terms: Sequence[str], topic: str, phrases: Phrases) -> list[quoting.Quote]:
    found = []
    place = 0
    for search in searches:
        for hit in search.hits:
            content = str(hit.get("content", ""))
            place += 1
            number = hit.get("page")
            order = (number, place) if isinstance(number, int) else (0, place)
            pieces = quoting.sentences(content) if "file" in hit else [content]
            found += [
                quoting.Quote(piece, _where(hit, phrases), (order[0], order[1] * 1000 + index))
                for index, piece in enumerate(pieces)
            ]
    return quoting.best(found, terms, topic, _MAX_QUOTES)


def _where(hit: Mapping[str, object], phrases: Phrases) -> str:
    if "file" not in hit:
        return phrases.note.format(day=_day(hit))
    page = hit.get("page")
    return f"{hit['file']}, {phrases.page.format(page=page)}" if page else str(hit["file"])


def _day(hit: Mapping[str, object]) -> str:
    return str(hit.get("timestamp", ""))[:10]


def _nothing_found(scene: _Scene, searches: Sequence[_Done], topic: str, read: int) -> str:
    phrases = scene.phrases
    if any(search.hits for search in searches):
        return phrases.no_sentence.format(pages=pages(read, phrases), topic=topic)
    if scene.sources:
        return phrases.nothing_in_sources.format(sources=scene.sources, topic=topic)
    return phrases.nothing_attached.format(topic=topic)


def _summarize(text: str) -> str:
    """Return the former summary and what the user said, cut to fewer than 100 words."""
    former = re.search(r"\AYour former summary: (.*?)\n\n", text, re.DOTALL)
    said = [str(envelopes.parse(line.removeprefix("user: ")).get("message", "")) for line in text.split("\n\n")]
    lines = [line for line in said if line and not line.startswith(envelopes.SYSTEM_NOTE)]
    new = "I was told: " + " / ".join(lines) if lines else ""
    old = former[1] if former else ""
    # Half of the words for each, so that what is new is never crowded out.
    half = _SUMMARY_WORDS // 2
    kept = " ".join(old.split()[: _SUMMARY_WORDS - min(len(new.split()), half)])
    summary = f"{kept} {new}".strip().split()
    return " ".join(summary[:_SUMMARY_WORDS]) or "We only greeted each other."
