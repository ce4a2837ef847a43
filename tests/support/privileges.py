"""Programs without the superuser's rights."""

from __future__ import annotations

import os
import shutil

from tests.support.missing import missing_tool


def unprivileged() -> list[str]:
    """Return what starts a program that modes of files hold for, also if this process is the superuser's."""
    if os.geteuid():
        return []
    program = shutil.which("setpriv") or missing_tool("setpriv is not installed; it is a part of util-linux")
    return [program, "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"]
