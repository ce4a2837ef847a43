"""Fetching web pages: from real servers on loopback, within bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from memgpt.cli.errors import CliError
from memgpt.cli.loading.web import fetch, is_public


class _Pages(BaseHTTPRequestHandler):
    hang = threading.Event()

    def do_GET(self) -> None:
        match self.path:
            case "/page?q=%C3%BC":
                self._answer("<p>Grüße".encode("latin-1"), "text/html; charset=latin-1")
            case "/plain":
                self._answer(b"<p>no markup", "text/plain")
            case "/whole":
                self._answer(b"\n<!doctype html><p>x", "text/html")
            case "/pdf":
                self._answer(b"%PDF-\xff", "application/pdf")
            case "/moved":
                self._answer(b"", location="/plain")
            case "/loop":
                self._answer(b"", location="/loop")
            case "/elsewhere":
                self._answer(b"", location="http://10.0.0.1/")
            case "/file":
                self._answer(b"", location="file:///etc/passwd")
            case "/short":
                self._answer(b"x", length=10)
            case "/slow":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"first ")
                self.wfile.flush()
                self.hang.wait(60)
            case "/charset":
                self._answer(b"<p>x", 'text/html; charset="a\0b"')
            case "/empty":
                self._answer(b"", "text/plain")
            case "/packed":
                self._answer(b"\x1f\x8b", "text/html\r\nContent-Encoding: gzip")
            case "/bracket":
                self._answer(b"", location="http://[nowhere")
            case "/chunks":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nxxxxx")
            case "/ssh":
                self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
            case "/drips":
                self.send_response(200)
                self.end_headers()
                while not self.hang.wait(0.01):
                    self.wfile.write(b"x")
            case "/broken":
                self.send_error(500)
            case _:
                self.send_error(404)

    def _answer(self, data: bytes, kind: str = "text/html", *, location: str = "", length: int | None = None) -> None:
        self.send_response(302 if location else 200)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    _Pages.hang.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/page?q=ü#part", "<!DOCTYPE html>\n<p>Grüße".encode()),
        ("/plain", b"<p>no markup"),
        ("/whole", b"\n<!doctype html><p>x"),
        ("/pdf", b"%PDF-\xff"),
        ("/moved", b"<p>no markup"),
        ("/charset", b"<!DOCTYPE html>\n<p>x"),
        ("/empty", b""),
    ],
)
def test_a_page(site: str, path: str, expected: bytes) -> None:
    assert fetch(site + path, allow_private=True) == expected


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/absent", "answered 404"),
        ("/broken", "answered 500"),
        ("/packed", "compressed"),
        ("/bracket", "cannot be understood"),
        ("/chunks", "cannot be understood"),
        ("/ssh", "cannot be understood: SSH-2.0-OpenSSH$"),
        ("/loop", "more than 5 redirects"),
        ("/file", "must begin with http"),
        ("/short", "closed early"),
    ],
)
def test_a_page_that_cannot_be_had(site: str, path: str, says: str) -> None:
    with pytest.raises(CliError, match=says):
        fetch(site + path, allow_private=True)


def test_private_addresses_are_refused_unless_allowed(site: str) -> None:
    for url in (site, site.replace("127.0.0.1", "localhost"), "http://[::1]:9/", "http://169.254.169.254/latest"):
        with pytest.raises(CliError, match="--allow-private"):
            fetch(url)


def test_a_redirect_is_checked_again(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memgpt.cli.loading.web.is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(CliError, match=r"10\.0\.0\.1.*--allow-private"):
        fetch(site + "/elsewhere")


def test_bounds_on_time_and_size(site: str) -> None:
    for path in ("/slow", "/drips"):
        with pytest.raises(CliError, match="took too long"):
            fetch(site + path, allow_private=True, seconds=0.3)
    with pytest.raises(CliError, match="more than 5 bytes"):
        fetch(site + "/plain", allow_private=True, max_bytes=5)


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "example.org", "http://", "http://a:b@example.org/", "http://x:y/"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(CliError):
        fetch(url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public
