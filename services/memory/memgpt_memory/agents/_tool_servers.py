"""Functions of an agent that run elsewhere: where they are registered, and what may be."""

from __future__ import annotations

from memgpt_runtime.errors import AlreadyExists, FailedPrecondition, Reason

from memgpt_memory.agents._agents import Agents
from memgpt_memory.agents._live import LiveAgent
from memgpt_memory.agents._rows import ToolServer
from memgpt_memory.clock import now

MAX_SERVERS = 16
MAX_FUNCTIONS = 100
"""Of one agent. Endpoints take 128 functions at most, the built-in ones among them."""


async def put(agents: Agents, live: LiveAgent, server: ToolServer) -> ToolServer:
    """Gives an agent the functions of an address, in place of those it had from there.

    Raises:
        AlreadyExists: Another address has a function of the same name.
        FailedPrecondition: They would be too many.
    """
    new = server.model_copy(update={"registered": now()})

    def edit(servers: list[ToolServer]) -> list[ToolServer]:
        others = [one for one in servers if one.address != new.address]
        taken = {function.name: one.address for one in others for function in one.functions}
        for function in new.functions:
            if function.name in taken:
                raise AlreadyExists(
                    Reason.NAME_TAKEN,
                    f"The agent has a function {function.name!r} already, from {taken[function.name]}: unregister that "
                    "address first.",
                    metadata={"name": function.name, "address": taken[function.name]},
                )
        if len(others) + 1 > MAX_SERVERS or len(taken) + len(new.functions) > MAX_FUNCTIONS:
            raise FailedPrecondition(
                Reason.WRONG_STATE,
                f"An agent has at most {MAX_FUNCTIONS} functions from at most {MAX_SERVERS} addresses: unregister an "
                "address first.",
            )
        # At its former place: a registration that is repeated moves nothing.
        return (
            [new if one.address == new.address else one for one in servers]
            if len(others) < len(servers)
            else [
                *servers,
                new,
            ]
        )

    await agents.set_tools(live, edit)
    return new


async def delete(agents: Agents, live: LiveAgent, address: str) -> None:
    """Takes the functions of an address away, if there are any."""

    def edit(servers: list[ToolServer]) -> list[ToolServer] | None:
        left = [one for one in servers if one.address != address]
        return left if len(left) < len(servers) else None

    await agents.set_tools(live, edit)
