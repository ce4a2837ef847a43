"""Every vendor works in the mode that is found for it; the documentation's table is what the tests find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.scripted_llm import ScriptedLLM
from tests.support.vendors import VENDORS, Vendor
from tests.support.vendors import table as vendors_table

_WITHOUT_TOOLS = "without tools|without a tool parser|without --jinja|Gemma 2|SiliconFlow"


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
async def test_a_vendor(scripted_llm: Callable[..., ScriptedLLM], vendor: Vendor) -> None:
    cells = await vendors_table.row(scripted_llm, vendor)
    expected = f"| {vendor.name} | {' | '.join(cells[column] for column in vendors_table.COLUMNS)} |"
    assert expected in vendors_table.PAGE.read_text(encoding="utf-8"), "run make generate"
    assert vendors_table.BAD not in {value for column, value in cells.items() if column != "tools"}
    lacks_tools = any(word in vendor.name for word in _WITHOUT_TOOLS.split("|"))
    assert (cells["tools"] == vendors_table.BAD) is lacks_tools
