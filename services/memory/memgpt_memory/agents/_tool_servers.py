"""The remote tools of an agent, as its state lists them."""

from __future__ import annotations

from collections.abc import Sequence

from memgpt_runtime.pagination import PAGE_BYTES

from memgpt_memory.agents import _errors as errors
from memgpt_memory.agents._rows import ToolServer

MAX_SERVERS = 16
MAX_FUNCTIONS = 100
"""Maximum number of functions of one agent. Endpoints accept 128 at most, including the built-in ones."""


def with_server(servers: Sequence[ToolServer], new: ToolServer) -> list[ToolServer]:
    """Return the servers with `new` in place of the one with its address, or added.

    Raises:
        AlreadyExists: Another address has a function of the same name.
        FailedPrecondition: There would be too many.
    """
    others = without_server(servers, new.address)
    taken = {function.name: server.address for server in others for function in server.functions}
    for function in new.functions:
        if function.name in taken:
            raise errors.function_name_taken(function.name, taken[function.name])
    if len(others) + 1 > MAX_SERVERS or len(taken) + len(new.functions) > MAX_FUNCTIONS:
        raise errors.too_many_functions(MAX_FUNCTIONS, MAX_SERVERS)
    if len(others) == len(servers):
        return [*servers, new]
    # In the same place, so that a repeated registration does not change the order.
    return [new if server.address == new.address else server for server in servers]


def check_size(servers: Sequence[ToolServer]) -> None:
    """Check that the functions of a registration fit into a response. Exports of earlier versions may have more.

    Raises:
        FailedPrecondition: They do not.
    """
    if sum(map(_size, servers)) > PAGE_BYTES:
        raise errors.functions_too_large()


def without_server(servers: Sequence[ToolServer], address: str) -> list[ToolServer]:
    """Return the servers without the one at an address."""
    return [server for server in servers if server.address != address]


def _size(server: ToolServer) -> int:
    return sum(len(f"{one.name}{one.description}{one.parameters}".encode()) for one in server.functions)
