"""Check a server's health, for container runtimes that can only run a command: ``python -m memgpt_runtime.probe``.

Exit codes: 0 if the server is serving, 1 if it is not or does not respond, 2 for invalid arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

DEFAULT_TIMEOUT = 3.0
"""Seconds to wait for the response, including the connection."""


def probe(
    address: str,
    *,
    service: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    credentials: grpc.ChannelCredentials | None = None,
    server_name: str = "",
) -> str:
    """Return the server's status.

    Args:
        address: ``host:port``.
        service: The service to check; empty for the server as a whole.
        timeout: Seconds to wait.
        credentials: For TLS; None for plaintext.
        server_name: The name in the server's certificate, if it is not the address's host.

    Returns:
        ``SERVING``, ``NOT_SERVING`` and so on; the gRPC status, such as ``UNAVAILABLE``, if there was no response.
    """
    # A probe checks this very address, so it must not use the environment's proxy.
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    channel = (
        grpc.insecure_channel(address, options)
        if credentials is None
        else grpc.secure_channel(address, credentials, options)
    )
    with channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the status, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m memgpt_runtime.probe", description="Ask a server for its health.")
    parser.add_argument("address", help="host:port of the server")
    parser.add_argument("--service", default="", help="one service of the server, by its full name")
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT, help="seconds to wait (%(default)s)")
    parser.add_argument("--tls", action="store_true", help="whether the server speaks TLS; implied by the next three")
    parser.add_argument("--tls-ca", type=Path, metavar="FILE", help="PEM file with the CA of the server's certificate")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM file with this client's certificate chain")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM file with the private key of --tls-cert")
    parser.add_argument("--tls-server-name", default="", metavar="NAME", help="the name in the server's certificate")
    arguments = parser.parse_args(argv)
    credentials = None
    if arguments.tls or arguments.tls_ca or arguments.tls_cert or arguments.tls_key:
        # Imported here, since it doubles the time that a probe takes, and most probes do not need it.
        from memgpt.config import ConfigError

        from memgpt_runtime.tls import channel_credentials

        try:
            credentials = channel_credentials(arguments.tls_ca, arguments.tls_cert, arguments.tls_key)
        except ConfigError as error:
            parser.error(str(error))
    status = probe(
        arguments.address,
        service=arguments.service,
        timeout=arguments.timeout,
        credentials=credentials,
        server_name=arguments.tls_server_name,
    )
    sys.stdout.write(f"{status}\n")
    return 0 if status == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main())
