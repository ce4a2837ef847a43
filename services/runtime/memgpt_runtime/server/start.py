"""Start a server: bind the port, open the service's resources, register the servicers, serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2_grpc
from memgpt.common.v1 import identity_service_pb2_grpc
from memgpt.common.v1.permission_pb2 import Permission
from memgpt.config import Config

from memgpt_runtime import logs, tracing
from memgpt_runtime.audit import open_audit_log
from memgpt_runtime.auth.authenticator import Authenticator
from memgpt_runtime.auth.exposure import check_exposure
from memgpt_runtime.auth.permissions import UndeclaredPermissionError
from memgpt_runtime.auth.permissions import permissions as declared_permissions
from memgpt_runtime.health import HealthServicer, Readiness
from memgpt_runtime.identity import IdentityServicer
from memgpt_runtime.interceptors import Authorization, InFlight, server_interceptor
from memgpt_runtime.metrics import ServerMetrics
from memgpt_runtime.otlp import start_traces
from memgpt_runtime.parent import Announcer
from memgpt_runtime.reflection import add_reflection
from memgpt_runtime.server.http_endpoint import HttpEndpoint
from memgpt_runtime.server.listener import bind, bracketed
from memgpt_runtime.server.options import server_options
from memgpt_runtime.server.running import Server
from memgpt_runtime.server.spec import App, S, ServiceSpec, StartError
from memgpt_runtime.validation import Check, prepare

_log = logs.get_logger(__name__)


@asynccontextmanager
async def serving(spec: ServiceSpec[S], config: Config[S]) -> AsyncIterator[Server]:
    """Serve without a process of its own: no signals, no parent. For tests and for embedding.

    Raises:
        ConfigError: A setting is unusable, or leaves the server open to everyone.
        StartError: The address is taken, the setup failed, or a method declares no permission.
    """
    async with AsyncExitStack() as stack:
        server = await start(spec, config, stack, Announcer(None))
        try:
            yield server
        finally:
            await server.drain("closed")


async def start(spec: ServiceSpec[S], config: Config[S], stack: AsyncExitStack, announcer: Announcer) -> Server:
    """Start a server; its resources are closed with `stack`.

    Raises:
        ConfigError: A setting is unusable, or leaves the server open to everyone.
        StartError: The address is taken, the setup failed, or a method declares no permission.
    """
    settings, section = config.server, config.service
    stop_traces = start_traces(spec.name, settings)
    if stop_traces is not None:
        stack.push_async_callback(asyncio.to_thread, stop_traces)
    authenticator = Authenticator(settings)
    stack.push_async_callback(authenticator.close)
    permissions: dict[str, Permission.ValueType] = {}
    metrics, in_flight, readiness = ServerMetrics(service=spec.name), InFlight(), Readiness()
    audit = open_audit_log(spec.name, settings, config.home, metrics)
    if audit is not None:
        stack.callback(audit.close)
    checks: dict[type[Message], Check] = {}
    interceptor = server_interceptor(
        settings,
        metrics,
        in_flight,
        Authorization(authenticator, permissions, trust_principal=spec.trust_principal),
        audit,
        deadlines=spec.deadlines,
        unlimited=spec.unlimited,
        keep_alive=spec.keep_alive,
        checks=checks,
    )
    server = grpc.aio.server(interceptors=[interceptor], options=server_options(settings))
    # Does nothing if the server was drained before.
    stack.push_async_callback(server.stop, None)
    # First, since a taken address is the most common mistake, and opening a store takes time.
    port = bind(server, settings, section.host, section.port, spec.name)
    check_exposure(settings, section.host, spec.name)
    host = bracketed(section.host)
    announcer.announce(spec.name, host, port, "bound")
    metrics.ready.set_function(lambda: float(readiness.ready))
    if section.metrics_port:
        _serve_http(settings.metrics_host, section.metrics_port, spec.name, metrics, readiness, stack)

    registrar = _Registrar(server)
    app = App(config, readiness, metrics, asyncio.Event(), authenticator, registrar, checks)
    stack.push_async_callback(readiness.close)
    prepared = asyncio.create_task(asyncio.to_thread(prepare))
    try:
        with readiness.starting():
            await stack.enter_async_context(spec.setup(app))
    finally:
        await prepared
    logs.adopt_loggers()
    app.add_servicer(identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, IdentityServicer())
    names = list(registrar.names)
    try:
        permissions.update(declared_permissions(names, spec.permissions))
    except UndeclaredPermissionError as error:
        raise StartError(str(error)) from error
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(readiness, names), server)
    if settings.reflection:
        add_reflection(server, [*names, "grpc.health.v1.Health"])
    await server.start()
    announcer.announce(spec.name, host, port, "serving")
    announcer.close()
    _log.info(
        "serving",
        address=f"{host}:{port}",
        tls=settings.tls_cert is not None,
        traces=tracing.enabled(),
        credentials_required=authenticator.required,
        reflection=settings.reflection,
        config=str(config.path) if config.path else None,
    )
    return Server(port, readiness, in_flight, server, settings, app.stopping)


class _Registrar:
    """Passes handlers to the server, and collects the services' names."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        self.names.extend(cast(Any, handler).service_name() for handler in handlers)
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, _service: str, _handlers: Mapping[str, object]) -> None:
        # An optimization of the synchronous server that the asynchronous one does not need.
        pass


def _serve_http(
    host: str, port: int, name: str, metrics: ServerMetrics, readiness: Readiness, stack: AsyncExitStack
) -> None:
    try:
        endpoint = HttpEndpoint(host, port, metrics.registry, lambda: readiness.ready)
    except OSError as error:
        raise StartError(
            f"cannot serve metrics on {host}:{port}: {(error.strerror or 'refused').lower()}; choose another port with "
            f"{name}.metrics_port (MEMGPT_{name.upper()}_METRICS_PORT), 0 for none"
        ) from error
    stack.push_async_callback(asyncio.to_thread, endpoint.close)
