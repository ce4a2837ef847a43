"""A parser's memory is bounded where the operating system has no limit of the address space."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import resource, sys, time
from memgpt_loader.parsing import worker

setrlimit = resource.setrlimit
def refuse(kind, limits):
    if kind == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    setrlimit(kind, limits)
resource.setrlimit = refuse

now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
worker._limit_memory(now + 64 * 1024 * 1024)
held = b"x" * (int(sys.argv[1]) * 1024 * 1024)  # written, and so resident
time.sleep(float(sys.argv[2]))
print("alive")
"""


def run(megabytes: int, seconds: float) -> subprocess.CompletedProcess[str]:
    # By way of a shell that forks: Linux counts the size of the process before an exec to the peak of the one after it.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", CODE, str(megabytes), str(seconds)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_parser_that_grows_too_large_ends() -> None:
    done = run(256, 50)
    assert (done.returncode, done.stdout) == (9, ""), done.stderr


def test_a_parser_that_does_not_goes_on() -> None:
    assert run(8, 0.2).stdout == "alive\n"
