"""Random interleavings of everything that changes archival and recall memory, against a brute-force oracle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from memgpt.memory.v1 import archival_memory_service_pb2 as pb
from memgpt.memory.v1 import message_pb2, passage_pb2, source_service_pb2
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt_memory.fulltext import query_words, words_of

from tests.integration.memory.client import Memory
from tests.integration.memory.oracle import TOLERANCE, score
from tests.integration.memory.test_paging import QUERY
from tests.support.processes import open_channel

TEXTS = ["ships at night", "a ship sails", "the harbour", "coffee and rain", "night", "the same", "the same", "山と海"]
FILES = ["a.txt", 'b "quoted".txt']
TAGS = ["red", 'bl"ue\\']
ALL = 1000
USER, ASSISTANT = message_pb2.ROLE_USER, message_pb2.ROLE_ASSISTANT
TEXT, SEMANTIC, HYBRID = recall_pb.RECALL_MODE_TEXT, recall_pb.RECALL_MODE_SEMANTIC, recall_pb.RECALL_MODE_HYBRID

sizes = st.integers(1, 12)
agents = st.integers(0, 1)
sources = st.integers(0, 2)
texts = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=30)


@dataclass(frozen=True)
class Item:
    """A passage, as the oracle knows it; `born` is the number of the operation that stored it."""

    text: str
    born: int
    tags: frozenset[str] = frozenset()
    source: int | None = None
    file: str = ""


@dataclass(frozen=True)
class Wanted:
    """A filter; `after` and `before` are numbers of operations, with the instants between them."""

    sources: frozenset[int] = frozenset()
    files: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    after: tuple[int, Timestamp] | None = None
    before: tuple[int, Timestamp] | None = None

    def takes(self, item: Item) -> bool:
        return (
            (not self.sources or item.source in self.sources)
            and (not self.files or item.file in self.files)
            and self.tags <= item.tags
            and (self.after is None or item.born > self.after[0])
            and (self.before is None or item.born <= self.before[0])
        )


@dataclass
class Walk:
    """A search on its way.

    Attributes:
        agent: Whose.
        fetch: Answers the ids of a page behind a token, the next token, and the total.
        token: Of the next page.
        rest: What is left of the ranking as it was at the first page's instant.
        alive: What no later change has taken away.
        total: As of the first page.
    """

    agent: int
    fetch: Callable[[str, int], tuple[list[str], str, int]]
    token: str
    rest: list[str]
    alive: set[str]
    total: int
    passed: set[str] = field(default_factory=set)

    def go_on(self, size: int) -> None:
        """Takes a page: what it leaves out must be gone, what it has must not."""
        ids, self.token, total = self.fetch(self.token, size)
        assert total == self.total, "a wrong total"
        assert len(ids) <= size
        for id_ in ids:
            assert id_ not in self.passed, "it came twice"
            assert id_ in self.alive, "it is not, or no longer, of this search"
            while self.rest and self.rest[0] != id_:
                assert self.rest.pop(0) not in self.alive, "something was left out, or came in another order"
            assert self.rest, "it came in another order"
            self.rest.pop(0)
            self.passed.add(id_)
        if not self.token:
            assert not set(self.rest) & self.alive, "something was left out"


class Memories(RuleBasedStateMachine):
    """Two agents, three sources, and searches of all kinds that go on while all of it changes."""

    memory: Memory
    run: Callable[[Awaitable[Any]], Any]

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[dict[str, Item]] = [{}, {}]
        self.documents: list[dict[str, dict[str, Item]]] = [{}, {}, {}]
        self.links: list[list[int]] = [[], []]
        self.messages: list[list[tuple[message_pb2.Role.ValueType, str]]] = [[], []]
        self.walks: list[Walk] = []
        self.operations = 0
        self.instants: list[tuple[int, Timestamp]] = []

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

    @rule(agent=agents, texts=texts, tags=st.sets(st.sampled_from(TAGS)))
    def insert(self, agent: int, texts: list[str], tags: set[str]) -> None:
        ids = self.run(self.client.insert(self.agents[agent], *texts, tags=sorted(tags)))
        born = self._operate()
        self.notes[agent].update((id_, Item(text, born, frozenset(tags))) for id_, text in zip(ids, texts, strict=True))

    @rule(agent=agents, places=st.sets(st.integers(0, 60), min_size=1, max_size=8))
    def delete(self, agent: int, places: set[int]) -> None:
        ids = [id_ for place, id_ in enumerate(self.notes[agent]) if place in places]
        if ids:
            assert self.run(self.client.delete(self.agents[agent], *ids)) == len(ids)
        for id_ in ids:
            del self.notes[agent][id_]
        self._gone(agent, ids)

    @rule(agent=agents, source=sources)
    def attach(self, agent: int, source: int) -> None:
        self.run(self.client.attach(self.agents[agent], self.sources[source]))
        if source not in self.links[agent]:
            self.links[agent].append(source)

    @rule(agent=agents, source=sources)
    def detach(self, agent: int, source: int) -> None:
        self.run(self.client.detach(self.agents[agent], self.sources[source]))
        if source in self.links[agent]:
            self.links[agent].remove(source)
            self._gone(agent, [id_ for file in self.documents[source].values() for id_ in file])

    @rule(source=sources, file=st.sampled_from(FILES), texts=texts)
    def load(self, source: int, file: str, texts: list[str]) -> None:
        answer = self.run(self.client.load(self.sources[source], file, texts))
        before = self.documents[source].get(file, {})
        assert answer.unchanged == ([item.text for item in before.values()] == texts)
        if answer.unchanged:
            return
        scope = pb.PassageScope(source_id=self.sources[source])
        request = pb.ListPassagesRequest(scope=scope, page_size=ALL)
        passages = self.run(self.client.archive.ListPassages(request)).passages
        own = [passage for passage in passages if passage.citation.file_name == file]
        assert [passage.text for passage in own] == texts
        self._gone(None, list(before))
        born = self._operate()
        self.documents[source][file] = {
            passage.passage_id: Item(passage.text, born, source=source, file=file) for passage in own
        }

    @rule(source=sources, file=st.sampled_from(FILES))
    def delete_file(self, source: int, file: str) -> None:
        request = source_service_pb2.DeleteFileRequest(source_id=self.sources[source], name=file)
        self.run(self.client.sources.DeleteFile(request))
        self._gone(None, list(self.documents[source].pop(file, {})))

    @rule(agent=agents, texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4))
    def talk(self, agent: int, texts: list[str]) -> None:
        self.run(self.client.turn(self.agents[agent], *texts))
        self.messages[agent] += [(ASSISTANT if place else USER, text) for place, text in enumerate(texts)]

    @rule(
        agent=agents,
        size=sizes,
        mode=st.sampled_from(passage_pb2.SearchMode.values()),
        sources=st.sets(sources, max_size=2),
        files=st.sets(st.sampled_from(FILES), max_size=1),
        tags=st.sets(st.sampled_from(TAGS), max_size=2),
        bounds=st.tuples(st.integers(0, 9), st.integers(0, 9)),
        filtered=st.sets(st.sampled_from(["sources", "files", "tags", "time"]), max_size=2),
    )
    def search(
        self,
        agent: int,
        size: int,
        mode: passage_pb2.SearchMode.ValueType,
        sources: set[int],
        files: set[str],
        tags: set[str],
        bounds: tuple[int, int],
        filtered: set[str],
    ) -> None:
        after = before = None
        if "time" in filtered and self.instants:
            after, before = sorted((self.instants[bound % len(self.instants)] for bound in bounds), key=lambda x: x[0])
        wanted = Wanted(
            frozenset(sources) if "sources" in filtered else frozenset(),
            frozenset(files) if "files" in filtered else frozenset(),
            frozenset(tags) if "tags" in filtered else frozenset(),
            after,
            before,
        )
        proto = pb.PassageFilter(
            source_ids=[self.sources[source] for source in wanted.sources],
            file_names=sorted(wanted.files),
            tags=sorted(wanted.tags),
            created_from=after[1] if after else None,
            created_before=before[1] if before else None,
        )

        def page(token: str, size: int) -> pb.SearchPassagesResponse:
            found: pb.SearchPassagesResponse = self.run(
                self.client.page(QUERY, size=size, token=token, agent_id=self.agents[agent], mode=mode, filter=proto)
            )
            return found

        def fetch(token: str, size: int) -> tuple[list[str], str, int]:
            found = page(token, size)
            return [hit.passage.passage_id for hit in found.hits], found.next_page_token, found.total_size

        whole = page("", ALL)
        expected = {id_: item for id_, item in self._seen(agent).items() if wanted.takes(item)}
        if whole.mode == passage_pb2.SEARCH_MODE_TEXT:
            words = set(query_words(QUERY))
            expected = {id_: item for id_, item in expected.items() if words & set(words_of(item.text))}
        for hit in whole.hits:
            item = expected.get(hit.passage.passage_id)
            assert item is not None, "a passage that is not of this search"
            assert hit.passage.text == item.text
            assert set(hit.passage.tags) == item.tags
            assert hit.passage.citation.file_name == item.file
        assert [hit.rank for hit in whole.hits] == list(range(len(whole.hits)))
        self._check_order(whole)
        self._begin(agent, whole.total_size, [hit.passage.passage_id for hit in whole.hits], set(expected), fetch, size)

    @rule(
        agent=agents,
        size=sizes,
        mode=st.sampled_from([TEXT, SEMANTIC, HYBRID]),
        roles=st.sampled_from([(), (USER,), (ASSISTANT,)]),
    )
    def recall(
        self,
        agent: int,
        size: int,
        mode: recall_pb.RecallMode.ValueType,
        roles: tuple[message_pb2.Role.ValueType, ...],
    ) -> None:
        query = "night" if mode == TEXT else QUERY

        def page(token: str, size: int) -> recall_pb.SearchMessagesResponse:
            request = recall_pb.SearchMessagesRequest(
                agent_id=self.agents[agent], query=query, mode=mode, roles=roles, page_token=token, page_size=size
            )
            found: recall_pb.SearchMessagesResponse = self.run(self.client.recall.SearchMessages(request))
            return found

        def fetch(token: str, size: int) -> tuple[list[str], str, int]:
            found = page(token, size)
            return [message.message_id for message in found.messages], found.next_page_token, found.total_size

        whole = page("", ALL)
        said = self.messages[agent]
        expected = [
            place
            for place in reversed(range(len(said)))
            if said[place][0] in (roles or (USER, ASSISTANT)) and (mode != TEXT or query in said[place][1])
        ]
        places = [message.sequence for message in whole.messages]
        assert [message.text for message in whole.messages] == [said[place][1] for place in places]
        assert places == expected if mode == TEXT else sorted(places, reverse=True) == expected
        if whole.mode == SEMANTIC:
            for one, other in pairwise(places):
                assert score(QUERY, said[one][1]) - score(QUERY, said[other][1]) > -TOLERANCE
        ids = [message.message_id for message in whole.messages]
        self._begin(agent, whole.total_size, ids, set(ids), fetch, size)

    @rule(number=st.integers(0, 20), size=sizes)
    def go_on(self, number: int, size: int) -> None:
        if self.walks:
            walk = self.walks[number % len(self.walks)]
            walk.go_on(size)
            if not walk.token:
                self.walks.remove(walk)

    @invariant()
    def counts_are_true(self) -> None:
        if hasattr(self, "agents"):
            for agent in range(2):
                context = self.run(self.client.context(self.agents[agent]))
                assert context.archival_count == len(self._seen(agent))
                assert context.agent.message_count == len(self.messages[agent])

    def teardown(self) -> None:
        for walk in self.walks:
            while walk.token:
                walk.go_on(50)

    def _operate(self) -> int:
        """The number of an operation that has just stored something; then comes an instant of its own."""
        self.operations += 1
        instant = Timestamp()
        instant.GetCurrentTime()
        self.instants.append((self.operations, instant))
        return self.operations

    def _seen(self, agent: int) -> dict[str, Item]:
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
                walk.alive -= set(ids)

    def _begin(
        self,
        agent: int,
        total: int,
        ranking: list[str],
        expected: set[str],
        fetch: Callable[[str, int], tuple[list[str], str, int]],
        size: int,
    ) -> None:
        """Checks a whole ranking, and begins to walk through it page by page."""
        assert len(ranking) == len(set(ranking)), "it came twice"
        assert set(ranking) == expected, (len(ranking), len(expected))
        assert total == len(expected), "a wrong total"
        walk = Walk(agent, fetch, "", ranking, expected, total)
        walk.go_on(size)
        assert len(walk.passed) == min(size, total)
        if walk.token:
            self.walks.append(walk)

    def _check_order(self, whole: pb.SearchPassagesResponse) -> None:
        """Asserts that hits come by their scores: fused or by words in the head, and by similarity behind it."""
        for one, other in pairwise(whole.hits):
            if whole.mode == passage_pb2.SEARCH_MODE_TEXT:
                assert one.text_score >= other.text_score
            elif other.HasField("fused_score"):
                assert one.fused_score >= other.fused_score
            elif not one.HasField("fused_score"):
                assert one.dense_score >= other.dense_score
                assert score(QUERY, one.passage.text) - score(QUERY, other.passage.text) > -TOLERANCE


@contextmanager
def machine(address: str) -> Iterator[type[Memories]]:
    """The state machine for a server; hypothesis is synchronous, so it has an event loop of its own."""
    with asyncio.Runner() as runner:

        async def connect() -> Memory:
            return Memory(open_channel(address), "unused", address)

        memory = runner.run(connect())

        async def wait(work: Awaitable[Any]) -> Any:
            return await work

        class Connected(Memories):
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


def test_memory_is_as_the_oracle_says_on_lite(lite_process: str, examples: int) -> None:
    explore(lite_process, examples or 15, steps=30)


@pytest.mark.milvus_server
def test_memory_is_as_the_oracle_says_on_a_server(server_process: str, examples: int) -> None:
    explore(server_process, examples or 3, steps=25)
