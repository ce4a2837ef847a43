"""Commands with different settings have services of their own, and leave each other's alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from memgpt.cli.services import sharing
from memgpt.cli.services.children import Addresses, Child
from memgpt.cli.settings import ClientSettings
from memgpt.config import Config

from tests.support.nfs import use_nfs_locks


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Start no processes; return the numbers of the sets that were started."""
    numbers, started = count(1), []

    def launch(
        _config: object, _private: Mapping[str, str], _tell: object, children: list[Child], *_lifelines: object
    ) -> None:
        started.append(next(numbers))
        children += [
            cast(
                "Child",
                SimpleNamespace(
                    name=name,
                    address=f"{name}:{started[-1]}",
                    process=SimpleNamespace(pid=os.getpid()),
                    leave=lambda: None,
                ),
            )
            for name in ("memory", "loader", "agent")
        ]

    def stop(_children: object, *lifelines: Any) -> None:
        for lifeline in lifelines:
            lifeline.let_go()

    monkeypatch.setattr(sharing, "launch", launch)
    monkeypatch.setattr(sharing, "stop", stop)
    return started


class Terminals:
    """Terminals of one home."""

    def __init__(self, home: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._config = cast("Config[ClientSettings]", SimpleNamespace(home=home))
        self._stack, self._monkeypatch = stack, monkeypatch

    def enter(self, uri: str, overrides: Mapping[str, str] | None = None) -> tuple[ExitStack, Addresses]:
        """Run a command with a store; closing the stack ends it."""
        self._monkeypatch.setenv("MEMGPT_MEMORY_URI", uri)
        command = self._stack.enter_context(ExitStack())
        return command, command.enter_context(sharing.shared(self._config, lambda _: None, overrides or {}))


@pytest.fixture
def terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with ExitStack() as stack:
        yield Terminals(tmp_path, stack, monkeypatch)


def test_services_of_another_store_do_not_hide_those_that_run(terminals: Terminals, launched: list[int]) -> None:
    _, ours = terminals.enter("a.db")
    other, others = terminals.enter("b.db")
    assert others != ours
    other.close()
    assert terminals.enter("a.db")[1] == ours
    assert launched == [1, 2]


def test_services_are_shared_in_a_home_on_nfs(
    terminals: Terminals, launched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_nfs_locks(monkeypatch)
    first, ours = terminals.enter("a.db")
    second, same = terminals.enter("a.db")
    assert same == ours
    second.close()
    first.close()
    again, _ = terminals.enter("a.db")
    again.close()
    assert launched == [1, 2]


def test_the_end_of_services_leaves_those_of_another_store(terminals: Terminals, launched: list[int]) -> None:
    first, _ = terminals.enter("a.db")
    _, others = terminals.enter("b.db")
    first.close()
    assert terminals.enter("b.db")[1] == others
    assert launched == [1, 2]


def test_a_command_with_overrides_leaves_shared_services_alone(terminals: Terminals, launched: list[int]) -> None:
    private, _ = terminals.enter("a.db", {"MEMGPT_AGENT_MODEL": "offline"})
    _, shared = terminals.enter("a.db")
    private.close()
    assert terminals.enter("a.db")[1] == shared
    assert launched == [1, 2]
