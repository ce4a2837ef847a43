"""The services for one command: configured, run by a `memgpt server`, or shared with other commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.services.children import Addresses
from memgpt.cli.services.dependencies import require_milvus
from memgpt.cli.services.windows import require_unix
from memgpt.cli.settings import ClientSettings
from memgpt.config import Config, config_path

if TYPE_CHECKING:
    from memgpt.client import MemGPT


_TURN_SECONDS = 30.0
"""Seconds for which a turn is resumed while the Agent does not respond: a person waits."""


def open_client(settings: ClientSettings, addresses: Addresses) -> MemGPT:
    """Return a client of services, with the configured TLS and credential."""
    from memgpt.client import MemGPT  # already imported by now: see `launch`

    return MemGPT(
        addresses.agent,
        addresses.loader,
        settings.credentials(),
        settings.token(),
        memory=addresses.memory,
        turn_seconds=_TURN_SECONDS,
        retry_seconds=settings.retry_seconds,
        allow_plaintext=settings.allow_plaintext,
    )


@contextmanager
def services(
    config: Config[ClientSettings], tell: Callable[[str], None], overrides: Mapping[str, str] | None = None
) -> Iterator[Addresses]:
    """Yield the services for one command.

    Args:
        config: Has the addresses of configured services, if any.
        tell: Receives messages for people while services are not ready.
        overrides: Settings for this command (`MEMGPT_AGENT_…`); they require services started here.

    Raises:
        CliError: The services did not start, or the overrides cannot be applied.
    """
    found: Addresses | None
    if config.service.agent_address:
        found = Addresses(config.service.agent_address, config.service.loader_address, config.service.memory_address)
    else:
        found = find_server(config)
    if found is None:
        require_unix()
        require_milvus()
        from memgpt.cli.services.sharing import shared  # not on Windows: it locks files and names pipes

        with shared(config, tell, overrides or {}) as addresses:
            yield addresses
        return
    if overrides:
        raise CliError(
            f"the Agent at {found.agent} runs already, with settings of its own; set {', '.join(overrides)} there and"
            " restart it",
            MISUSE,
        )
    yield found


def find_server(config: Config[ClientSettings]) -> Addresses | None:
    """Return the addresses of the `memgpt server` of this home and configuration; None if none is healthy."""
    try:
        state = json.loads(_state_file(config).read_text(encoding="utf-8"))
        if sys.platform == "win32":  # no server runs there, and `os.kill` would send Ctrl-C
            return None
        os.kill(int(state["pid"]), 0)
        if state["config"] != str(config_path()):
            return None
        addresses = Addresses(**state["addresses"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    from memgpt.cli.services.health import is_serving

    healthy = all(is_serving(address, config.service.credentials()) for address in (addresses.agent, addresses.loader))
    return addresses if healthy else None


@contextmanager
def announced(config: Config[ClientSettings], addresses: Addresses) -> Iterator[None]:
    """Let other commands of this home find the services of a `memgpt server` while the context is open."""
    file = _state_file(config)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    state = {"pid": os.getpid(), "config": str(config_path()), "addresses": asdict(addresses)}
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.replace(file)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()


def _state_file(config: Config[ClientSettings]) -> Path:
    return config.home / "run" / "server.json"
