"""How Memory reaches a Milvus server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from memgpt_memory.store.server.store import ServerStore
from pymilvus.grpc_gen import milvus_pb2

from tests.support.ports import free_port


class Greeting(grpc.GenericRpcHandler):
    """As much of Milvus as a client needs to connect."""

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler[Any, Any]:
        named = {"GetVersion": milvus_pb2.GetVersionResponse(version="v2.3.5"), "Connect": milvus_pb2.ConnectResponse()}
        response = named.get(handler_call_details.method.rpartition("/")[2], milvus_pb2.GetVersionResponse())
        return grpc.unary_unary_rpc_method_handler(lambda request, context: response.SerializeToString())


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server that greets like Milvus."""
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Greeting(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


async def test_the_environments_proxy_is_not_for_milvus_in_the_cluster(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    store = ServerStore(f"http://localhost:{port}", token="", timeout=10, observe=lambda *_: None)
    await store.open([])
    assert store.capabilities.version == "v2.3.5"
    await store.close()
