"""Shared code of the benchmarks: figures and tables, timing, texts, and a Memory process next to plain pymilvus.

Contenders take turns within every repetition, and the median over the repetitions is reported, so that other load on
the machine affects both equally.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

# Also applies to raw pymilvus: Milvus Lite reads it when it is imported, and a large memtable is slow to search.
os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", str(4 << 20))

import numpy as np
import structlog
import wordllama
from memgpt.memory.v1.passage_pb2 import SEARCH_MODE_DENSE, SEARCH_MODE_HYBRID, SEARCH_MODE_TEXT
from memgpt_memory.embedding import WORDLLAMA, Vectors
from memgpt_memory.fulltext import query_words, words_of
from memgpt_memory.passages import document_row
from memgpt_memory.ranking import HEAD, Scored, fuse
from memgpt_memory.store.expressions import render
from memgpt_memory.store.filters import OneOf
from memgpt_memory.store.layout import MESSAGES, RECORDS, SPARSE, WORDS, Collection, partition_of, passages
from memgpt_memory.store.mapping import columns_of
from memgpt_memory.store.rows import PassageRow
from memgpt_memory.store.server.store import ServerStore
from pymilvus import MilvusClient

from tests.integration.memory.client import Memory, batch, connected, finish, header, version
from tests.support.milvus_server import MilvusServer
from tests.support.processes import ServiceProcess

DATA = Path(__file__).parent / "data"
PAPER_SET = DATA / "memgpt_paper.jsonl"

DIMENSION = 256
"""Dimension of the bundled embedding model."""

PASSAGE_CHARS = 1_000
"""Characters of a synthetic passage, about as many as the Loader's passages of English prose have."""

BATCH = 256
"""Passages per message, as the Loader sends them; raw pymilvus writes as many at a time."""

MAX_MATCHES = 16_384
"""Maximum rows that one search on a server returns."""

MODES = {"dense": SEARCH_MODE_DENSE, "hybrid": SEARCH_MODE_HYBRID, "text": SEARCH_MODE_TEXT}

_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a run.

    Attributes:
        backend: ``lite`` or ``server``.
        quick: Whether to use little data and few repetitions, to check that everything works.
        passages: Number of passages; None for the benchmark's own number.
        server_uri: URI of the Milvus server, for the backend ``server``.
        plot: File for the plot of a benchmark that draws one; None for no plot.
    """

    backend: str = "lite"
    quick: bool = False
    passages: int | None = None
    server_uri: str = ""
    plot: Path | None = None

    def size(self, full: int) -> int:
        """Return the number of passages; `full` is the benchmark's own number."""
        return self.passages or (max(full // 10, 100) if self.quick else full)

    def times(self, full: int) -> int:
        """Return the number of repetitions; `full` is the benchmark's own number."""
        return max(full // 5, 2) if self.quick else full


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of a table.

    Attributes:
        what: What was measured.
        unit: ``ms``, ``/s``, ``MB`` and the like.
        ours: The measured value.
        other: The value that it is compared with; None if there is none.
        other_name: Name of the other contender.
        most: Upper bound of `ours`, in multiples of `other`, or in `unit` if there is no `other`.
        least: Lower bound of `ours`, likewise.
    """

    what: str
    unit: str
    ours: float
    other: float | None = None
    other_name: str = "raw"
    most: float | None = None
    least: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ratio of `ours` to `other`."""
        return self.ours / self.other if self.other else None

    @property
    def bar(self) -> str:
        """The bounds in words; empty if there are none."""
        unit = self.unit if self.other is None else f"x {self.other_name}"
        signs = (("<=", self.most), (">=", self.least))
        return ", ".join(f"{sign} {limit:g} {unit}" for sign, limit in signs if limit is not None)

    @property
    def met(self) -> bool | None:
        """Whether it is within its bounds; None if there are none."""
        if self.most is None and self.least is None:
            return None
        value = self.ours if self.ratio is None else self.ratio
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(slots=True)
class Table:
    """The results of a benchmark."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, unit: str, ours: float, other: float | None = None, **more: Any) -> None:
        """Add a line; see `Figure`."""
        self.figures.append(Figure(what, unit, ours, other, **more))

    def text(self) -> str:
        """Format the table for people."""
        rows = [("", "ours", "beside", "ratio", "bar", "")]
        for one in self.figures:
            beside = "" if one.other is None else f"{_number(one.other)} {one.unit} ({one.other_name})"
            ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
            verdict = {None: "", True: "met", False: "MISSED"}[one.met]
            rows.append((one.what, f"{_number(one.ours)} {one.unit}", beside, ratio, one.bar, verdict))
        return "\n".join([self.title, *aligned(rows), *(f"  {note}" for note in self.notes)])

    def json(self) -> dict[str, Any]:
        """Return the table as JSON."""
        figures = [
            {"what": one.what, "unit": one.unit, "ours": one.ours, "other": one.other, "other_name": one.other_name}
            | {"ratio": one.ratio, "most": one.most, "least": one.least, "bar": one.bar, "met": one.met}
            for one in self.figures
        ]
        return {"title": self.title, "figures": figures, "notes": self.notes}


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of an aligned table; all columns but the first are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def quiet() -> None:
    """Silence libraries, since Lite's server runs within this process."""
    logging.getLogger().setLevel(logging.WARNING)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.getLogger("grpc").setLevel(logging.CRITICAL)  # Lite does not implement all requests of pymilvus


def say(text: str) -> None:
    """Print a progress message."""
    print(text, file=sys.stderr, flush=True)


async def compare(repetitions: int, **contenders: Callable[[int], object]) -> dict[str, float]:
    """Run each contender once in every repetition, in changing order.

    Args:
        repetitions: Number of repetitions.
        contenders: Functions to time, coroutine functions or not; they get the number of the repetition.

    Returns:
        The median time of each, in milliseconds.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for repetition in range(repetitions):
        for name in names if repetition % 2 else reversed(names):
            start = time.perf_counter()
            working = contenders[name](repetition)
            if inspect.isawaitable(working):
                await working
            taken[name].append(1_000 * (time.perf_counter() - start))
    return {name: statistics.median(times) for name, times in taken.items()}


# Texts: composed of the words of the paper by frequency, so that words are as common and as rare as in prose.


@cache
def _vocabulary() -> tuple[list[str], list[int]]:
    documents = [line for line in map(json.loads, PAPER_SET.read_text().splitlines()) if "text" in line]
    counts = Counter(word for line in documents for word in re.findall(r"[^\W\d_]+", line["text"]))
    return list(counts), list(counts.values())


def texts(count: int, seed: int = 1) -> list[str]:
    """Return synthetic passages, always the same for a seed."""
    words, weights = _vocabulary()
    source = random.Random(seed)
    made = []
    for _ in range(count):
        text = " ".join(source.choices(words, weights, k=PASSAGE_CHARS // 5))
        made.append(text[: text.rindex(" ", 0, PASSAGE_CHARS)])
    return made


def queries(seed: int = 1) -> Iterator[str]:
    """Yield distinct questions indefinitely: those about the paper, each with one more word."""
    asked = [line["query"] for line in map(json.loads, PAPER_SET.read_text().splitlines()) if "query" in line]
    words = random.Random(seed).sample(_vocabulary()[0], 1_000)
    return (f"{question} {word}" for word in words for question in asked)


@cache
def _model() -> Any:
    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True, dim=DIMENSION)


def embed(wanted: Sequence[str]) -> Vectors:
    """Return embeddings by the model that Memory uses."""
    return np.asarray(_model().embed(list(wanted), norm=True), dtype=np.float32)


_FIELDS = columns_of(PassageRow)


class PlainMilvus:
    """Plain pymilvus on its own store with Memory's collections, partitions and rows.

    Attributes:
        client: The pymilvus client.
        full_text: Whether the backend has BM25.
    """

    def __init__(self, client: MilvusClient, archive: Collection, *, server: bool) -> None:
        self.client = client
        self.full_text = archive.full_text
        self._passages = archive
        self._level = {"consistency_level": "Session"} if server else {}

    def load(self, owner: str, wanted: Sequence[str]) -> None:
        """Embed passages of a document and write them in batches."""
        file = uuid4().hex
        for start in range(0, len(wanted), BATCH):
            some = wanted[start : start + BATCH]
            rows = [
                asdict(document_row(owner, owner, owner, file, index, text, (1, 0, len(text)), stamp=1, created=1))
                | {self._passages.vector: vector.tolist()}
                | ({WORDS: " ".join(words_of(text))} if self.full_text else {})
                for index, (text, vector) in enumerate(zip(some, embed(some), strict=True), start)
            ]
            self.client.upsert(self._passages.name, rows, partition_name=partition_of(_TENANT, owner))

    def search(self, owner: str, query: str, mode: str, *, limit: int = 10, offset: int = 0) -> list[str]:
        """Return a page of texts. A hybrid search fuses the best `HEAD` by keywords and by similarity.

        A keyword ranking contains only passages that share a word with the query. No counter has their number, so a
        first page fetches all their ids.
        """
        if mode == "text":
            if not offset:
                self._words(owner, query, MAX_MATCHES, fields=[])
            return [hit["entity"]["text"] for hit in self._words(owner, query, limit, offset)]
        vector = embed([query])[0].tolist()
        if mode == "dense":
            return [hit["entity"]["text"] for hit in self._dense(owner, vector, limit, offset)]
        words = self._words(owner, query, HEAD)
        if offset:  # after the head comes the order of similarity, without the passages of the head
            return [hit["entity"]["text"] for hit in self._dense(owner, vector, limit, offset)]
        dense = self._dense(owner, vector, HEAD, 0)
        found = {hit["id"]: hit["entity"]["text"] for hit in (*dense, *words)}
        both = [[Scored(hit["id"], owner, abs(hit["distance"])) for hit in hits] for hits in (dense, words)]
        return [found[hit.id] for hit in fuse(*both)[:limit]]

    def upsert(self, collection: str, row: Mapping[str, Any], *more: Mapping[str, Any]) -> None:
        """Write rows."""
        self.client.upsert(collection, [dict(one) for one in (row, *more)])

    def commit(self, agent: str, number: int) -> None:
        """Write the minimum of a step: two messages, and then the agent's row."""
        filling = "x" * 600
        blank = {"agent": agent, "part": 0, "created": 1, "head": "{}", "none": [0.0, 0.0]}
        both = [{"id": f"{agent}-m{n}", "sequence": n, "text": filling, **blank} for n in (2 * number, 2 * number + 1)]
        self.upsert(MESSAGES.name, *both)
        self.put_record(agent, filling)

    def put_record(self, id_: str, body: str) -> None:
        """Write a record."""
        row = {"id": id_, "kind": "agent", "tenant": _TENANT, "parent": "", "created": 1, "body": body}
        self.upsert(RECORDS.name, {**row, "none": [0.0, 0.0]})

    def _dense(self, owner: str, vector: list[float], limit: int, offset: int) -> Any:
        return self._search(owner, vector, self._passages.vector, {"metric_type": "IP"}, limit, offset)

    def _words(self, owner: str, query: str, limit: int, offset: int = 0, fields: Sequence[str] = _FIELDS) -> Any:
        words = " ".join(query_words(query))
        return self._search(owner, words, SPARSE, {"metric_type": "BM25"}, limit, offset, fields)

    def _search(
        self,
        owner: str,
        data: Any,
        column: str,
        parameters: Any,
        limit: int,
        offset: int,
        fields: Sequence[str] = _FIELDS,
    ) -> Any:
        return self.client.search(
            self._passages.name,
            [data],
            anns_field=column,
            filter=render(OneOf("owner", [owner])),
            partition_names=[partition_of(_TENANT, owner)],
            limit=limit,
            offset=offset,
            output_fields=list(fields),
            search_params=parameters,
            **self._level,
        )[0]


class Bench:
    """A Memory process and plain pymilvus, each on its own empty store.

    Attributes:
        options: Options of the run.
        home: Folder of this benchmark; Memory's Lite file in it is ``memory.db``.
        raw: Plain pymilvus.
        process: The Memory process.
        memory: A client of the Memory process.
    """

    process: ServiceProcess
    memory: Memory

    def __init__(self, options: Options, home: Path, raw: PlainMilvus, settings: Mapping[str, str]) -> None:
        self.options = options
        self.home = home
        self.raw = raw
        self._settings = settings
        self._running = AsyncExitStack()

    @property
    def modes(self) -> list[str]:
        """Ranking modes of the backend."""
        return ["dense", "hybrid", "text"] if self.raw.full_text else ["dense"]

    @property
    def pid(self) -> int:
        """Id of the Memory process."""
        return self.process.popen.pid

    async def start(self) -> None:
        """Start Memory; a running one is stopped first."""
        await self.stop()
        self.process = ServiceProcess("memgpt_memory", self.home, **self._settings)
        self._running.callback(self.process.close)
        self.memory = await self._running.enter_async_context(connected(self.process.wait_ready(120)))

    async def stop(self) -> None:
        """Stop Memory gracefully."""
        if hasattr(self, "process") and self.process.popen.poll() is None:
            self.process.terminate()
        await self._running.aclose()

    async def source(self, wanted: Sequence[str]) -> str:
        """Create a source with these passages, sent as the Loader sends them, and return its id."""
        source_id: str = (await self.memory.source()).source_id
        await self.load(source_id, wanted)
        return source_id

    async def load(self, source_id: str, wanted: Sequence[str]) -> None:
        """Store a file in a source."""

        async def stream() -> AsyncIterator[Any]:
            yield header(source_id, version(uuid4().hex, wanted))
            for start in range(0, len(wanted), BATCH):
                yield batch(wanted[start : start + BATCH], start)
            yield finish(len(wanted))

        await self.memory.sources.UpsertPassages(stream())

    async def search(self, query: str, mode: str, **fields: Any) -> Any:
        """Return a page of ten hits; the fields are those of the request."""
        fields.setdefault("size", 10)
        return await self.memory.page(query, mode=MODES[mode], **fields)


@asynccontextmanager
async def bench(options: Options, **settings: str) -> AsyncIterator[Bench]:
    """Start both on new stores; `settings` are those of Memory."""
    with scratch() as home:
        ours, theirs = (new_store(options, home / name) for name in ("memory", "raw"))
        raw = await open_raw(options, theirs)
        one = Bench(options, home, raw, {"MEMGPT_MEMORY_URI": ours, "MEMGPT_MEMORY_TIMEOUT": "60", **settings})
        try:
            await one.start()
            yield one
        finally:
            await one.stop()
            raw.client.close()


async def open_raw(options: Options, uri: str) -> PlainMilvus:
    """Open plain pymilvus; Memory's adapter for servers creates the collections, on Milvus Lite too."""
    store = ServerStore(uri, token="", timeout=60, observe=lambda *_: None)
    await store.open([RECORDS, MESSAGES])
    full_text = store.capabilities.full_text or options.backend == "lite"
    archive = passages(WORDLLAMA, DIMENSION, full_text=full_text)
    await store.open([archive])
    await store.close()
    client = MilvusClient(uri, timeout=60)
    for collection in (RECORDS, MESSAGES, archive):
        client.load_collection(collection.name)
    return PlainMilvus(client, archive, server=options.backend == "server")


def new_store(options: Options, path: Path) -> str:
    """Return the URI of an empty store: a file at `path`, or a database of the server."""
    if options.backend == "lite":
        return f"{path}.db"
    name = f"{path.name}_{uuid4().hex}"
    client = MilvusClient(options.server_uri, timeout=60)
    client.create_database(name)
    client.close()
    return f"{options.server_uri}/{name}"


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="memgpt-benchmark-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def milvus_server() -> Iterator[str]:
    """Run a Milvus server, and yield its URI."""
    with scratch() as folder:
        server = MilvusServer(folder / "server")
        try:
            server.start()
            server.wait_ready()
            yield server.uri
        finally:
            server.stop()


def megabytes(pid: int, kind: str = "VmRSS") -> float:
    """Return the resident size of a process in MB, or its peak with ``VmHWM``."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"{kind}:\s+(\d+) kB", status)[0]) / 1024


def processor_ms(pid: int) -> float:
    """Return the processor time of a process in milliseconds, which other load on the machine affects less."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1_000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # man 5 proc: utime, stime


def take(source: Iterator[str], count: int) -> list[str]:
    """Return the next item of an endless sequence."""
    return list(islice(source, count))
