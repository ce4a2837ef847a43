"""Random interleavings of everything that changes archival memory, against a brute-force oracle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from memgpt.memory.v1 import archival_memory_service_pb2 as pb
from memgpt.memory.v1 import source_service_pb2

from tests.integration.memory.client import Memory
from tests.integration.memory.oracle import TOLERANCE, score
from tests.integration.memory.test_paging import QUERY
from tests.support.processes import open_channel

TEXTS = ["ships at night", "a ship sails", "the harbour", "coffee and rain", "night", "the same", "the same", "山と海"]
FILES = ["a.txt", 'b "quoted".txt']


@dataclass
class Walk:
    """A search on its way.

    Attributes:
        agent: Whose.
        token: Of the next page.
        ranking: The ids that the first page's instant had, best first, as the oracle counts them.
        alive: Those of them that no later change has taken away.
        found: What the pages have brought so far.
        total: As of the first page.
    """

    agent: int
    token: str
    alive: dict[str, str]
    found: list[str]
    total: int
    passed: set[str] = field(default_factory=set)


class Archive(RuleBasedStateMachine):
    """Two agents, three sources, and searches that go on while all of it changes."""

    memory: Memory
    run: Callable[[Awaitable[Any]], Any]

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[dict[str, str]] = [{}, {}]
        self.documents: list[dict[str, dict[str, str]]] = [{}, {}, {}]
        self.links: list[list[int]] = [[], []]
        self.walks: list[Walk] = []

    @initialize()
    def prepare(self) -> None:
        mine = self.memory.of(f"t{uuid4().hex}")
        self.client = mine

        async def make() -> tuple[list[str], list[str]]:
            return (
                [(await mine.agent()).agent_id for _ in range(2)],
                [(await mine.source()).source_id for _ in range(3)],
            )

        self.agents, self.sources = self.run(make())

    @rule(agent=st.integers(0, 1), texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=30))
    def insert(self, agent: int, texts: list[str]) -> None:
        ids = self.run(self.client.insert(self.agents[agent], *texts))
        self.notes[agent].update(zip(ids, texts, strict=True))

    @rule(agent=st.integers(0, 1), places=st.sets(st.integers(0, 60), min_size=1, max_size=8))
    def delete(self, agent: int, places: set[int]) -> None:
        ids = [id_ for place, id_ in enumerate(self.notes[agent]) if place in places]
        if ids:
            assert self.run(self.client.delete(self.agents[agent], *ids)) == len(ids)
        for id_ in ids:
            del self.notes[agent][id_]
        self._gone(agent, ids)

    @rule(agent=st.integers(0, 1), source=st.integers(0, 2))
    def attach(self, agent: int, source: int) -> None:
        self.run(self.client.attach(self.agents[agent], self.sources[source]))
        if source not in self.links[agent]:
            self.links[agent].append(source)

    @rule(agent=st.integers(0, 1), source=st.integers(0, 2))
    def detach(self, agent: int, source: int) -> None:
        self.run(self.client.detach(self.agents[agent], self.sources[source]))
        if source in self.links[agent]:
            self.links[agent].remove(source)
            self._gone(agent, [id_ for file in self.documents[source].values() for id_ in file])

    @rule(
        source=st.integers(0, 2),
        file=st.sampled_from(FILES),
        texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=30),
    )
    def load(self, source: int, file: str, texts: list[str]) -> None:
        answer = self.run(self.client.load(self.sources[source], file, texts))
        before = self.documents[source].get(file, {})
        assert answer.unchanged == (list(before.values()) == texts)
        if answer.unchanged:
            return
        scope = pb.PassageScope(source_id=self.sources[source])
        request = pb.ListPassagesRequest(scope=scope, page_size=1000)
        passages = self.run(self.client.archive.ListPassages(request)).passages
        own = [passage for passage in passages if passage.citation.file_name == file]
        assert [passage.text for passage in own] == texts
        self._gone(None, list(before))
        self.documents[source][file] = {passage.passage_id: passage.text for passage in own}

    @rule(source=st.integers(0, 2), file=st.sampled_from(FILES))
    def delete_file(self, source: int, file: str) -> None:
        request = source_service_pb2.DeleteFileRequest(source_id=self.sources[source], name=file)
        self.run(self.client.sources.DeleteFile(request))
        self._gone(None, list(self.documents[source].pop(file, {})))

    @rule(agent=st.integers(0, 1), size=st.integers(1, 12))
    def begin(self, agent: int, size: int) -> None:
        page = self.run(self.client.page(QUERY, size=size, agent_id=self.agents[agent]))
        expected = self._seen(agent)
        assert page.total_size == len(expected)
        assert len(page.hits) == min(size, len(expected))
        assert [hit.rank for hit in page.hits] == list(range(len(page.hits)))
        walk = Walk(agent, page.next_page_token, expected, [], len(expected))
        self._take(walk, page)
        if walk.token:
            self.walks.append(walk)

    @rule(number=st.integers(0, 20), size=st.integers(1, 12))
    def go_on(self, number: int, size: int) -> None:
        if not self.walks:
            return
        walk = self.walks[number % len(self.walks)]
        page = self.run(self.client.page(QUERY, size=size, token=walk.token, agent_id=self.agents[walk.agent]))
        assert page.total_size == walk.total
        assert len(page.hits) <= size
        self._take(walk, page)
        if not walk.token:
            self.walks.remove(walk)

    @invariant()
    def counts_are_true(self) -> None:
        if hasattr(self, "agents"):
            for agent in range(2):
                context = self.run(self.client.context(self.agents[agent]))
                assert context.archival_count == len(self._seen(agent))

    def teardown(self) -> None:
        for walk in list(self.walks):
            for _ in range(1000):
                if not walk.token:
                    break
                page = self.run(self.client.page(QUERY, size=50, token=walk.token, agent_id=self.agents[walk.agent]))
                self._take(walk, page)

    def _seen(self, agent: int) -> dict[str, str]:
        """What an agent can find now."""
        found = dict(self.notes[agent])
        for source in self.links[agent]:
            for file in self.documents[source].values():
                found |= file
        return found

    def _gone(self, agent: int | None, ids: list[str]) -> None:
        """What was deleted or detached vanishes from the searches of one agent, or of all."""
        for walk in self.walks:
            if agent is None or walk.agent == agent:
                walk.alive = {id_: text for id_, text in walk.alive.items() if id_ not in ids}

    def _take(self, walk: Walk, page: pb.SearchPassagesResponse) -> None:
        """Takes a page, and at the end of the walk asserts that nothing was left out."""
        for hit in page.hits:
            passage = hit.passage
            assert passage.passage_id in walk.alive, "a passage that is not, or no longer, of this search"
            assert passage.passage_id not in walk.passed, "a passage came twice"
            assert passage.text == walk.alive[passage.passage_id]
            if walk.found:
                last = walk.found[-1]
                better = score(QUERY, last) - score(QUERY, passage.text)
                assert better > -TOLERANCE, "a better passage came later"
            walk.found.append(passage.text)
            walk.passed.add(passage.passage_id)
        walk.token = page.next_page_token
        if not walk.token:
            missing = set(walk.alive) - walk.passed
            assert not missing, "a passage was left out"


@contextmanager
def machine(address: str) -> Iterator[type[Archive]]:
    """The state machine for a server; hypothesis is synchronous, so it has an event loop of its own."""
    with asyncio.Runner() as runner:

        async def connect() -> Memory:
            return Memory(open_channel(address), "unused", address)

        memory = runner.run(connect())

        async def wait(work: Awaitable[Any]) -> Any:
            return await work

        class Connected(Archive):
            pass

        Connected.memory = memory
        Connected.run = staticmethod(lambda work: runner.run(wait(work)))
        yield Connected
        runner.run(memory.channel.close())


def explore(address: str, examples: int, steps: int) -> None:
    with machine(address) as connected:
        run_state_machine_as_test(
            connected,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_archival_memory_is_as_the_oracle_says_on_lite(lite_process: str) -> None:
    explore(lite_process, examples=30, steps=30)


@pytest.mark.milvus_server
def test_archival_memory_is_as_the_oracle_says_on_a_server(server_process: str) -> None:
    explore(server_process, examples=3, steps=25)
