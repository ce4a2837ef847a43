"""The three services together: latency and rate of turns with two searches and an answer, sizes and start-up.

The model is scripted and responds at once, so the result is the suite's own cost: the time from sending the message to
the event ``done``, including services and sockets, minus the time that the same three requests to the model take with a
bare HTTP client in the same run. Documents are the sample paper, which the Loader loads. Windows have 32,768 tokens.

The baseline is the minimum work of a turn: four commits, two searches, and three calls of the model by `openai`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from http.client import HTTPConnection
from itertools import count, cycle, pairwise
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

from memgpt.agent.v1.agent_service_pb2 import CreateAgentRequest, SendMessageRequest
from memgpt.client import MemGPT, new_request_id
from memgpt.memory.v1.agent_state_service_pb2 import CommitStepRequest, Eviction
from openai import OpenAI

from benchmarks.common import (
    Options,
    PlainMilvus,
    Table,
    compare,
    megabytes,
    new_store,
    open_raw,
    processor_ms,
    queries,
    say,
    scratch,
    texts,
)
from tests.integration.memory.client import COMPLETED, connected, thought
from tests.support.scripted_llm import Completion, Request, ScriptedLLM, call
from tests.support.scripted_llm import say as speak
from tests.support.suite import PAPER, Suite

PASSAGES = 75
"""Passages in the raw store, about as many as the paper has."""

WINDOW = 32_768
TURNS = 6
"""Turns of one agent before its window has to be trimmed."""

OLD_AGENTS, HISTORY, NEW_HISTORY = 3, 5_000, 10
"""Number of agents with a long history, its messages, and those of a new agent. Both have as many in their window."""

AT_A_TIME = (8, 32)
MANY_AGENTS, MANY_TURNS = 50, 1_000

_FIND, _GREET = "Find: ", "Greet me."
_STARTS = 3
_COMMIT = 50
"""Messages of one step of a synthetic history."""


async def run(options: Options) -> Table:
    """Measure turns of new and old agents, concurrent turns, and the suite itself."""
    table = Table("turn: two searches and an answer, by a model that answers at once")
    model = _Model()
    with scratch() as home, ScriptedLLM(model.reply, keep_alive=True) as server:
        settings = {
            "MEMGPT_AGENT_MODEL": server.model,
            "MEMGPT_AGENT_BASE_URL": server.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_AGENT_CONTEXT_WINDOW": str(WINDOW),
        }
        raw = await open_raw(options, new_store(options, home / "raw"))
        raw.load("source", texts(PASSAGES))
        for name, part in (("turns", _turns), ("many", _many)):
            # Each part has its own store, so that the sizes are those of its turns.
            async with _turn_bench(home / name, MEMGPT_MEMORY_URI=new_store(options, home / name), **settings) as bench:
                bench.model, bench.url, bench.raw = model, server.base_url, raw
                await part(options, table, bench)
        raw.client.close()
        _start_ups(table, home, {"MEMGPT_MEMORY_URI": new_store(options, home / "empty"), **settings})
    return table


class _Model:
    """A scripted model that records its last three requests, and when it began to respond to the last one."""

    def __init__(self) -> None:
        self.last: deque[Request] = deque(maxlen=3)
        self.began = 0.0

    def reply(self, request: Request) -> Completion:
        """Return two searches and an answer, or just an answer, depending on the last message of the user."""
        self.last.append(request)
        made = _reply(request)
        self.began = time.perf_counter()
        return made


def _reply(request: Request) -> Completion:
    if not request.functions:
        return speak("We spoke of the paper.")  # the summary of evicted messages
    results = 0
    for message in reversed(request.messages):
        content = str(message["content"])
        if message["role"] == "tool":
            results += 1
        elif message["role"] == "user" and _FIND in content:
            query = content.partition(_FIND)[2][:80]
            if results < 2:
                return call("archival_memory_search", thought="I look there.", query=query, page=results)
            break
        elif message["role"] == "user" and _GREET in content:
            break
    return call("send_message", thought="I know enough.", message="This is what I found.")


class _TurnBench:
    """A suite with the paper loaded, and the baselines for its turns."""

    model: _Model
    url: str
    raw: PlainMilvus

    def __init__(self, suite: Suite, memgpt: MemGPT) -> None:
        self.suite = suite
        self.memgpt = memgpt
        self.queries = queries()
        self._source = memgpt.sources.find("paper").source_id
        self._http: HTTPConnection | None = None

    def agent(self) -> str:
        """Create an agent with `NEW_HISTORY` messages that can search the paper."""
        agent = self.memgpt.agents.create(CreateAgentRequest()).agent_id
        self.memgpt.agents.attach(agent, self._source)
        while self.memgpt.agents.get(agent).message_count < NEW_HISTORY - 1:
            self.turn(agent, _GREET)
        return agent

    async def old_agent(self, history: int) -> str:
        """Create an agent with a long history, whose last messages are in the window."""
        agent = await asyncio.to_thread(self.agent)
        made = [text[:300] for text in texts(_COMMIT, seed=3)]
        async with connected(self.suite.memory_address) as memory:
            grant = await memory.begin(agent, uuid4().hex, "Let us talk.")
            first = self.memgpt.agents.get(agent).message_count
            steps = [*range(first, history - NEW_HISTORY, _COMMIT), history - NEW_HISTORY, history]
            for step, (start, end) in enumerate(pairwise(steps), 1):
                last = end == history
                await memory.agents.CommitStep(
                    CommitStepRequest(
                        agent_id=agent,
                        lease=grant.lease,
                        step=step,
                        messages=[thought(text) for text in made[: end - start]],
                        eviction=Eviction(before_sequence=start, summary="We have talked.") if last else None,
                        outcome=COMPLETED if last else None,
                    )
                )
        return agent

    def bare(self) -> None:
        """Repeat the last three requests to the model with bare HTTP."""
        address = urlsplit(self.url)
        http = self._http = self._http or HTTPConnection(address.netloc)
        for request in tuple(self.model.last):
            body = json.dumps(request.json, ensure_ascii=False).encode()
            http.request("POST", f"{address.path}/chat/completions", body, {"Content-Type": "application/json"})
            answer = http.getresponse()
            assert answer.status == 200
            answer.read()

    def search(self, agent: str, *, deltas: bool = False) -> float:
        """Run a turn of three steps; return when its first piece of text arrived."""
        return self.turn(agent, _FIND + next(self.queries), deltas=deltas)

    def turn(self, agent: str, text: str, *, deltas: bool = False) -> float:
        """Run a turn; return when its first piece of text arrived."""
        first = 0.0
        spoke = False
        request = SendMessageRequest(agent_id=agent, text=text, request_id=new_request_id(), stream_deltas=deltas)
        for event in self.memgpt.agents.send(request):
            if not first and event.HasField("delta"):
                first = time.perf_counter()
            spoke = spoke or event.HasField("message")
        assert spoke, text
        return first


@asynccontextmanager
async def _turn_bench(home: Path, **settings: str) -> AsyncIterator[_TurnBench]:
    with Suite(home, **settings) as suite, suite.client() as memgpt:
        await asyncio.to_thread(suite.cli, "load", "directory", "--name", "paper", f"--input-files={PAPER}")
        yield _TurnBench(suite, memgpt)


# One turn.


async def _turns(options: Options, table: Table, on: _TurnBench) -> None:
    say("turn: making agents")
    history = HISTORY // 10 if options.quick else HISTORY
    turns = options.times(OLD_AGENTS * TURNS)
    agents = -(-turns // TURNS) + 1
    new = [on.agent() for _ in range(agents)]
    old = [await on.old_agent(history) for _ in range(agents)]
    for agent in (new.pop(), old.pop()):  # warm-up
        on.search(agent)
    news, olds = cycle(new), cycle(old)
    openai = OpenAI(base_url=on.url, api_key="none")
    numbers = count()

    def least(_: int) -> None:
        number = next(numbers)
        on.raw.commit("agent", 4 * number)
        for place, request in enumerate(tuple(on.model.last)):
            openai.chat.completions.create(**cast(Any, request.json)).close()
            if place < 2:
                on.raw.search("source", next(on.queries), "hybrid" if on.raw.full_text else "dense", limit=5)
            on.raw.commit("agent", 4 * number + 1 + place)

    say("turn: one at a time")
    times = await compare(
        turns,
        old=lambda _: on.search(next(olds)) and None,
        old_bare=lambda _: on.bare(),
        new=lambda _: on.search(next(news)) and None,
        new_bare=lambda _: on.bare(),
        raw=least,
    )
    lite = options.backend == "lite"
    net, old_net = times["new"] - times["new_bare"], times["old"] - times["old_bare"]
    table.add(f"turn of an agent with {NEW_HISTORY} messages", "ms", times["new"], times["raw"])
    table.add("that, less its bare HTTP", "ms", net, most=60 if lite else None)
    name = f"turn of one with {history:,}, less its bare HTTP"
    table.add(name, "ms", old_net, net, other_name=f"with {NEW_HISTORY}", most=1.2)
    table.notes.append(f"The model's three requests take a bare HTTP client {times['new_bare']:.1f} ms.")
    _first_tokens(options, table, on, openai)
    openai.close()


def _first_tokens(options: Options, table: Table, on: _TurnBench, openai: OpenAI) -> None:
    """Measure the time from the start of the model's response to its first text at the client."""
    say("turn: first tokens")
    ours, bare = [], []
    agent = on.agent()
    for _ in range(options.times(20)):
        # Greetings have a single request, so its start is the one recorded.
        ours.append(on.turn(agent, _GREET, deltas=True) - on.model.began)
        with openai.chat.completions.create(**cast(Any, on.model.last[-1].json)) as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    bare.append(time.perf_counter() - on.model.began)
                    break
    table.add(
        "first text after the model's own",
        "ms",
        1_000 * statistics.median(ours),
        1_000 * statistics.median(bare),
        other_name="openai",
    )


# Many.


async def _many(options: Options, table: Table, on: _TurnBench) -> None:
    lite = options.backend == "lite"
    for agents in AT_A_TIME:
        say(f"turn: {agents} agents at a time")
        made = _at_a_time(agents, agents, lambda _: on.agent())
        search = partial(_search, on, made)
        _at_a_time(agents, agents, search)  # warm-up
        turns = agents * options.times(TURNS - 1)
        start = time.perf_counter()
        _at_a_time(agents, turns, search)
        rate = turns / (time.perf_counter() - start)
        table.add(f"turns of {agents} agents at a time", "/s", rate, least=20 if lite else None)

    turns = options.times(MANY_TURNS)
    say(f"turn: {turns:,} turns")
    made = _at_a_time(8, MANY_AGENTS, lambda _: on.agent())
    processes = (on.suite.memory, on.suite.loader, on.suite.agent)
    worked = sum(processor_ms(process.popen.pid) for process in processes)
    sizes = []
    for _ in range(2):
        _at_a_time(8, turns // 2, partial(_search, on, made))
        sizes.append([megabytes(process.popen.pid) for process in processes])
    worked = sum(processor_ms(process.popen.pid) for process in processes) - worked
    table.add("processor time of the services for a turn", "ms", worked / turns)
    half, whole = (sum(size) for size in sizes)
    what = f"the three resident after {turns:,} turns over {MANY_AGENTS} agents"
    table.add(what, "MB", whole, most=900 if lite else None)
    table.add("what its second half has added", "%", 100 * (whole / half - 1), most=5)
    each_size = (f"{process.name} {size:.0f} MB" for process, size in zip(processes, sizes[1], strict=True))
    table.notes.append(f"Of these: {', '.join(each_size)}.")


def _search(on: _TurnBench, agents: list[str], place: int) -> None:
    on.search(agents[place % len(agents)])


def _at_a_time(threads: int, jobs: int, work: Any) -> list[Any]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(jobs)))


# The suite.


def _start_ups(table: Table, home: Path, settings: dict[str, str]) -> None:
    say("turn: starting the suite")
    taken = []
    for _ in range(_STARTS):
        start = time.perf_counter()
        with Suite(home, **settings) as suite:
            taken.append(time.perf_counter() - start)
            sizes = [megabytes(process.popen.pid) for process in (suite.memory, suite.loader, suite.agent)]
    table.add("start-up of the three services", "s", statistics.median(taken))
    table.add("the three resident at start", "MB", sum(sizes))
