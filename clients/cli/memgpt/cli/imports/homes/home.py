"""The folder ``~/.memgpt`` of MemGPT 0.1 to 0.3."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path

from memgpt.cli.errors import CliError
from memgpt.cli.imports.bounded import read_bytes
from memgpt.cli.imports.homes import v0_2, v0_3
from memgpt.cli.imports.homes.archival import chroma_rows, milvus_rows, sql_rows
from memgpt.cli.imports.homes.milvus_lite_file import lite_rows
from memgpt.cli.imports.homes.profiles import read_profiles
from memgpt.cli.imports.pieces import Contents
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.spool import spooled
from memgpt.cli.imports.sqlite_database import Database, open_database
from memgpt.cli.imports.wanted_sources import wanted_sources

_MAX_CONFIG = 1 << 20
_HERE = frozenset({"", "local", "chroma", "sqlite", "milvus"})
"""Types of archival storage that are read from files."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to take, and from where.

    Attributes:
        agent: Name of the only agent; empty for all.
        milvus: URI of the Milvus server with the archival memory; empty for the files in the home. A configuration file
            names one too, but a file must not make this program call an address.
        milvus_token: Credentials for that server.
        zone: Time zone of times without one.
    """

    agent: str = ""
    milvus: str = ""
    milvus_token: str = ""
    zone: tzinfo = UTC


@contextmanager
def open_home(home: Path, choice: Choice, report: Report) -> Iterator[Contents]:
    """Yield what a home holds; messages, notes and documents can be read while the context is open.

    Raises:
        CliError: The folder is not a MemGPT home, lacks the chosen agent, or has a damaged file.
    """
    if not home.is_dir():
        raise CliError(f"{home} is not a folder; give the home of MemGPT, such as ~/.memgpt")
    with ExitStack() as stack:
        stores = [
            partial(read, stack.enter_context(open_database(home / name)))
            for name, read in (
                ("sqlite.db", sql_rows),
                ("chroma/chroma.sqlite3", chroma_rows),
                ("milvus.db", lite_rows),
            )
            if _is_file(home / name)
        ]
        if choice.milvus:
            stores.append(partial(milvus_rows, choice.milvus, choice.milvus_token))
        spool = stack.enter_context(spooled())
        metadata = _metadata(stack, home)
        is_letta = metadata is not None and metadata.has("messages", "id", "agent_id")
        names_0_2 = v0_2.agent_names(home)
        counts = [v0_3.spool_archival(spool, store) + v0_2.spool_archival(spool, store, names_0_2) for store in stores]
        archival = spool.database(str(home))
        agents = v0_2.read_agents(home, archival, choice.zone, report)
        sources = v0_2.read_sources(home, report)
        if metadata is not None and metadata.has("agents", "id", "name", "state"):
            newer, loaded = v0_3.read_agents(metadata, archival, report)
            agents, sources = [*newer, *agents], [*loaded, *sources]
        agents = [agent for agent in agents if choice.agent in ("", agent.name)]
        if not agents:
            named = f' "{choice.agent}"' if choice.agent else ""
            hint = f"; Letta's are read with `memgpt import letta --sqlite {home / 'sqlite.db'}`" if is_letta else ""
            raise CliError(f"{home} has no agent{named} of MemGPT{hint}")
        yield Contents(
            agents=tuple(agents),
            sources=wanted_sources(sources, agents, report, only=bool(choice.agent)),
            profiles=tuple(read_profiles(home, metadata, report)),
            notices=tuple(_notices(home, choice, counts[-1] if choice.milvus else 0)),
        )


def _is_file(path: Path) -> bool:
    """Return whether a path is a file of the home, and not a link to one elsewhere."""
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


def _metadata(stack: ExitStack, home: Path) -> Database | None:
    if not _is_file(home / "sqlite.db"):
        return None
    return stack.enter_context(open_database(home / "sqlite.db"))


def _notices(home: Path, choice: Choice, served: int) -> Iterator[str]:
    """Yield what is not in the home, by its configuration. Keys, which it can hold too, are not read.

    Args:
        home: The home.
        choice: What to take.
        served: Number of rows on the Milvus server.
    """
    if choice.milvus and not served:
        yield f"{choice.milvus} has no archival memory of MemGPT; is it the right server and database?"
    path = home / "config"
    if not _is_file(path):
        return
    config = configparser.RawConfigParser(strict=False)
    try:
        config.read_string(read_bytes(path, _MAX_CONFIG).decode(errors="replace"))
    except configparser.Error:
        yield f"{path} cannot be read, so it is unknown whether some memory is stored elsewhere"
        return
    kind = config.get("archival_storage", "type", fallback="")
    uri = config.get("archival_storage", "uri", fallback="")
    if kind == "milvus" and uri.startswith("http") and not choice.milvus:
        yield "archival memory is on a Milvus server and is missing; --milvus URI reads it"
    elif kind not in _HERE or (kind == "chroma" and not (home / "chroma").is_dir()):
        yield f'archival memory is in "{kind}" outside the home and is missing'
    for section in ("recall_storage", "metadata_storage"):
        if config.get(section, "type", fallback="sqlite") not in ("sqlite", "local"):
            yield f"{section.replace('_', ' ')} is outside the home and is missing"
