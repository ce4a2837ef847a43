"""The three services together: a turn with two searches and an answer, start-up, resident sizes.

The model is scripted and answers at once, so what counts is the suite's own cost. Raw, a turn is what it must do at the
least: four commits, two searches, three calls of the model.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from itertools import count
from pathlib import Path

from memgpt.agent.v1.agent_service_pb2 import CreateAgentRequest, SendMessageRequest
from memgpt.client import MemGPT, new_request_id
from openai import OpenAI

from benchmarks.common import Options, Raw, Table, compare, megabytes, new_store, open_raw, queries, say, scratch, texts
from tests.integration.memory.client import connected
from tests.support.scripted_llm import Completion, Request, ScriptedLLM, call
from tests.support.suite import Suite

AGENTS = 8
PASSAGES = 1_000
"""Of the source that every agent has."""

HISTORY = 500
"""Messages of an old agent."""

_FIND, _GREET = "Find: ", "Greet me."
_STARTS = 3


async def run(options: Options) -> Table:
    """Turns of a new agent and of an old one, eight agents at a time, and the suite itself."""
    table = Table("turn: two searches and an answer, by a model that answers at once")
    with scratch() as home, ScriptedLLM(_reply) as model:
        settings = {
            "MEMGPT_MEMORY_URI": new_store(options, home / "memory"),
            "MEMGPT_AGENT_MODEL": model.model,
            "MEMGPT_AGENT_BASE_URL": model.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_AGENT_CONTEXT_WINDOW": "1000000",
        }
        raw = await open_raw(options, new_store(options, home / "raw"))
        wanted = texts(PASSAGES)
        raw.load("source", wanted)
        with Suite(home, **settings) as suite:
            await _turns(options, table, suite, raw, model, wanted)
            _sizes(table, suite)
        _start_ups(table, home, settings)
        raw.client.close()
    return table


async def _turns(options: Options, table: Table, suite: Suite, raw: Raw, model: ScriptedLLM, wanted: list[str]) -> None:
    say("turn: storing passages, making agents")
    openai = OpenAI(base_url=model.base_url, api_key="none")
    asked, numbers = queries(), count()

    def least(_: int) -> None:
        number = next(numbers)
        raw.commit("agent", 4 * number)
        for place in range(3):
            message = {"role": "user", "content": f"{_FIND}something"}
            openai.chat.completions.create(model=model.model, messages=[message])  # type: ignore[list-item]
            if place < 2:
                raw.search("source", next(asked), "hybrid" if raw.full_text else "dense", limit=5)
            raw.commit("agent", 4 * number + 1 + place)

    with suite.client() as memgpt:
        agents = [memgpt.agents.create(CreateAgentRequest()).agent_id for _ in range(AGENTS + 1)]
        async with connected(suite.memory_address) as memory:
            source = (await memory.source()).source_id
            await memory.load(source, "file", wanted)
            for agent in agents:
                await memory.attach(agent, source)
        new, *others = agents
        for agent in (new, others[0]):  # nobody's first turn counts
            _turn(memgpt, agent, _FIND + next(asked))
        say("turn: turns")
        times = await compare(options.times(30), ours=lambda _: _turn(memgpt, new, _FIND + next(asked)), raw=least)
        table.add("turn of a new agent", "ms", times["ours"], times["raw"])

        rounds = []
        for _ in range(options.times(10)):
            start = time.perf_counter()
            await asyncio.gather(*(asyncio.to_thread(_turn, memgpt, agent, _FIND + next(asked)) for agent in others))
            rounds.append(AGENTS / (time.perf_counter() - start))
        table.add(f"turns of {AGENTS} agents at a time", "/s", statistics.median(rounds))

        say("turn: a long history")
        history = HISTORY // 5 if options.quick else HISTORY
        old = others[0]
        while memgpt.agents.get(old).message_count < history:
            _turn(memgpt, old, _GREET)
        times = await compare(options.times(30), old=lambda _: _turn(memgpt, old, _FIND + next(asked)))
        table.add(f"turn after {history} messages", "ms", times["old"])
    openai.close()


def _turn(memgpt: MemGPT, agent: str, text: str) -> None:
    request = SendMessageRequest(agent_id=agent, text=text, request_id=new_request_id())
    events = list(memgpt.agents.send(request))
    assert any(event.HasField("message") for event in events), events


def _reply(request: Request) -> Completion:
    """Two searches and an answer, or just an answer: as the last message of the user says."""
    results = 0
    for message in reversed(request.messages):
        content = str(message["content"])
        if message["role"] == "tool":
            results += 1
        elif message["role"] == "user" and _GREET in content:
            break
        elif message["role"] == "user" and _FIND in content:
            query = content.partition(_FIND)[2][:80]
            if results < 2:
                return call("archival_memory_search", thought="I look there.", query=query, page=results)
            break
    return call("send_message", thought="I know enough.", message="This is what I found.")


def _sizes(table: Table, suite: Suite) -> None:
    for process in (suite.memory, suite.loader, suite.agent):
        table.add(f"{process.name}: resident after the turns", "MB", megabytes(process.popen.pid))


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
