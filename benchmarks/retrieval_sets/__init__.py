"""Data sets of retrieval with different characters, each built the same way on every machine.

``paper`` is a file of questions written for this project. The others are built by code: ``facts``, ``chats`` and
``chinese`` from templates in ``benchmarks/data/retrieval`` with the seed `SEED`, ``code`` from the installed numpy,
whose version the lock pins, and ``faq`` from the sources of Python's documentation, which must be on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.common import PAPER_SET
from benchmarks.retrieval import DataSet, read
from benchmarks.retrieval_sets.code import code
from benchmarks.retrieval_sets.faq import faq
from benchmarks.retrieval_sets.templates import chats, chinese, facts

SEED = 7


def data_sets(faq_folder: Path | None) -> Iterator[tuple[str, DataSet]]:
    """Build all data sets.

    Args:
        faq_folder: The folder ``faq`` of the sources of Python's documentation; None to leave that set out.
    """
    yield "paper", read(PAPER_SET)
    if faq_folder is not None:
        yield "faq", faq(faq_folder)
    yield "code", code(SEED)
    templates: tuple[Callable[[int], DataSet], ...] = (chats, facts, chinese)
    for build in templates:
        yield build.__name__, build(SEED)
