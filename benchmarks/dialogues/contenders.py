"""Those who hold a dialogue: an agent of the suite, and the bare model with the conversation in its prompt."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from memgpt.agent.v1.agent_service_pb2 import CreateAgentRequest, SendMessageRequest
from memgpt.client import MemGPT, ServiceError, new_request_id
from memgpt_runtime.tokens import count_tokens

from benchmarks.common import say
from benchmarks.dialogues.recorder import Recorder
from benchmarks.dialogues.script import Dialogue

_BARE = "You are a helpful assistant. Answer in the language of the user's last message."
_PAPER = "\n\nThe user has given you this paper, page by page. Name the page of everything you take from it.\n\n"
_ANSWER_TOKENS = 512
_OVERHEAD = 8
"""Tokens of a message in addition to its text."""


@dataclass(slots=True)
class TurnResult:
    """What a contender did in one turn.

    Attributes:
        answers: Its messages to the user.
        calls: The functions that it called, in order.
        steps: What it thought, called and got, for people who look for the reason of a failure.
        exchanges: Its requests to the model.
        seconds: How long the turn took.
        error: Why the turn failed; empty if it did not.
    """

    answers: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""


@dataclass(slots=True)
class Held:
    """What a contender did in a dialogue.

    Attributes:
        dialogue: Name of the dialogue.
        contender: Name of the contender.
        blocks: Its core memory at the end, by label.
        turns: Its turns.
        document: Whether it had the paper.
    """

    dialogue: str
    contender: str
    blocks: dict[str, str] = field(default_factory=dict)
    turns: list[TurnResult] = field(default_factory=list)
    document: bool = False

    def json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Held:
        """Return it from JSON."""
        return cls(**{**raw, "turns": [TurnResult(**turn) for turn in raw["turns"]]})


class Contender(Protocol):
    """Holds dialogues."""

    name: str

    def hold(self, dialogue: Dialogue) -> Held:
        """Hold a whole dialogue."""
        ...


class AgentContender:
    """An agent of the suite, a new one for each dialogue."""

    name = "agent"

    def __init__(self, memgpt: MemGPT, recorder: Recorder, source_id: str, max_steps: int) -> None:
        """Use the services behind a client.

        Args:
            memgpt: The client.
            recorder: The proxy that the Agent uses as its endpoint.
            source_id: The source with the paper.
            max_steps: Maximum number of steps of a turn.
        """
        self._memgpt = memgpt
        self._recorder = recorder
        self._source = source_id
        self._max_steps = max_steps

    def hold(self, dialogue: Dialogue) -> Held:
        """Hold a whole dialogue."""
        agents = self._memgpt.agents
        agent_id = agents.create(CreateAgentRequest(context_window=dialogue.window)).agent_id
        if dialogue.document:
            agents.attach(agent_id, self._source)
        self._recorder.begin_dialogue()
        held = Held(dialogue.name, self.name, document=dialogue.document)
        for scripted in dialogue.turns:
            turn = self._turn(agent_id, scripted.user)
            held.turns.append(turn)
            say(f"{dialogue.name}: {scripted.user[:60]!r} -> {turn.calls} {' '.join(turn.answers)[:100]!r}")
        held.blocks = {block.label: block.value for block in agents.context(agent_id).blocks}
        agents.delete(agent_id)
        return held

    def _turn(self, agent_id: str, text: str) -> TurnResult:
        turn = TurnResult()
        start = time.perf_counter()
        request = SendMessageRequest(
            agent_id=agent_id, text=text, request_id=new_request_id(), max_steps=self._max_steps
        )
        try:
            for event in self._memgpt.agents.send(request):
                _note(turn, event)
        except ServiceError as error:
            turn.error = str(error)
        turn.seconds = time.perf_counter() - start
        turn.exchanges = [exchange.json() for exchange in self._recorder.take()]
        return turn


def _note(turn: TurnResult, event: Any) -> None:
    match event.WhichOneof("event"):
        case "thought":
            turn.steps.append(f"thinks: {event.thought.text}")
        case "function_call":
            turn.calls.append(event.function_call.name)
            turn.steps.append(f"calls: {event.function_call.name} {event.function_call.arguments}")
        case "function_result":
            turn.steps.append(f"gets: {event.function_result.text}")
        case "message":
            turn.answers.append(event.message.text)
        case "step_restarted":
            turn.steps.append(f"restarts: {event.step_restarted.reason}")
        case "notice":
            turn.steps.append(f"notice: {event.notice.text}")
        case "done":
            turn.steps.append(f"done: {event.done.reason or 'completed'}")


class BareContender:
    """The model alone: the whole conversation is its prompt, and the paper if there is room; old messages fall out."""

    name = "bare"

    def __init__(self, recorder: Recorder, model: str, api_key: str, window: int, paper: str) -> None:
        """Ask the endpoint behind a recorder.

        Args:
            recorder: The proxy.
            model: The model's name.
            api_key: The endpoint's key; empty for none.
            window: Tokens of its context window, unless a dialogue sets it.
            paper: The paper's text.
        """
        self._recorder = recorder
        self._model = model
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._window = window
        self._paper = paper

    def hold(self, dialogue: Dialogue) -> Held:
        """Hold a whole dialogue."""
        room = (dialogue.window or self._window) - _ANSWER_TOKENS
        system = _BARE
        if dialogue.document and count_tokens(self._paper) < room // 2:
            system += _PAPER + self._paper
        held = Held(dialogue.name, self.name, document=system != _BARE)
        history: list[dict[str, str]] = []
        self._recorder.begin_dialogue()
        for scripted in dialogue.turns:
            history.append({"role": "user", "content": scripted.user})
            turn = self._turn([{"role": "system", "content": system}, *_latest(history, room - count_tokens(system))])
            history.append({"role": "assistant", "content": " ".join(turn.answers)})
            held.turns.append(turn)
            say(f"{dialogue.name} (bare): {scripted.user[:60]!r} -> {' '.join(turn.answers)[:100]!r}")
        return held

    def _turn(self, messages: list[dict[str, str]]) -> TurnResult:
        turn = TurnResult()
        start = time.perf_counter()
        body = {"model": self._model, "messages": messages, "temperature": 0, "max_tokens": _ANSWER_TOKENS}
        url = f"{self._recorder.base_url}/chat/completions"
        try:
            answer = post(url, body, self._headers)
            turn.answers = [str(answer["choices"][0]["message"]["content"] or "")]
        except urllib.error.HTTPError as error:
            turn.error = f"HTTP {error.code}"
        turn.seconds = time.perf_counter() - start
        turn.exchanges = [exchange.json() for exchange in self._recorder.take()]
        return turn


def post(url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
    """Post JSON to the recorder, and return the JSON of the answer."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **headers})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request) as response:
        return json.load(response)


def _latest(history: list[dict[str, str]], room: int) -> list[dict[str, str]]:
    """Return the latest messages that fit ``room`` tokens, beginning with one of the user; at least the last one."""
    first = len(history) - 1
    used = 0
    for position in range(len(history) - 1, -1, -1):
        used += count_tokens(history[position]["content"]) + _OVERHEAD
        if used > room:
            break
        if history[position]["role"] == "user":
            first = position
    return history[first:]
