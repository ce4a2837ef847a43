"""The synchronous client is up to date with the asynchronous one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_synchronous_client_is_up_to_date() -> None:
    run = subprocess.run(
        [sys.executable, "scripts/sync_client.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
