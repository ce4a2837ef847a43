"""Which steps a store takes to another layout."""

from __future__ import annotations

from typing import Any

import pytest
from memgpt_memory.maintenance.migrations import migrate
from memgpt_runtime.errors import FailedPrecondition


class Store:
    """Notes what is done to it; a step may fail."""

    def __init__(self, *, fails_at: int = 0) -> None:
        self.layouts: list[int] = []
        self.steps: list[int] = []
        self._fails_at = fails_at

    def step(self, number: int) -> Any:
        async def work(store: Any) -> None:
            assert store is self
            self.steps.append(number)
            if number == self._fails_at:
                raise RuntimeError("a crash")

        return work

    async def note(self, layout: int) -> None:
        self.layouts.append(layout)


async def run(store: Any, layout: int) -> None:
    await migrate(store, layout, store.note, to=4, steps={2: store.step(2), 3: store.step(3)})


async def test_an_older_layout_is_migrated_step_by_step() -> None:
    store = Store()
    await run(store, 2)
    assert (store.steps, store.layouts) == ([2, 3], [3, 4])


async def test_the_present_layout_stays_as_it_is() -> None:
    store = Store()
    await run(store, 4)
    assert (store.steps, store.layouts) == ([], [])


@pytest.mark.parametrize("layout", [1, 5])
async def test_a_layout_that_is_newer_or_too_old_is_refused_untouched(layout: int) -> None:
    store = Store()
    with pytest.raises(FailedPrecondition, match=f"layout {layout}"):
        await run(store, layout)
    assert (store.steps, store.layouts) == ([], [])


async def test_a_crash_goes_on_with_the_step_that_it_broke() -> None:
    store = Store(fails_at=3)
    with pytest.raises(RuntimeError):
        await run(store, 2)
    assert store.layouts == [3]
    again = Store()
    await run(again, store.layouts[-1])
    assert (again.steps, again.layouts) == ([3], [4])
