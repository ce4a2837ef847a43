"""A closed client."""

from __future__ import annotations

import subprocess
import sys


def test_calls_of_a_closed_client_raise() -> None:
    """In a process of its own, which a call of gRPC's own channel would end with a segmentation fault."""
    program = """
from memgpt.agent.v1.agent_service_pb2 import SendMessageRequest
from memgpt.client import MemGPT

memgpt = MemGPT("localhost:1", "localhost:1", token="token")
memgpt.close()
memgpt.close()
request = SendMessageRequest()
for call in (memgpt.whoami, lambda: memgpt.agents.get("agent_x"), lambda: list(memgpt.agents.send(request))):
    try:
        call()
    except ValueError:
        print("ValueError")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout.split()) == (0, ["ValueError"] * 3), run.stderr
