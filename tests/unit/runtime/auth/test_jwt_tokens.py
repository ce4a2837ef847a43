"""JSON Web Tokens of a provider whose keys come over HTTP, and change."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.config import ConfigError, ServerSettings
from memgpt_runtime.auth import jwks
from memgpt_runtime.auth.jwks import Jwks
from memgpt_runtime.auth.jwt_tokens import JwtTokens
from memgpt_runtime.errors import Unauthenticated, Unavailable
from memgpt_runtime.principal import CredentialKind, Principal, Role

from tests.support.issuer import AUDIENCE, ISSUER, Issuer


@pytest.fixture(scope="module")
def provider() -> Iterator[Issuer]:
    with Issuer() as issuer:
        issuer.add("first")
        issuer.add("elliptic", "ES256")
        issuer.add("edwards", "EdDSA")
        yield issuer


def _tokens(issuer: Issuer, **settings: Any) -> JwtTokens:
    return JwtTokens(
        ServerSettings(**{"jwt_issuer": ISSUER, "jwt_audience": (AUDIENCE,), "jwt_jwks": issuer.address, **settings})
    )


@pytest.fixture
async def tokens(provider: Issuer) -> AsyncIterator[JwtTokens]:
    tokens = _tokens(provider)
    yield tokens
    await tokens.close()


async def _reason(tokens: JwtTokens, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await tokens.check(token)
    assert token not in caught.value.message
    return str(caught.value.reason)


@pytest.mark.parametrize("key_id", ["first", "elliptic", "edwards"])
async def test_a_token_names_tenant_role_and_subject(provider: Issuer, tokens: JwtTokens, key_id: str) -> None:
    expires = int(time.time()) + 60
    principal = await tokens.check(provider.token(key_id, exp=expires, email="alice@example.org"))
    assert principal == Principal(
        "acme", Role.USER, CredentialKind.JWT, "alice", "alice@example.org", expires=expires + 30.0
    )


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": time.time() - 3600}, "CREDENTIAL_EXPIRED"),
        ({"exp": None}, "CREDENTIAL_INVALID"),
        ({"exp": float("inf")}, "CREDENTIAL_INVALID"),
        ({"exp": 10**400}, "CREDENTIAL_INVALID"),
        ({"exp": [1]}, "CREDENTIAL_INVALID"),
        ({"iss": "https://other.example"}, "CREDENTIAL_INVALID"),
        ({"iss": None}, "CREDENTIAL_INVALID"),
        ({"aud": "another"}, "CREDENTIAL_INVALID"),
        ({"aud": None}, "CREDENTIAL_INVALID"),
        ({"aud": []}, "CREDENTIAL_INVALID"),
        ({"aud": ["another", 5]}, "CREDENTIAL_INVALID"),
        ({"aud": {AUDIENCE: True}}, "CREDENTIAL_INVALID"),
        ({"nbf": time.time() + 3600}, "CREDENTIAL_INVALID"),
        ({"nbf": float("inf")}, "CREDENTIAL_INVALID"),
        ({"iat": time.time() + 3600}, "CREDENTIAL_INVALID"),
        ({"sub": ["alice"]}, "CREDENTIAL_INVALID"),
        ({"tenant": None}, "CREDENTIAL_INVALID"),
        ({"tenant": "../other"}, "CREDENTIAL_INVALID"),
        ({"tenant": ["acme"]}, "CREDENTIAL_INVALID"),
        ({"role": None}, "CREDENTIAL_INVALID"),
        ({"role": "king"}, "CREDENTIAL_INVALID"),
        ({"role": "service"}, "CREDENTIAL_INVALID"),
        ({"role": {"admin": True}}, "CREDENTIAL_INVALID"),
    ],
)
async def test_other_claims_are_refused(
    provider: Issuer, tokens: JwtTokens, claims: dict[str, Any], reason: str
) -> None:
    assert await _reason(tokens, provider.token("first", **claims)) == reason


async def test_clocks_may_differ_by_the_leeway(provider: Issuer) -> None:
    tokens = _tokens(provider, jwt_leeway=30.0)
    now = time.time()
    assert await tokens.check(provider.token("first", exp=now - 20, nbf=now + 20, iat=now + 20))
    assert await _reason(tokens, provider.token("first", exp=now - 40)) == "CREDENTIAL_EXPIRED"
    assert await _reason(tokens, provider.token("first", nbf=now + 40)) == "CREDENTIAL_INVALID"
    await tokens.close()


async def test_one_of_several_audiences_is_enough(provider: Issuer, tokens: JwtTokens) -> None:
    assert await tokens.check(provider.token("first", aud=["another", AUDIENCE]))
    several = _tokens(provider, jwt_audience=("first", AUDIENCE))
    assert await several.check(provider.token("first"))
    await several.close()


async def test_an_expiry_beyond_all_times_is_the_latest_one(provider: Issuer, tokens: JwtTokens) -> None:
    principal = await tokens.check(provider.token("first", exp=1e300))
    assert principal.expires is not None
    Timestamp().FromMicroseconds(int(principal.expires * 1_000_000))  # as `WhoAmI` shows it


async def test_forged_tokens_are_refused(provider: Issuer, tokens: JwtTokens) -> None:
    good = provider.token("first")
    head, body, signature = good.split(".")
    other = Issuer()
    other.add("first")
    public = provider.jwks()
    forged = {
        "unsigned": jwt.encode({"iss": ISSUER, "aud": AUDIENCE}, "", "none", {"kid": "first"}),
        "shared secret": jwt.encode({"iss": ISSUER, "aud": AUDIENCE}, public.hex(), "HS256", {"kid": "first"}),
        "another key": other.token("first"),
        "another key's id": provider.token("first", {"kid": "elliptic"}),
        "changed claims": f"{head}.{body[:-2]}AA.{signature}",
        "no signature": f"{head}.{body}.",
    }
    for what, token in forged.items():
        assert await _reason(tokens, token) in ("CREDENTIAL_INVALID", "CREDENTIAL_MALFORMED"), what
    headers = (b"[" * 5000, b'{"a":' * 1000, b'{"alg":' + b"9" * 5000 + b"}", b"\xff\xfe", b"[]", b"null")
    strange = [f"{base64.urlsafe_b64encode(header).rstrip(b'=').decode()}.{body}.{signature}" for header in headers]
    for malformed in ("a.b.c", "..", f"{head}", "é.é.é", "x" * 9000, *strange):
        assert await _reason(tokens, malformed) == "CREDENTIAL_MALFORMED"
    extended = provider.token("first", {"crit": ["x"], "x": 1})
    assert await _reason(tokens, extended) in ("CREDENTIAL_INVALID", "CREDENTIAL_MALFORMED"), "an unknown extension"
    assert await tokens.check(good)


async def test_only_listed_algorithms_count(provider: Issuer) -> None:
    tokens = _tokens(provider, jwt_algorithms=("ES256",))
    assert await tokens.check(provider.token("elliptic"))
    assert await _reason(tokens, provider.token("first")) == "CREDENTIAL_INVALID"
    await tokens.close()


async def test_claims_and_roles_have_the_names_of_the_provider(provider: Issuer) -> None:
    tokens = _tokens(
        provider,
        jwt_tenant_claim="https://example.org/tenant",
        jwt_role_claim="realm_access.roles",
        jwt_roles=("memgpt-readers=reader", "memgpt-admins=admin"),
    )
    claims: dict[str, Any] = {"tenant": None, "role": None, "https://example.org/tenant": "globex"}
    groups = {"roles": ["everyone", "memgpt-admins", "memgpt-readers"]}
    principal = await tokens.check(provider.token("first", realm_access=groups, **claims))
    assert (principal.tenant, principal.role) == ("globex", Role.ADMIN)
    token = provider.token("first", realm_access={"roles": ["admin"]}, **claims)
    assert await _reason(tokens, token) == "CREDENTIAL_INVALID"
    await tokens.close()


async def test_a_new_key_is_found_and_unknown_ones_do_not_flood_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.0)
    with Issuer() as issuer:
        issuer.add("first")
        tokens = _tokens(issuer)
        assert await tokens.check(issuer.token("first"))
        assert issuer.reads == 1
        issuer.add("second")
        assert await tokens.check(issuer.token("second"))
        assert issuer.reads == 2
        del issuer.keys["first"]
        monkeypatch.setattr(jwks, "AGAIN_SECONDS", 3600.0)
        stranger = Issuer()
        for number in range(20):
            stranger.add(f"k{number}", "ES256")
            assert await _reason(tokens, stranger.token(f"k{number}")) == "CREDENTIAL_INVALID"
        assert issuer.reads == 2
        await tokens.close()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_key_that_replaces_another_with_the_same_id_is_found(
    monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.0)
    with Issuer() as issuer:
        issuer.add("only")
        tokens = _tokens(issuer)
        former = issuer.token("only")
        assert await tokens.check(former)
        issuer.add("only", algorithm)
        assert await tokens.check(issuer.token("only"))
        assert issuer.reads == 2
        assert await _reason(tokens, f"{former[:-4]}AAAA") == "CREDENTIAL_INVALID"
        monkeypatch.setattr(jwks, "AGAIN_SECONDS", 3600.0)
        reads = issuer.reads
        stranger = Issuer()
        stranger.add("only", algorithm)
        for _ in range(20):
            assert await _reason(tokens, stranger.token("only")) == "CREDENTIAL_INVALID"
        assert issuer.reads == reads
        await tokens.close()


async def test_keys_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.0)
    with Issuer() as issuer:
        issuer.add("first")
        issuer.failing = True
        tokens = _tokens(issuer)
        with pytest.raises(Unavailable):
            await tokens.check(issuer.token("first"))
        issuer.failing = False
        assert await tokens.check(issuer.token("first"))
        issuer.failing = True
        monkeypatch.setattr(jwks, "LIFETIME_SECONDS", 0.0)
        assert await tokens.check(issuer.token("first", sub="bob")), "a failed read keeps the former keys"
        await tokens.close()


async def test_an_answer_that_is_not_http(provider: Issuer) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        tokens = _tokens(provider, jwt_jwks=f"http://127.0.0.1:{port}/jwks")
        with pytest.raises(Unavailable):
            await tokens.check(provider.token("first"))
        await tokens.close()


async def test_keys_of_a_file(provider: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(provider.jwks())
    tokens = _tokens(provider, jwt_jwks=str(file))
    assert await tokens.check(provider.token("first"))
    await tokens.close()


@pytest.mark.parametrize(
    "damaged",
    [
        {"kty": "RSA", "kid": "odd", "alg": ["RS256"], "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": "odd", "n": 5, "e": "AQAB"},
        {"kty": ["RSA"], "kid": "odd"},
        {"kty": "EC", "kid": "odd", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "OKP", "kid": "odd", "crv": "Ed25519", "x": 5},
        {"kty": "oct", "kid": "odd", "k": "AQAB", "alg": "HS256"},
        "not an object",
    ],
)
async def test_a_key_that_cannot_be_used_does_not_hide_the_others(
    provider: Issuer, tmp_path: Path, damaged: Any
) -> None:
    document = json.loads(provider.jwks())
    document["keys"].insert(0, damaged)
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(document))
    tokens = _tokens(provider, jwt_jwks=str(file))
    assert await tokens.check(provider.token("first"))
    assert await _reason(tokens, provider.token("first", {"kid": "odd"})) == "CREDENTIAL_INVALID"
    await tokens.close()


def test_unusable_settings(provider: Issuer) -> None:
    for source in ("http://example.org/jwks", "ftp://example.org/jwks", "file:///etc/passwd"):
        with pytest.raises(ConfigError, match="neither an https"):
            Jwks(source)
    for roles in (("admins",), ("admins=king",), ("x=service",)):
        with pytest.raises(ConfigError, match=r"server\.jwt_roles"):
            _tokens(provider, jwt_roles=roles)
