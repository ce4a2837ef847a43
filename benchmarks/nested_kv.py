"""Nested key-value retrieval, after the MemGPT paper (arXiv 2310.08560, 3.2.2), through the three services.

140 pairs of UUIDs lie in the passages of a source. A value may be the key of another pair: the agent is given a key
and must follow it to the value that is not a key, over as many further pairs as the level says. There are 30 orderings
of the pairs; each contains a chain for every level. An answer is right if its last UUID is the value sought.

The model is a policy at an OpenAI-compatible endpoint: a function of only the messages of one request. It keeps no
state and knows no pairs. Its window of 8,192 tokens holds less than half of the pairs, so it must work after evictions.
It searches archival memory, requests the next page while the total says that there is one, follows a value that is a
key, and answers when it has read to the end and found no such key.

**Where paging is needed.** A search for the literal key finds its pair at once if the store ranks by keywords, and
usually if it ranks only by similarity, since the embedding model sees the pieces of a UUID. That curve is *searches for
the key*: it reads further pages only to make sure that a value is not a key. The policy that tests paging, *reads the
list*, uses a query without the key: it requests the list of all pairs, whose order is unrelated to the key, so the pair
may be on any of seven pages. The controls use the same query, and must fail:

- *no paging* never requests a second page;
- *wrong totals* has a proxy between Agent and Memory that replaces the total with the length of the page, as the old
  system did, so the policy concludes that there is no other page;
- *one hop* answers with the first value.

*offline* is the built-in model. It quotes the text next to the key, and follows no values.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
from memgpt.agent.v1.agent_service_pb2 import CreateAgentRequest, SendMessageRequest
from memgpt.client import MemGPT
from memgpt.config import ServerSettings
from memgpt.memory.v1.archival_memory_service_pb2 import SearchPassagesResponse
from memgpt_runtime.server import server_options

from benchmarks.common import Options, Table, new_store, say, scratch
from tests.integration.memory.client import connected
from tests.support.processes import ServiceProcess, open_channel
from tests.support.scripted_llm import Completion, Request, ScriptedLLM, call
from tests.support.scripted_llm import say as speak
from tests.support.suite import Suite

PAIRS = 140
LEVELS = range(5)
ORDERINGS = 30

PAIRS_A_PASSAGE = 4
"""Pairs per passage, about as many as fit into one of the Loader's. So 140 pairs are 35 passages on seven pages."""

CONTROL_MOST = 40.0
"""Maximum accuracy in percent of a control that sees one page of seven. The expected value is 14 at level 0, then 2."""

_CLIENTS = 8
_MAX_STEPS = 200
"""Maximum steps of a turn. The longest search here takes 43."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PAIR = re.compile(rf"key ({_UUID.pattern}), value ({_UUID.pattern})")
_PAGE = re.compile(r"\(page (\d+)/(\d+)\)")
_LIST = "the list of all keys and their values"


# The pairs.


@dataclass(frozen=True, slots=True)
class Ordering:
    """Ordered pairs, and for each level the key to ask for and the value to find."""

    passages: list[str]
    questions: dict[int, tuple[str, str]]


def ordering(seed: int, levels: Sequence[int] = LEVELS, pairs: int = PAIRS) -> Ordering:
    """Return an ordering, always the same for a seed."""
    source = random.Random(seed)

    def fresh() -> str:
        return str(UUID(int=source.getrandbits(128), version=4))

    made: list[tuple[str, str]] = []
    questions = {}
    for level in levels:
        chain = [fresh() for _ in range(level + 2)]
        made += pairwise(chain)
        questions[level] = (chain[0], chain[-1])
    made += [(fresh(), fresh()) for _ in range(pairs - len(made))]
    source.shuffle(made)
    lines = [f"key {key}, value {value}" for key, value in made]
    passages = ["\n".join(lines[start : start + PAIRS_A_PASSAGE]) for start in range(0, pairs, PAIRS_A_PASSAGE)]
    return Ordering(passages, questions)


def question(key: str) -> str:
    """Return the question for the agent."""
    return (
        f"Which value belongs to the key {key}? If that value is a key as well, look for the value of that one, and so"
        " on. Answer with the value that is no key."
    )


def is_right(answer: str, value: str) -> bool:
    """Whether an answer names the value, and no UUID after it."""
    return _UUID.findall(answer)[-1:] == [value]


# The policies.


@dataclass(frozen=True, slots=True)
class Policy:
    """The decision policy of the scripted model.

    Attributes:
        by_key: Whether to search for the key instead of the list of all pairs.
        pages: Whether to request further pages.
        hops: Whether to follow values that are keys.
    """

    by_key: bool = False
    pages: bool = True
    hops: bool = True

    def decide(self, messages: Sequence[Mapping[str, Any]]) -> Completion:
        """Return the next call, based only on the request's messages."""
        key, result = _last_search(messages)
        if result is None:
            return self._search(key, 0)
        value = dict(_PAIR.findall(result)).get(key)
        if value is not None:
            return self._search(value, 0) if self.hops else _answer(value)
        place = _PAGE.search(result)
        page, last = map(int, place.groups()) if place else (0, 0)
        return self._search(key, page + 1) if self.pages and page < last else _answer(key)

    def _search(self, key: str, page: int) -> Completion:
        query = key if self.by_key else _LIST
        return call("archival_memory_search", thought=f"I look for {key}.", query=query, page=page)


def _answer(value: str) -> Completion:
    return call("send_message", thought="It is no key.", message=value)


def _last_search(messages: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
    """Return the key and the result of the last search; before the first search, the question's key and None."""
    result = None
    for message in reversed(messages):
        content = str(message.get("content") or "")
        if message["role"] == "tool":
            result = content
        elif message["role"] == "assistant" and result is not None:
            made = message["tool_calls"][0]["function"]
            if made["name"] == "archival_memory_search":
                return _UUID.findall(made["arguments"])[-1], result
        elif message["role"] == "user" and any('"user_message"' in line for line in content.splitlines()):
            return _UUID.findall(content)[0], None
    raise ValueError("neither a question nor a search is in sight")


POLICIES = {
    "reads the list": Policy(),
    "searches for the key": Policy(by_key=True),
    "no paging": Policy(pages=False),
    "one hop": Policy(hops=False),
}
"""Policies by the name of the model that an agent uses."""

_WRONG, _OFFLINE = "wrong totals", "offline"
CONTENDERS = (*POLICIES, _WRONG, _OFFLINE)


def _reply(request: Request) -> Completion:
    if not request.functions:
        return speak("I follow keys to their values.")  # the summary of what was evicted
    return POLICIES[request.json["model"]].decide(request.messages)


# The proxy of the control "wrong totals".


class _Forward(grpc.GenericRpcHandler):
    """Forwards every call unchanged, except for the total of a search, which it falsifies."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of any method; on the wire, a unary call is a streaming call with one message."""
        method = details.method
        ask: Any = self._channel.stream_stream(method)

        async def forward(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            answers = ask(
                requests,
                timeout=context.time_remaining(),
                metadata=[pair for pair in context.invocation_metadata() if not pair[0].startswith(("grpc-", "user-"))],
            )
            try:
                async for response in answers:
                    yield _with_its_own_length(response) if method.endswith("/SearchPassages") else response
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details(), tuple(error.trailing_metadata()))

        return grpc.stream_stream_rpc_method_handler(forward)


def _with_its_own_length(response: bytes) -> bytes:
    page = SearchPassagesResponse.FromString(response)
    page.total_size = len(page.hits)
    return page.SerializeToString()


@asynccontextmanager
async def wrong_totals(memory_address: str) -> AsyncIterator[str]:
    """Run a Memory proxy that falsifies totals, and yield its address."""
    async with open_channel(memory_address) as channel:
        server = grpc.aio.server(handlers=[_Forward(channel)], options=server_options(ServerSettings()))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)


# The experiment.


@dataclass(frozen=True, slots=True)
class Score:
    """The number of right answers of a contender at a level, and its cost."""

    asked: int
    right: int
    steps: int

    @property
    def accuracy(self) -> float:
        """Accuracy in percent."""
        return 100 * self.right / self.asked


Scores = dict[str, dict[int, Score]]
"""Scores by contender and level."""


async def experiment(
    home: Path,
    memory_uri: str,
    *,
    orderings: int = ORDERINGS,
    levels: Sequence[int] = LEVELS,
    pairs: int = PAIRS,
    contenders: Sequence[str] = CONTENDERS,
) -> Scores:
    """Ask every contender for the end of every chain.

    Args:
        home: Folder for the services.
        memory_uri: URI of an empty store.
        orderings: Number of orderings.
        levels: The levels to run.
        pairs: Number of pairs in an ordering.
        contenders: Names among `CONTENDERS`.
    """
    made = [ordering(seed, levels, pairs) for seed in range(orderings)]
    asked: Counter[tuple[str, int]] = Counter()
    right: Counter[tuple[str, int]] = Counter()
    steps: Counter[tuple[str, int]] = Counter()
    async with AsyncExitStack() as stack:
        model = stack.enter_context(ScriptedLLM(_reply))
        settings = {
            "MEMGPT_MEMORY_URI": memory_uri,
            "MEMGPT_AGENT_MODEL": model.model,
            "MEMGPT_AGENT_BASE_URL": model.base_url,
            "MEMGPT_AGENT_MODE": "tools",
        }
        suite = stack.enter_context(Suite(home, **settings))
        proxy = await stack.enter_async_context(wrong_totals(suite.memory_address))
        deceived = ServiceProcess("memgpt_agent", home, MEMGPT_AGENT_MEMORY_ADDRESS=proxy, **settings)
        stack.callback(deceived.close)
        honest = stack.enter_context(suite.client())
        other = stack.enter_context(MemGPT(await asyncio.to_thread(deceived.wait_ready), suite.loader_address))
        memory = await stack.enter_async_context(connected(suite.memory_address))
        sources = []
        for one in made:
            source = (await memory.source()).source_id
            await memory.load(source, "pairs", one.passages)
            sources.append(source)

        def ask(contender: str, place: int, level: int) -> None:
            memgpt = other if contender == _WRONG else honest
            model_name = "reads the list" if contender == _WRONG else contender
            agent = memgpt.agents.create(CreateAgentRequest(model=model_name)).agent_id
            memgpt.agents.attach(agent, sources[place])
            key, value = made[place].questions[level]
            answer = ""
            for event in memgpt.agents.send(
                SendMessageRequest(agent_id=agent, text=question(key), max_steps=_MAX_STEPS)
            ):
                if event.HasField("message"):
                    answer = event.message.text
                elif event.HasField("done"):
                    steps[contender, level] += event.done.steps
            asked[contender, level] += 1
            right[contender, level] += is_right(answer, value)

        clients = asyncio.Semaphore(_CLIENTS)

        async def client(*what: Any) -> None:
            async with clients:
                await asyncio.to_thread(ask, *what)

        for contender in contenders:
            say(f"nested_kv: {contender}")
            await asyncio.gather(*(client(contender, place, level) for place in range(orderings) for level in levels))
    return {
        name: {level: Score(asked[name, level], right[name, level], steps[name, level]) for level in levels}
        for name in contenders
    }


async def run(options: Options) -> Table:
    """Run the paper's experiment, and plot it if requested."""
    pairs = options.passages or PAIRS
    table = Table(f"nested_kv: {pairs} pairs of UUIDs, levels 0 to 4, {options.times(ORDERINGS)} orderings")
    with scratch() as home:
        found = await experiment(
            home, new_store(options, home / "memory"), orderings=options.times(ORDERINGS), pairs=pairs
        )
    for name, by_level in found.items():
        for level, score in by_level.items():
            table.add(f"{name}, level {level}", "%", score.accuracy, **_bar(name, level))
        steps, asked = (sum(getattr(one, what) for one in by_level.values()) for what in ("steps", "asked"))
        table.notes.append(f"{name}: {steps / asked:.1f} steps a question")
    if options.plot:
        plot(found, options.plot, pairs)
        table.notes.append(f"plot: {options.plot}")
    return table


def _bar(name: str, level: int) -> dict[str, float]:
    if name in ("reads the list", "searches for the key"):
        return {"least": 100}
    if name == "one hop":
        return {"most": 0} if level else {"least": 100}
    return {"most": CONTROL_MOST} if name in ("no paging", _WRONG) else {}


def plot(found: Scores, path: Path, pairs: int) -> None:
    """Plot accuracy by level, like figure 7 of the paper; the file's extension selects the format (``.png``)."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    styles = {"reads the list": "o-", "searches for the key": "x:", _OFFLINE: "s-"}
    for name, by_level in found.items():
        levels = list(by_level)
        label = name if name in styles else f"{name} (control)"
        axes.plot(levels, [by_level[level].accuracy for level in levels], styles.get(name, ".--"), label=label)
    axes.set(xlabel="nesting levels", ylabel="right answers, %", xticks=levels, ylim=(-4, 104))
    axes.set_title(f"Nested key-value retrieval, {pairs} pairs")
    axes.legend(loc="center right", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
