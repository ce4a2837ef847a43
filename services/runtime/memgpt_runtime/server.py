"""The life of a server process, the same for every service: start, serve, drain, stop.

A service's ``__main__`` says what it is made of; `run` does the rest::

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

Exit codes: 0 after a drain, 1 when it could not start or broke, 2 when the configuration is wrong.

Order of a stop, on SIGTERM, SIGINT or the parent's end: NOT_SERVING; a pause, in which load balancers take note and
calls are still served (only after SIGTERM); no new calls; up to `drain_grace` seconds for those under way, then the
rest end with UNAVAILABLE; resources are closed, in reverse order. A second signal ends the waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from memgpt_runtime import logs, tls
from memgpt_runtime.config import Config, ConfigError, ServerSettings, ServiceSection, load_config
from memgpt_runtime.errors import ServiceError
from memgpt_runtime.health import HealthServicer, Readiness
from memgpt_runtime.interceptors import (
    ContextStage,
    DeadlineStage,
    ErrorStage,
    InFlight,
    LogStage,
    MetricsStage,
    Pipeline,
    ShedStage,
)
from memgpt_runtime.metrics import ServerMetrics
from memgpt_runtime.parent import PARENT_FD, READY_FD, Announcer, take_descriptor, watch_parent
from memgpt_runtime.validation import validate

_log = logs.get_logger(__name__)

S = TypeVar("S", bound=ServiceSection)


class StartError(Exception):
    """The server cannot start; the message, one line, says why and what to do.

    Setups may raise it too, or a `ServiceError`.
    """


class _Registrar:
    """Stands in for the server towards generated code, to learn the services' names."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        self.names.extend(cast(Any, handler).service_name() for handler in handlers)
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, _service: str, _handlers: Mapping[str, object]) -> None:
        # An optimisation of the synchronous server; the asynchronous one does without as well.
        pass


@dataclass
class App(Generic[S]):
    """What a service's setup gets: its settings, and where to put its parts.

    Attributes:
        config: The settings; `config.service` is the service's own section.
        readiness: State here what must hold for the server to be ready.
        metrics: The server's metrics; `metrics.registry` takes further ones.
        stopping: Set when the drain begins: long streams may end themselves in good order.
    """

    config: Config[S]
    readiness: Readiness
    metrics: ServerMetrics
    stopping: asyncio.Event
    _registrar: _Registrar

    def add_servicer(self, add: Callable[[Any, Any], None], servicer: object) -> None:
        """Adds a servicer by its generated ``add_…Servicer_to_server``."""
        add(servicer, self._registrar)


Setup = Callable[[App[S]], AbstractAsyncContextManager[None]]
"""Opens a service's resources, adds its servicers and yields; closes the resources after the drain."""


@dataclass(frozen=True)
class ServiceSpec(Generic[S]):
    """What a service is made of.

    Attributes:
        name: Its section in the configuration and its name in logs, such as ``memory``.
        settings: Model of its section.
        setup: Opens its resources inside the event loop, and adds its servicers.
        trust_principal: Whether callers may say on whose behalf they call: only where nobody but the suite's own
            services can reach it.
        deadlines: Seconds by full method name, for methods to which the defaults do not fit; None for no limit.
    """

    name: str
    settings: type[S]
    setup: Setup[S]
    trust_principal: bool = False
    deadlines: Mapping[str, float | None] = field(default_factory=dict)


def server_options(settings: ServerSettings) -> list[tuple[str, Any]]:
    """GRPC's channel arguments for a server."""
    options: list[tuple[str, Any]] = [
        # Else two servers share a port in silence, and each gets some of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Clients may ping every 10 s, also while idle; the limits keep a margin for the clocks. gRPC's own limit is
        # 300 s, and it closes the connections of livelier clients with too_many_pings.
        ("grpc.http2.min_ping_interval_without_data_ms", 9_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A client that vanished without closing its connection is noticed within 30 s.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
    if settings.max_connection_age:
        options += [
            ("grpc.max_connection_age_ms", int(settings.max_connection_age * 1000)),
            ("grpc.max_connection_age_grace_ms", int(settings.stream_deadline * 1000)),
        ]
    return options


def run(spec: ServiceSpec[S], argv: list[str] | None = None) -> NoReturn:
    """Runs a service until it is told to stop, then exits. Never shows its user a traceback for a mistake of theirs."""
    # C-core's own lines on standard error (failed connections, for example) are neither JSON nor of use.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Memories and logs are nobody else's: other users of the machine cannot read what is written from here on.
    os.umask(0o077)
    parser = argparse.ArgumentParser(
        prog=f"memgpt-{spec.name}",
        description=f"The {spec.name} service. Settings come from [{spec.name}] and [server] of the configuration "
        f"file and from MEMGPT_{spec.name.upper()}_* and MEMGPT_SERVER_* in the environment.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (~/.memgpt/config.toml)")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('memgpt-milvus-runtime')}")
    arguments = parser.parse_args(argv)
    try:
        config = load_config(spec.name, spec.settings, path=arguments.config)
        logs.configure(spec.name, level=config.server.log_level, fmt=config.server.log_format)
        asyncio.run(serve(spec, config))
    except ConfigError as error:
        _complain(spec.name, error)
        sys.exit(2)
    except (StartError, ServiceError) as error:
        _complain(spec.name, error)
        sys.exit(1)
    except Exception:  # noqa: BLE001 - the process's last word
        _log.critical("the server broke", exc_info=True)
        sys.exit(1)
    sys.exit(0)


def _complain(name: str, error: Exception) -> None:
    sys.stderr.write(f"memgpt-{name}: {error}\n")


async def serve(spec: ServiceSpec[S], config: Config[S]) -> None:
    """Serves until SIGTERM, SIGINT, or the parent's end.

    Raises:
        ConfigError: A setting turns out to be unusable.
        StartError: The address is taken, or the setup gave up.
    """
    stop = _Stop()
    ready_fd, parent_fd = take_descriptor(READY_FD), take_descriptor(PARENT_FD)
    async with AsyncExitStack() as stack:
        announcer = Announcer(ready_fd)
        stack.callback(announcer.close)
        stack.callback(stop.install(parent_fd))
        try:
            server = await _start(spec, config, stack, announcer)
            stop.started()
            _spare_collector()
        except asyncio.CancelledError:
            if not stop.requested.is_set():
                raise
            _log.info("stopped while starting", cause=stop.cause)
            return
        await stop.requested.wait()
        await server.drain(stop.cause, pause=config.server.drain_pause if stop.pause else 0, hurry=stop.hurry)


@asynccontextmanager
async def serving(spec: ServiceSpec[S], config: Config[S]) -> AsyncIterator[Server]:
    """The same server without a process of its own: no signals, no parent. For tests and for embedding.

    Raises:
        ConfigError: A setting turns out to be unusable.
        StartError: The address is taken, or the setup gave up.
    """
    async with AsyncExitStack() as stack:
        server = await _start(spec, config, stack, Announcer(None))
        try:
            yield server
        finally:
            await server.drain("closed")


class _Stop:
    """The wish to stop: from whom, and how urgent."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.hurry = asyncio.Event()
        self.cause = ""
        self.pause = True
        self._starting: asyncio.Task[Any] | None = asyncio.current_task()

    def started(self) -> None:
        """From now on a stop drains; before, it cancels the start."""
        self._starting = None

    def request(self, cause: str, *, pause: bool) -> None:
        """Asks for the stop; a second time, asks it to hurry."""
        if self.requested.is_set():
            self.hurry.set()
            return
        self.cause, self.pause = cause, pause
        self.requested.set()
        if self._starting is not None:
            self._starting.cancel()

    def install(self, parent_fd: int | None) -> Callable[[], None]:
        """Listens for signals and for the parent's end; answers how to undo it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: self.request("SIGTERM", pause=True))
        loop.add_signal_handler(signal.SIGINT, lambda: self.request("SIGINT", pause=False))
        unwatch = None
        if parent_fd is not None:
            unwatch = watch_parent(parent_fd, lambda: self.request("the parent is gone", pause=False))

        def undo() -> None:
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_signal_handler(signal.SIGINT)
            if unwatch is not None:
                unwatch()

        return undo


@dataclass
class Server:
    """A server that serves.

    Attributes:
        port: The port it listens on.
        readiness: Whether it is ready, and why not.
        in_flight: The calls under way.
    """

    port: int
    readiness: Readiness
    in_flight: InFlight
    _grpc: grpc.aio.Server
    _settings: ServerSettings
    _stopping: asyncio.Event

    async def drain(self, cause: str, *, pause: float = 0.0, hurry: asyncio.Event | None = None) -> None:
        """Stops in good order: not ready, a pause, no new calls, the grace for those under way.

        Args:
            cause: For the log.
            pause: Seconds during which calls are still taken.
            hurry: Ends pause and grace when it is set.
        """
        hurry = hurry or asyncio.Event()
        _log.info("draining", cause=cause, calls=len(self.in_flight))
        self.readiness.drain()
        self._stopping.set()
        if pause:
            await _sleep_unless(hurry, pause)
        # gRPC's own grace is the longer one: ours ends the calls with a status that tells clients to come again.
        stopped = asyncio.create_task(self._grpc.stop(self._settings.drain_grace + 2))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait((stopped, hurried), timeout=self._settings.drain_grace, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not stopped.done():
            _log.warning("ending the calls under way", calls=len(self.in_flight))
            self.in_flight.expire()
        await stopped
        _log.info("stopped")


async def _sleep_unless(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


async def _start(spec: ServiceSpec[S], config: Config[S], stack: AsyncExitStack, announcer: Announcer) -> Server:
    settings, section = config.server, config.service
    metrics, in_flight, readiness = ServerMetrics(), InFlight(), Readiness()
    pipeline = Pipeline(
        [
            ContextStage(trust_principal=spec.trust_principal),
            LogStage(),
            MetricsStage(metrics),
            ErrorStage(in_flight),
            ShedStage(settings.max_concurrent_calls, settings.max_concurrent_streams),
            DeadlineStage(settings.default_deadline, settings.stream_deadline, spec.deadlines),
        ],
        validate,
    )
    server = grpc.aio.server(interceptors=[pipeline], options=server_options(settings))
    # Unless it is stopped in good order before; then this does nothing.
    stack.push_async_callback(server.stop, None)
    # First of all, for a taken address is the commonest mistake, and opening a store takes time.
    port = _bind(server, settings, section.host, section.port, spec.name)
    announcer.announce(spec.name, section.host, port, "bound")
    if section.metrics_port:
        _start_metrics(settings.metrics_host, section.metrics_port, spec.name, metrics, stack)

    app = App(config, readiness, metrics, asyncio.Event(), _Registrar(server))
    stack.push_async_callback(readiness.close)
    await stack.enter_async_context(spec.setup(app))
    logs.adopt_loggers()
    names = list(app._registrar.names)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(readiness, names), server)
    if settings.reflection:
        names += ["grpc.health.v1.Health", reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
    metrics.ready.set_function(lambda: float(readiness.ready))
    await server.start()
    announcer.announce(spec.name, section.host, port, "serving")
    announcer.close()
    _log.info(
        "serving",
        address=f"{section.host}:{port}",
        tls=settings.tls_cert is not None,
        reflection=settings.reflection,
        config=str(config.path) if config.path else None,
    )
    return Server(port, readiness, in_flight, server, settings, app.stopping)


def _spare_collector() -> None:
    """Has Python's collector of cycles look at what calls leave, seldom, and at what was made before them never.

    Left alone it goes through every object of the libraries again and again while the server is busy.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _bind(server: grpc.aio.Server, settings: ServerSettings, host: str, port: int, name: str) -> int:
    address = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
    setting = f"{name}.port (MEMGPT_{name.upper()}_PORT)"
    credentials = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        credentials = tls.server_credentials(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    # gRPC says only that it failed; the system says why.
    problem = _try_bind(host.strip("[]"), port)
    if problem is None:
        try:
            if credentials is not None:
                return server.add_secure_port(address, credentials)
            return server.add_insecure_port(address)
        except RuntimeError:
            problem = _try_bind(host.strip("[]"), port) or "the certificate or key was refused"
    fix = f"choose another port with {setting}"
    if problem == _IN_USE:
        fix = f"stop the other server, or {fix}"
    elif problem.startswith("the certificate"):
        fix = "check server.tls_cert and server.tls_key"
    elif problem.startswith("unknown host") or "assign" in problem:
        fix = f"choose one of this machine's addresses with {name}.host (MEMGPT_{name.upper()}_HOST)"
    raise StartError(f"cannot listen on {address}: {problem}; {fix}")


_IN_USE = "the address is in use"


def _try_bind(host: str, port: int) -> str | None:
    """Why an address cannot be listened on; None when it can."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        return f"unknown host {host!r}"
    with socket.socket(family, kind, protocol) as probe:
        # As gRPC does: connections of an earlier server that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
            probe.listen()
        except OSError as error:
            return _IN_USE if error.errno == errno.EADDRINUSE else (error.strerror or "refused").lower()
    return None


def _start_metrics(host: str, port: int, name: str, metrics: ServerMetrics, stack: AsyncExitStack) -> None:
    try:
        http, thread = start_http_server(port, host, registry=metrics.registry)
    except OSError as error:
        raise StartError(
            f"cannot serve metrics on {host}:{port}: {(error.strerror or 'refused').lower()}; choose another port with "
            f"{name}.metrics_port (MEMGPT_{name.upper()}_METRICS_PORT), 0 for none"
        ) from error

    def close() -> None:
        http.shutdown()
        http.server_close()
        thread.join()

    # It takes up to half a second to notice.
    stack.push_async_callback(asyncio.to_thread, close)
