"""The fuzzer of tenants goes on when a service fails."""

from __future__ import annotations

from typing import Any

import grpc

from tests.fuzz.tenants import ATTACKERS, Fuzzer


async def test_what_cannot_be_created_is_recorded_and_ends_nothing() -> None:
    server = grpc.aio.server()  # without services
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    fuzzer: Any = Fuzzer.__new__(Fuzzer)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            fuzzer._credentials, fuzzer._channels = {ATTACKERS[0]: [()]}, {"agent": channel, "loader": channel}
            wrong = await fuzzer._replenish(ATTACKERS[0])
    finally:
        await server.stop(None)
    assert [each.partition(":")[0] for each in wrong] == [
        "CreateAgentRequest to replenish is UNIMPLEMENTED",
        "CreateLoadRequest to replenish is UNIMPLEMENTED",
    ]
