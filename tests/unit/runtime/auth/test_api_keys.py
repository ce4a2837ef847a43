"""The cache of API keys: what it asks for, when, and what it believes while nobody answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import pytest
from memgpt_runtime import reasons
from memgpt_runtime.auth import api_keys
from memgpt_runtime.auth.api_keys import ApiKey, ApiKeyCache, Secret, new_token, parse_token
from memgpt_runtime.auth.open_streams import OpenStreams
from memgpt_runtime.errors import ResourceExhausted, Unauthenticated, Unavailable
from memgpt_runtime.ids import new_id
from memgpt_runtime.principal import CredentialKind, Principal, Role

from tests.support.waiting import until


class Source:
    """Keys by id, and how often they were asked for."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.calls: list[list[str]] = []
        self.used: list[str] = []
        self.away = False

    def add(self) -> tuple[str, str]:
        """Add a key. Returns its id and its token."""
        key_id = new_id("key")
        token, digest = new_token(key_id)
        principal = Principal("acme", Role.USER, CredentialKind.API_KEY, key_id, "name")
        self.keys[key_id] = ApiKey(principal, (Secret(digest),))
        return key_id, token

    async def resolve(self, ids: Sequence[str], used: Sequence[str]) -> Mapping[str, ApiKey]:
        self.calls.append(list(ids))
        await asyncio.sleep(0)
        if self.away:
            raise reasons.service_unavailable("away", service="memory")
        self.used += used
        return {key_id: self.keys[key_id] for key_id in ids if key_id in self.keys}


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def streams() -> OpenStreams:
    return OpenStreams()


@pytest.fixture
async def cache(source: Source, streams: OpenStreams, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiKeyCache]:
    """A cache whose regular refresh does not run by itself."""
    monkeypatch.setattr(api_keys, "REFRESH_SECONDS", 3600)
    cache = ApiKeyCache(streams)
    cache.open(source)
    yield cache
    await cache.close()


async def _reason(cache: ApiKeyCache, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await cache.check(token)
    return str(caught.value.reason)


def _age(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let monotonic time pass."""
    real = time.monotonic
    monkeypatch.setattr("memgpt_runtime.auth.api_keys.time.monotonic", lambda: real() + seconds)


def test_tokens() -> None:
    key_id = new_id("key")
    first, digest = new_token(key_id)
    second, other = new_token(key_id)
    assert first != second
    assert digest != other
    found, secret = parse_token(first)
    assert (found, api_keys.digest_of(secret)) == (key_id, digest)
    assert first.startswith("mgpt_")
    for bad in (first[:-1], first + "A", first.upper(), "mgpt_", first.replace("mgpt_", "sk_"), first + "\n"):
        with pytest.raises(Unauthenticated, match="malformed"):
            parse_token(bad)


async def test_a_warm_key_costs_no_call(cache: ApiKeyCache, source: Source) -> None:
    key_id, token = source.add()
    for _ in range(100):
        assert (await cache.check(token)).credential_id == key_id
    assert source.calls == [[key_id]]


async def test_calls_at_once_share_one_question(cache: ApiKeyCache, source: Source) -> None:
    tokens = [source.add()[1] for _ in range(50)]
    await asyncio.gather(*(cache.check(token) for token in tokens * 3))
    assert len(source.calls) <= 2
    assert sum(map(len, source.calls)) == 50


async def test_unknown_keys_are_remembered_for_a_moment(
    cache: ApiKeyCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = new_token(new_id("key"))
    assert await _reason(cache, token) == "CREDENTIAL_UNKNOWN"
    assert await _reason(cache, token) == "CREDENTIAL_UNKNOWN"
    assert len(source.calls) == 1
    _age(monkeypatch, api_keys.FRESH_SECONDS + 1)
    assert await _reason(cache, token) == "CREDENTIAL_UNKNOWN"
    assert len(source.calls) == 2


async def test_invented_keys_do_not_push_out_real_ones(
    cache: ApiKeyCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "_MOST_UNKNOWN", 10)
    _, token = source.add()
    await cache.check(token)
    for _ in range(50):
        assert await _reason(cache, new_token(new_id("key"))[0]) == "CREDENTIAL_UNKNOWN"
    calls = len(source.calls)
    await cache.check(token)
    assert len(source.calls) == calls
    assert len(cache._unknown) == 10


async def test_known_keys_are_bounded(cache: ApiKeyCache, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "_MOST_ENTRIES", 10)
    for _ in range(30):
        await cache.check(source.add()[1])
    assert len(cache._entries) == 10


async def test_a_wrong_secret_is_unknown_and_asked_for_once(cache: ApiKeyCache, source: Source) -> None:
    key_id, token = source.add()
    wrong = new_token(key_id)[0]
    await cache.check(token)
    assert await _reason(cache, wrong) == "CREDENTIAL_UNKNOWN"
    assert len(source.calls) == 2, "the secret could be newer than the cache"
    assert (await cache.check(token)).credential_id == key_id


async def test_a_new_secret_is_accepted_at_once_and_the_former_one_until_it_expires(
    cache: ApiKeyCache, source: Source
) -> None:
    key_id, token = source.add()
    await cache.check(token)
    newer, digest = new_token(key_id)
    former = replace(source.keys[key_id].secrets[0], expires=time.time() + 60)
    source.keys[key_id] = replace(source.keys[key_id], secrets=(Secret(digest), former))
    assert await cache.check(newer)
    assert await cache.check(token)
    former = replace(former, expires=time.time() - 1)
    source.keys[key_id] = replace(source.keys[key_id], secrets=(Secret(digest), former))
    await cache.refresh()
    assert await cache.check(newer)
    assert await _reason(cache, token) == "CREDENTIAL_EXPIRED"


@pytest.mark.parametrize("reason", ["CREDENTIAL_REVOKED", "CREDENTIAL_EXPIRED", "CREDENTIAL_UNKNOWN"])
async def test_a_refresh_notices_changes(cache: ApiKeyCache, source: Source, reason: str) -> None:
    key_id, token = source.add()
    await cache.check(token)
    key = source.keys.pop(key_id)
    if reason == "CREDENTIAL_REVOKED":
        source.keys[key_id] = replace(key, revoked=True)
    elif reason == "CREDENTIAL_EXPIRED":
        source.keys[key_id] = replace(key, principal=replace(key.principal, expires=time.time() - 1))
    await cache.refresh()
    assert source.used == [key_id]
    assert await _reason(cache, token) == reason


async def test_unused_keys_are_not_refreshed_but_fetched_when_checked_again(
    cache: ApiKeyCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, token = source.add()
    await cache.check(token)
    await cache.refresh()
    calls = len(source.calls)
    await cache.refresh()
    assert len(source.calls) == calls
    source.keys[key_id] = replace(source.keys[key_id], revoked=True)
    _age(monkeypatch, api_keys.FRESH_SECONDS + 1)
    assert await _reason(cache, token) == "CREDENTIAL_REVOKED"


async def test_while_the_source_is_away_a_checked_key_stays_valid_for_a_bounded_time(
    cache: ApiKeyCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = source.add()
    _, never_seen = source.add()
    await cache.check(token)
    source.away = True
    _age(monkeypatch, api_keys.STALE_SECONDS - 1)
    assert await cache.check(token)
    with pytest.raises(Unavailable):
        await cache.check(never_seen)
    _age(monkeypatch, api_keys.STALE_SECONDS + 1)
    with pytest.raises(Unavailable):
        await cache.check(token)
    source.away = False
    assert await cache.check(token)


async def test_streams_of_a_revoked_key_end(cache: ApiKeyCache, source: Source, streams: OpenStreams) -> None:
    key_id, token = source.add()
    principal = await cache.check(token)
    entered = asyncio.Event()

    async def stream() -> None:
        async with streams.guard(principal):
            entered.set()
            await asyncio.Event().wait()

    running = [asyncio.create_task(stream()) for _ in range(2)]
    await entered.wait()
    await asyncio.sleep(0)
    await cache.refresh()
    await cache.refresh()
    assert source.calls[1:] == [[key_id], [key_id]], "a key with an open stream is refreshed though nobody calls"
    source.keys[key_id] = replace(source.keys[key_id], revoked=True)
    await cache.refresh()
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert [getattr(each, "reason", each) for each in outcomes] == ["CREDENTIAL_REVOKED"] * 2
    assert not streams.credential_ids(CredentialKind.API_KEY)


@pytest.mark.parametrize("dropped", [False, True], ids=["expired", "replaced twice"])
async def test_streams_of_a_replaced_secret_end_with_it(
    cache: ApiKeyCache, source: Source, streams: OpenStreams, dropped: bool
) -> None:
    """A key is rotated because its secret is known to others: these must not go on listening."""
    key_id, former = source.add()
    newer, digest = new_token(key_id)

    async def stream(token: str) -> None:
        async with streams.guard(await cache.check(token)):
            await asyncio.Event().wait()

    old = asyncio.create_task(stream(former))
    await until(lambda: streams.of(CredentialKind.API_KEY, key_id))
    key = source.keys[key_id]
    overlap = replace(key.secrets[0], expires=time.time() + 3600)
    source.keys[key_id] = replace(key, secrets=(Secret(digest), overlap))
    new = asyncio.create_task(stream(newer))
    await until(lambda: len(streams.of(CredentialKind.API_KEY, key_id)) == 2)
    await cache.refresh()
    await asyncio.sleep(0)
    assert not old.done(), "the former secret is still valid"
    secrets = (Secret(digest),) if dropped else (Secret(digest), replace(overlap, expires=time.time() - 1))
    source.keys[key_id] = replace(key, secrets=secrets)
    await cache.refresh()
    with pytest.raises(Unauthenticated, match="was replaced; use the new one") as caught:
        await old
    assert caught.value.reason == "CREDENTIAL_EXPIRED"
    assert not new.done()
    new.cancel()


async def test_keys_with_open_streams_stay_known(
    cache: ApiKeyCache, source: Source, streams: OpenStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else nobody would notice that they were revoked."""
    monkeypatch.setattr(api_keys, "_MOST_ENTRIES", 3)
    key_id, token = source.add()

    async def stream() -> None:
        async with streams.guard(await cache.check(token)):
            for _ in range(10):
                await cache.check(source.add()[1])
            source.keys[key_id] = replace(source.keys[key_id], revoked=True)
            await cache.refresh()
            await asyncio.Event().wait()

    with pytest.raises(Unauthenticated, match="revoked"):
        await stream()


async def test_streams_of_a_token_whose_subject_is_the_id_of_a_revoked_key_go_on(
    cache: ApiKeyCache, source: Source, streams: OpenStreams
) -> None:
    key_id, token = source.add()
    await cache.check(token)
    async with streams.guard(Principal(kind=CredentialKind.JWT, credential_id=key_id)):
        source.keys[key_id] = replace(source.keys[key_id], revoked=True)
        await cache.refresh()
        await asyncio.sleep(0)  # a cancellation would be delivered now
    assert await _reason(cache, token) == "CREDENTIAL_REVOKED"


async def test_a_stream_ends_when_its_credential_expires(streams: OpenStreams) -> None:
    with pytest.raises(Unauthenticated) as caught:
        async with streams.guard(Principal(expires=time.time() + 0.01)):
            await asyncio.Event().wait()
    assert caught.value.reason == "CREDENTIAL_EXPIRED"


async def test_a_cancellation_by_other_code_is_kept(streams: OpenStreams) -> None:
    async def stream() -> None:
        async with streams.guard(Principal(kind=CredentialKind.API_KEY, credential_id="key_1")):
            await asyncio.Event().wait()

    task = asyncio.create_task(stream())
    await asyncio.sleep(0)
    task.cancel()
    for one in streams.of(CredentialKind.API_KEY, "key_1"):
        one.end(reasons.credential_revoked("revoked"))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_too_many_questions_at_once_are_refused(
    cache: ApiKeyCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "_MOST_WAITING", 5)
    tokens = [new_token(new_id("key"))[0] for _ in range(20)]
    outcomes = await asyncio.gather(*(cache.check(token) for token in tokens), return_exceptions=True)
    kinds = {type(each) for each in outcomes}
    assert kinds == {Unauthenticated, ResourceExhausted}


async def test_a_use_is_told_when_the_source_is_back(
    cache: ApiKeyCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, token = source.add()
    await cache.check(token)
    source.away = True
    with pytest.raises(Unavailable):
        await cache.refresh()
    source.away = False
    await cache.refresh()
    assert source.used == [key_id]


async def test_calls_do_not_wait_forever_after_an_unexpected_failure(
    cache: ApiKeyCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, damaged = source.add()
    _, token = source.add()
    began, go_on = asyncio.Event(), asyncio.Event()
    resolve = source.resolve

    async def fail_once(ids: Sequence[str], used: Sequence[str]) -> Mapping[str, ApiKey]:
        monkeypatch.setattr(source, "resolve", resolve)
        began.set()
        await go_on.wait()
        raise ValueError("7 is not a valid Role")

    monkeypatch.setattr(source, "resolve", fail_once)
    first = asyncio.create_task(cache.check(damaged))
    await began.wait()
    second = asyncio.create_task(cache.check(token))
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(Unavailable, match="cannot be checked now"):
        await first
    async with asyncio.timeout(60):
        assert (await second).tenant == "acme"
