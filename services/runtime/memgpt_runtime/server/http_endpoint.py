"""A small HTTP server next to gRPC: ``/metrics`` for Prometheus, ``/livez`` and ``/readyz`` for probes without gRPC."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from memgpt_runtime.logs import get_logger

_log = get_logger(__name__)

StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

LIVE_SECONDS = 4.0
"""Seconds within which the server's event loop must respond, or it counts as hanging."""

_ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - recognized, not bound


class HttpEndpoint:
    """Serves metrics and probes from a thread.

    Attributes:
        port: The port it listens on.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, ready: Callable[[], bool]) -> None:
        """Start serving, inside the event loop whose life ``/livez`` reports.

        Args:
            host: Address to listen on, with or without brackets; ``0.0.0.0`` or ``::`` for all interfaces of both
                families, as gRPC does.
            port: Port to listen on; 0 for any free one.
            registry: The metrics.
            ready: Whether the server is ready; called in other threads.

        Raises:
            OSError: The address cannot be bound.
        """
        host = host.strip("[]")
        server_class = _server_class(host)
        address = "::" if server_class.address_family is socket.AF_INET6 and host in _ANY_ADDRESS else host
        self._server = make_server(
            address,
            port,
            _app(registry, ready, _live(asyncio.get_running_loop())),
            server_class,
            handler_class=_QuietHandler,
        )
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; takes up to half a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _QuietHandler(WSGIRequestHandler):
    timeout = 10  # seconds of silence, after which a connection is closed

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what is not the connection's end: load balancers that look whether a port is open reset it."""
        if not isinstance(sys.exception(), OSError):
            _log.exception("http_request_failed")


class _Ipv6Server(_Server):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """Accept IPv4 as well."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _server_class(host: str) -> type[_Server]:
    if host in _ANY_ADDRESS:
        return _Ipv6Server if _has_ipv6() else _Server
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    return _Ipv6Server if family is socket.AF_INET6 else _Server


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _live(loop: asyncio.AbstractEventLoop) -> Callable[[], bool]:
    """Return a function for other threads, which returns whether an event loop responds."""

    def live() -> bool:
        responded = threading.Event()
        try:
            loop.call_soon_threadsafe(responded.set)
        except RuntimeError:  # closed
            return False
        return responded.wait(LIVE_SECONDS)

    return live


def _app(registry: CollectorRegistry, ready: Callable[[], bool], live: Callable[[], bool]) -> WsgiApp:
    metrics: WsgiApp = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                return metrics(environ, start_response)
            case "/livez":
                if live():
                    return _text(start_response, "200 OK", "live")
                return _text(start_response, "503 Service Unavailable", "the event loop does not respond")
            case "/readyz":
                if ready():
                    return _text(start_response, "200 OK", "ready")
                return _text(start_response, "503 Service Unavailable", "not ready")
            case _:
                return _text(start_response, "404 Not Found", "unknown path; use /metrics, /livez or /readyz")

    return app


def _text(start_response: StartResponse, status: str, body: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{body}\n".encode()]
