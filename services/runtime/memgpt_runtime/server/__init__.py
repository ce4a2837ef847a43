"""The life of a server process, the same for every service: start, serve, drain, stop.

A service's ``__main__`` defines its parts; `run` does the rest::

    @asynccontextmanager
    async def setup(app: App[MemorySettings]) -> AsyncIterator[None]:
        store = await Store.open(app.config.service.milvus_uri)
        try:
            app.add_servicer(block_service_pb2_grpc.add_BlockServiceServicer_to_server, BlockServicer(store))
            app.readiness.watch("milvus", store.ping)
            yield  # serving
        finally:
            await store.close()

    def main() -> None:
        run(ServiceSpec("memory", MemorySettings, setup, trust_principal=True))

Exit codes: 0 after a drain, 1 if it could not start or crashed, 2 if the configuration is wrong.

Order of a stop, on SIGTERM, SIGINT or the parent's end: NOT_SERVING; a pause, in which load balancers take note and
calls are still served (only after SIGTERM); new calls are refused; up to `drain_grace` seconds for the calls in
progress, after which they end with UNAVAILABLE; resources are closed, in reverse order. A second signal ends the
waiting.
"""

from memgpt_runtime.server.options import server_options
from memgpt_runtime.server.process import run, serve
from memgpt_runtime.server.running import Server
from memgpt_runtime.server.spec import App, ServiceSpec, Setup, StartError
from memgpt_runtime.server.start import serving

__all__ = ["App", "Server", "ServiceSpec", "Setup", "StartError", "run", "serve", "server_options", "serving"]
