"""Write docs/reference/endpoints.md from a run against scripted servers with the vendors' rules."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.vendors import table

if __name__ == "__main__":
    table.PAGE.write_text(table.generate(), encoding="utf-8")
