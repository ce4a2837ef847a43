"""The shared runtime of the suite's services.

======================= ==============================================================================================
`server`                the life of a server process: `run`, `ServiceSpec`, `App`, `StartError`
`interceptors`          the stages around every RPC, one module per stage, in a fixed order
`auth`, `principal`     who calls: credentials, tenants, roles, and the permissions that the contracts declare
`audit`                 the audit log: a line for every change and every refusal
`errors`, `status`      `ServiceError` and its subclasses, and the table to gRPC status and back
`reasons`               one constructor for each error reason
`context`               the current call: `current`, `tenant`, `remaining`, `outgoing_metadata`, `background`
`channel`               channels to other services: `open_channel`, `open_memory_channel`
`call_details`          metadata and timeout of every outgoing call
`reloading_channel`     a channel that reconnects with renewed certificates; `tls` reads the files
`identity`              `IdentityService`, which tells callers who they are
`reflection`            ``grpc.reflection.v1`` and ``v1alpha``
`health`                `Readiness`, and ``grpc.health.v1`` on top of it; `health_watcher` follows another service's
`retry`                 `RetryPolicy`, for stamina
`broadcast`             `Broadcast`, which wakes all tasks that wait for a change
`fair_semaphore`        limits work, and shares the limit fairly between owners; `fair_shares` refuses and never waits
`logs`                  `get_logger`; structlog with ids on every line and without secrets
`tracing`, `otlp`       spans, exported by OpenTelemetry; off by default
`metrics`               ``grpc_server_*`` for Prometheus, and what services add
`parent`                pipes between a service and the process that started it
`early_sigterm`         ends a process that is still importing on SIGTERM
`probe`                 ``python -m memgpt_runtime.probe``, the health check of a container
`pagination`            `PageTokenCodec`, `normalize_page_size`
`names`                 `check_name` and `comparable`, for names chosen by people
`agent_rules`           rules for agents that the Agent and Memory check in their requests
`validation`            ``buf.validate`` constraints of requests
`tokens`, `chunking`    `count_tokens`; `chunk`, which splits text at sentences; `graphemes`
`ids`, `clock`          `new_id`, sortable by time; the time of day
======================= ==============================================================================================

A complete ``__main__`` of a service::

    class AgentSettings(MemoryClientSection):
        port: int = Field(default=50051, ge=0, le=65535, description="Port to listen on; 0 for any free one.")


    @asynccontextmanager
    async def setup(app: App[AgentSettings]) -> AsyncIterator[None]:
        async with open_memory_channel(app.config, REPEATABLE) as channel:
            async with HealthWatcher(channel, "memory", app.readiness):
                servicer = AgentServicer(MemoryClient(channel))
                app.add_servicer(agent_service_pb2_grpc.add_AgentServiceServicer_to_server, servicer)
                yield  # serving


    def main() -> None:
        run(ServiceSpec("agent", AgentSettings, setup))

Servicers raise `ServiceError`; the server turns whatever is raised into a status. They are ``async def``,
or async generators where they stream. Around a downstream call::

    try:
        return await stub.GetAgent(request)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
"""
