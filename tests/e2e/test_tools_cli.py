"""`memgpt tools`: from nothing to a function that an agent can call, and back."""

from __future__ import annotations

from pathlib import Path

from memgpt.agent.v1 import agent_service_pb2 as agent_pb

from tests.support.scripted_tool import ScriptedTool, result
from tests.support.suite import Suite


def test_add_list_remove(tmp_path: Path) -> None:
    with (
        ScriptedTool({"ring": result("It rang."), "knock": result("Who is there?")}) as tool,
        Suite(tmp_path, MEMGPT_AGENT_TOOL_ADDRESSES=tool.address) as suite,
    ):
        with suite.client() as client:
            client.agents.create(agent_pb.CreateAgentRequest(name="Ada"))
        assert suite.cli("tools", "add", tool.address, "--agent", "Ada") == (
            f"Agent Ada may call at {tool.address}: ring, knock\n"
        )
        listed = suite.cli("tools", "list", "--agent", "Ada")
        assert "Does ring." in listed
        assert tool.address in listed
        suite.cli("tools", "remove", tool.address, "--agent", "Ada")
        assert "ring" not in suite.cli("tools", "list", "--agent", "Ada")

        again = suite.run("tools", "remove", tool.address, "--agent", "Ada")
        assert again.returncode == 1
        assert "it has tools from: nowhere" in again.stdout + again.stderr
        other = suite.run("tools", "add", "127.0.0.1:1", "--agent", "Ada")
        assert other.returncode == 1
        assert "agent.tool_addresses" in other.stdout + other.stderr
