"""An OpenID provider for tests: it issues tokens, and serves its keys and tokens for clients over HTTP."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER = "https://issuer.example/realm"
AUDIENCE = "memgpt"


class Issuer:
    """Keys by their ids, and an HTTP server: GET returns the public keys, POST a token for a client's credentials.

    Attributes:
        keys: Private keys, with their algorithms.
        client_claims: Claims of the tokens for clients, by their ids, in addition to the usual ones.
        reads: How often the public keys were read.
        failing: Whether the server answers with an error.
    """

    def __init__(self) -> None:
        self.keys: dict[str, tuple[Any, str]] = {}
        self.client_claims: dict[str, dict[str, Any]] = {}
        self.reads = 0
        self.failing = False
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Base URL of the server, which serves every path alike."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def address(self) -> str:
        """Where the public keys are."""
        return f"{self.url}/jwks"

    def __enter__(self) -> Self:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.reads += 1
                self._respond(503 if issuer.failing else 200, issuer.jwks())

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                token = issuer._client_token({name: values[0] for name, values in form.items()})
                granted = {"access_token": token, "token_type": "Bearer"} if token else {"error": "invalid_client"}
                self._respond(200 if token else 401, json.dumps(granted).encode())

            def _respond(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, key_id: str, algorithm: str = "RS256") -> None:
        """Add a new key."""
        private: Any = {
            "RS": lambda: rsa.generate_private_key(65537, 2048),
            "ES": lambda: ec.generate_private_key(ec.SECP256R1()),
            "Ed": ed25519.Ed25519PrivateKey.generate,
        }[algorithm[:2]]()
        self.keys[key_id] = private, algorithm

    def jwks(self) -> bytes:
        """Return the public keys."""
        keys = []
        for key_id, (private, algorithm) in self.keys.items():
            kind = jwt.get_algorithm_by_name(algorithm)
            public = json.loads(kind.to_jwk(private.public_key()))
            keys.append({**public, "kid": key_id, "alg": algorithm, "use": "sig"})
        return json.dumps({"keys": keys}).encode()

    def _client_token(self, form: dict[str, str]) -> str | None:
        """Return a token for a client that sends its id and a secret; None if it is not known."""
        claims = self.client_claims.get(form.get("client_id", ""))
        if form.get("grant_type") != "client_credentials" or claims is None or not form.get("client_secret"):
            return None
        return self.token(next(iter(self.keys)), **claims)

    def token(self, key_id: str, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Issue a token; claims that are None are left out."""
        private, algorithm = self.keys[key_id]
        everything = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "alice",
            "exp": time.time() + 600,
            "tenant": "acme",
            "role": "user",
            **claims,
        }
        kept = {name: value for name, value in everything.items() if value is not None}
        return jwt.encode(kept, private, algorithm, headers={"kid": key_id, **(headers or {})})
