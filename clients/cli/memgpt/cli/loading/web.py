"""Download of public web pages, with limits on time and size.

The address of a host is resolved once, checked, and connected to, so a DNS name that changes its address between check
and connection has no effect. Each redirect is checked again.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Timer
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from memgpt.cli.errors import CliError

MAX_BYTES = 64 * 1024 * 1024
"""Maximum bytes of a page."""

_SECONDS = 60.0
_CONNECT_SECONDS = 15.0
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_HTML = ("text/html", "application/xhtml+xml")
_HEADERS = {
    "Accept": "text/html,application/xhtml+xml,application/pdf;q=0.9,*/*;q=0.5",
    "Accept-Encoding": "identity",
    "User-Agent": "memgpt (loads single pages for its user)",
}
# IPv6 ranges that embed IPv4 addresses, which decide where they lead: NAT64, 6to4.
_EMBEDDED = ((ipaddress.IPv6Network("64:ff9b::/96"), 0), (ipaddress.IPv6Network("2002::/16"), 80))


def fetch(url: str, *, allow_private: bool = False, seconds: float = _SECONDS, max_bytes: int = MAX_BYTES) -> bytes:
    """Fetch a page.

    Args:
        url: URL with the scheme http or https.
        allow_private: Whether hosts on this machine or in private networks are allowed.
        seconds: Time limit for everything, including redirects.
        max_bytes: Maximum size of the page.

    Returns:
        The page. Text is converted to UTF-8 if the server declares its encoding, and HTML gets a prefix by which it is
        recognized.

    Raises:
        CliError: The page cannot be fetched; the message has the reason.
    """
    at, end = url, time.monotonic() + seconds
    for _ in range(_MOST_REDIRECTS + 1):
        with _answer(at, end, allow_private=allow_private) as response:
            if response.status in _REDIRECTS and (target := response.getheader("Location")):
                at = urljoin(at, target)
                continue
            if response.status != http.client.OK:
                raise CliError(f"{url}: the server answered {response.status} {response.reason}".rstrip())
            if response.getheader("Content-Encoding", "identity").lower() != "identity":
                raise CliError(f"{url}: the server sent a compressed page, although the request ruled that out")
            data = response.read(max_bytes + 1)
            if len(data) > max_bytes:
                raise CliError(f"{url}: it has more than {max_bytes:,} bytes; download it and load the file")
            if response.length:
                raise CliError(f"{url}: the connection was closed early")
            return _readable(data, response.headers.get_content_type(), response.headers.get_content_charset() or "")
    raise CliError(f"{url}: more than {_MOST_REDIRECTS} redirects")


@contextmanager
def _answer(url: str, end: float, *, allow_private: bool) -> Iterator[http.client.HTTPResponse]:
    parts = _parts(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    connection = http.client.HTTPConnection(host, port)
    try:
        connection.sock = _connect(host, port, allow_private=allow_private)
    except OSError as error:
        raise CliError(f"{url}: {host} cannot be reached: {error.strerror or error}") from error
    except CliError as error:
        raise CliError(f"{url}: {error.message}") from None
    sockets, late = [connection.sock], Event()
    timer = Timer(max(0.0, end - time.monotonic()), _shut, (sockets, late))
    timer.start()
    try:
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
            sockets.append(connection.sock)
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", target, headers={"Host": parts.netloc, **_HEADERS})
        yield connection.getresponse()
        if late.is_set():  # a truncated read looks complete
            raise TimeoutError
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        if late.is_set():
            why = "it took too long"
        elif not isinstance(error, OSError):  # the standard library raises ValueError for some malformed responses
            why = f"the server's answer cannot be understood: {why}"
        raise CliError(f"{url}: {why}") from error
    finally:
        timer.cancel()
        timer.join()
        connection.close()


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except (ValueError, UnicodeError) as error:
        raise CliError(f"{url} is not the URL of a page") from error
    if parts.scheme not in ("http", "https") or not host:
        raise CliError(f"{url} is not the URL of a page; it must begin with http:// or https://")
    if parts.username is not None:
        raise CliError(f"{parts.hostname}: URLs with a user name are not fetched")
    netloc = f"[{host}]" if ":" in host else host
    netloc = netloc if parts.port is None else f"{netloc}:{parts.port}"
    return SplitResult(parts.scheme, netloc, _escaped(parts.path), _escaped(parts.query), "")


def _escaped(text: str) -> str:
    """Percent-encode the characters that a URL must not contain, as UTF-8."""
    return "".join(
        char if " " < char < "\x7f" else "".join(f"%{byte:02X}" for byte in char.encode(errors="replace"))
        for char in text
    )


def _connect(host: str, port: int, *, allow_private: bool) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not allow_private:
        for *_, address in found:
            if not is_public(str(address[0])):
                raise CliError(
                    f"{host} is at {address[0]}, which is this machine or a private network; "
                    "say --allow-private if that is what you want"
                )
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        connecting = socket.socket(family, kind, protocol)
        connecting.settimeout(_CONNECT_SECONDS)
        try:
            connecting.connect(address)
        except OSError as error:
            connecting.close()
            failure = error
        else:
            return connecting
    raise failure or OSError("it has no address")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        else:
            for network, shift in _EMBEDDED:
                if ip in network:
                    ip = ipaddress.IPv4Address(int(ip) >> shift & 0xFFFFFFFF)
                    break
    return ip.is_global and not ip.is_multicast


def _readable(data: bytes, media_type: str, charset: str) -> bytes:
    if media_type.startswith("text/") or media_type in _HTML:
        with suppress(ValueError, LookupError):  # unknown encoding, or the text is not in it
            data = data.decode(charset or "utf-8").encode()
    if media_type in _HTML and not data.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        data = b"<!DOCTYPE html>\n" + data
    return data


def _shut(sockets: list[socket.socket], late: Event) -> None:
    late.set()
    with suppress(OSError):
        sockets[-1].shutdown(socket.SHUT_RDWR)  # the connection drops its reference once the response has started
