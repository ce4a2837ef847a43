"""Bind the server's port, and report why it fails, which gRPC does not."""

from __future__ import annotations

import errno
import socket

import grpc
from memgpt.config import ServerSettings

from memgpt_runtime import tls
from memgpt_runtime.server.spec import StartError

_IN_USE = "the address is in use"
_BAD_CERTIFICATE = "the certificate or key was refused"


def bind(server: grpc.aio.Server, settings: ServerSettings, host: str, port: int, name: str) -> int:
    """Bind a port, with TLS if the settings say so.

    Args:
        server: The server.
        settings: Its settings.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        name: The service, for errors.

    Returns:
        The port.

    Raises:
        ConfigError: A certificate cannot be read.
        StartError: The address cannot be bound, or the certificate cannot be used.
    """
    address = f"{bracketed(host)}:{port}"
    credentials = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        credentials = tls.server_credentials(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    problem = _bind_problem(host.strip("[]"), port)
    if problem is None:
        try:
            if credentials is not None:
                return server.add_secure_port(address, credentials)
            return server.add_insecure_port(address)
        except RuntimeError:
            problem = _bind_problem(host.strip("[]"), port) or _BAD_CERTIFICATE
    raise StartError(f"cannot listen on {address}: {problem}; {_fix(problem, name)}")


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _fix(problem: str, name: str) -> str:
    other_port = f"choose another port with {name}.port (MEMGPT_{name.upper()}_PORT)"
    if problem == _IN_USE:
        return f"stop the other server, or {other_port}"
    if problem == _BAD_CERTIFICATE:
        return "check server.tls_cert and server.tls_key"
    if problem.startswith("unknown host") or "assign" in problem:
        return f"choose one of this machine's addresses with {name}.host (MEMGPT_{name.upper()}_HOST)"
    return other_port


def _bind_problem(host: str, port: int) -> str | None:
    """Return why an address cannot be bound, or None."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        return f'unknown host "{host}"'
    with socket.socket(family, kind, protocol) as probe:
        # As gRPC does, so that lingering connections of an earlier server are not an error.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
            probe.listen()
        except OSError as error:
            return _IN_USE if error.errno == errno.EADDRINUSE else (error.strerror or "refused").lower()
    return None
