"""API keys: their format, and a cache that checks them without asking Memory at every call.

A server asks Memory once for each key that it sees. From then on it asks every `REFRESH_SECONDS`, with one call for all
keys that were used in the meantime or have open streams, so that no call waits and a change is effective within 5
seconds. A key that was idle is asked for again before it is accepted.

While Memory is away, a key that was checked stays valid for `STALE_SECONDS` after its last check.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field, replace
from typing import Protocol

from memgpt_runtime import clock, reasons
from memgpt_runtime.auth.open_streams import OpenStreams
from memgpt_runtime.errors import ServiceError, Unauthenticated
from memgpt_runtime.ids import random_bytes
from memgpt_runtime.logs import get_logger
from memgpt_runtime.principal import CredentialKind, Principal

_log = get_logger(__name__)

PREFIX = "mgpt_"
"""Begins every API key, so that scanners for secrets recognize it."""

REFRESH_SECONDS = 1.0
"""Seconds between two checks of all keys in use."""

FRESH_SECONDS = 3.0
"""Seconds for which a check counts; after that, a call waits for a new one."""

STALE_SECONDS = 300.0
"""Seconds for which a check counts while Memory cannot be asked."""

_AGAIN_SECONDS = 0.25
"""Least seconds between two checks of one key that wrong secrets cause."""

_MOST_ENTRIES = 10_000
_MOST_UNKNOWN = 1_000
_MOST_WAITING = 4_096
_BATCH = 500
_TOKEN = re.compile(r"mgpt_([0-9a-hjkmnp-tv-z]{26})_([A-Za-z0-9_-]{43})")
_ID_PREFIX = "key_"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of a key.

    Attributes:
        digest: SHA-256 of the secret.
        expires: When it stops being accepted, in seconds since 1970; None for the newest one.
    """

    digest: bytes
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What a server needs to check a key.

    Attributes:
        principal: Whom it stands for, with its expiry.
        secrets: Its secrets.
        revoked: Whether it was revoked.
    """

    principal: Principal
    secrets: tuple[Secret, ...]
    revoked: bool = False

    def find(self, digest: bytes) -> Secret | None:
        """Return the secret with a digest; compared in constant time."""
        found = None
        for secret in self.secrets:
            if hmac.compare_digest(secret.digest, digest):
                found = secret
        return found

    def refusal(self, secret: Secret | None) -> Unauthenticated | None:
        """Return why the key is not accepted now with one of its secrets, or a former one (None); None if it is."""
        if self.revoked:
            return reasons.credential_revoked("the API key was revoked; use another one")
        if self.principal.expires is not None and self.principal.expires <= clock.seconds():
            return reasons.credential_expired("the API key has expired; use another one")
        if secret is None or (secret.expires is not None and secret.expires <= clock.seconds()):
            return reasons.credential_expired("this secret of the API key was replaced; use the new one")
        return None


class ApiKeySource(Protocol):
    """Knows the keys."""

    async def resolve(self, ids: Sequence[str], used: Sequence[str]) -> Mapping[str, ApiKey]:
        """Return keys by their ids, without those that do not exist.

        Args:
            ids: Their ids.
            used: Those that were used since the last call.

        Raises:
            ServiceError: The source cannot be asked.
        """
        ...


def new_token(key_id: str) -> tuple[str, bytes]:
    """Return a new token for a key, and the SHA-256 of its secret, which has 256 random bits.

    Args:
        key_id: Id of the key, from `new_id("key")`.
    """
    secret = base64.urlsafe_b64encode(random_bytes("secret", 32)).rstrip(b"=").decode()
    return f"{PREFIX}{key_id.removeprefix(_ID_PREFIX)}_{secret}", digest_of(secret)


def digest_of(secret: str) -> bytes:
    """Return what is stored of a secret. A secret has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).digest()


def parse_token(token: str) -> tuple[str, str]:
    """Return the id of the key and the secret of a token.

    Raises:
        Unauthenticated: It is malformed.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise reasons.credential_malformed("the API key is malformed; check that it was copied in full")
    return _ID_PREFIX + match[1], match[2]


@dataclass(slots=True)
class _Entry:
    """A checked key; `key` is None if it was deleted since."""

    key: ApiKey | None
    checked: float
    used: bool = False


@dataclass(slots=True)
class _Batch:
    """Keys to ask for with the next call."""

    ids: set[str] = field(default_factory=set)
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ApiKeyCache:
    """Checks API keys, by what a source said about them."""

    def __init__(self, streams: OpenStreams) -> None:
        """Check nothing yet: `open` sets the source."""
        self._streams = streams
        self._source: ApiKeySource | None = None
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # Apart, so that calls with invented keys cannot push out those that exist.
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._next: _Batch | None = None
        self._asking: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._away = False

    def open(self, source: ApiKeySource) -> None:
        """Check keys by a source, and begin to check those in use regularly, until `close`."""
        self._source = source
        self._refreshing = asyncio.create_task(self._keep_fresh(), name="api-keys", context=Context())

    async def close(self) -> None:
        """Stop checking."""
        tasks = [task for task in (self._refreshing, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self, token: str) -> Principal:
        """Return whom a token stands for.

        Raises:
            Unauthenticated: It is malformed, unknown, expired or revoked.
            Unavailable: It cannot be checked now.
        """
        key_id, secret = parse_token(token)
        digest = digest_of(secret)
        entry = await self._entry(key_id)
        found = _find(entry, digest)
        if entry is not None and found is None:
            # The secret may be newer than the last check.
            await asyncio.sleep(entry.checked + _AGAIN_SECONDS - time.monotonic())
            entry = await self._ask(key_id, entry)
            found = _find(entry, digest)
        if entry is None or entry.key is None or found is None:
            raise reasons.credential_unknown("unknown API key; check it, or create a new one")
        entry.used = True
        refusal = entry.key.refusal(found)
        if refusal is not None:
            raise refusal
        return replace(entry.key.principal, secret=digest)

    async def _entry(self, key_id: str) -> _Entry | None:
        """Return the cached or new entry of a key; None if the key does not exist."""
        now = time.monotonic()
        entry = self._entries.get(key_id)
        if entry is not None and now - entry.checked <= FRESH_SECONDS:
            return entry
        if now - self._unknown.get(key_id, float("-inf")) <= FRESH_SECONDS:
            return None
        return await self._ask(key_id, entry)

    async def refresh(self) -> None:
        """Ask again for all keys that were used since the last time or have open streams, and end streams."""
        in_use = {key_id for key_id, entry in self._entries.items() if entry.used and entry.key is not None}
        in_use.update(
            key_id for key_id in self._streams.credential_ids(CredentialKind.API_KEY) if key_id in self._entries
        )
        ids = sorted(in_use)
        for start in range(0, len(ids), _BATCH):
            await self._resolve(ids[start : start + _BATCH])

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except ServiceError as error:
                if not self._away:
                    _log.warning("api_key_check_failed", error=str(error), accepted_for_seconds=STALE_SECONDS)
                self._away = True
                self._end_stale()
            except Exception:  # noqa: BLE001 - the next attempt may succeed
                _log.exception("api_key_refresh_failed")
            else:
                self._away = False

    async def _ask(self, key_id: str, known: _Entry | None) -> _Entry | None:
        """Ask for a key, together with others that are waited for; while the source is away, return what is known."""
        if self._away and known is not None and _usable(known):
            return known
        batch = self._next
        if batch is None:
            batch = self._next = _Batch()
        if len(batch.ids) >= _MOST_WAITING:
            raise reasons.overloaded("too many unknown API keys at once; retry later", limit=_MOST_WAITING)
        batch.ids.add(key_id)
        if self._asking is None or self._asking.done():
            # In a context of its own: it is not the work of the call that happens to start it.
            self._asking = asyncio.create_task(self._ask_all(), name="api-keys-ask", context=Context())
        try:
            await asyncio.shield(batch.done)
        except ServiceError:
            if known is not None and _usable(known):
                return known
            raise
        return self._entries.get(key_id)

    async def _ask_all(self) -> None:
        while self._next is not None:
            batch, self._next = self._next, None
            ids = sorted(batch.ids)
            try:
                for start in range(0, len(ids), _BATCH):
                    await self._resolve(ids[start : start + _BATCH])
            except ServiceError as error:
                batch.done.set_exception(error)
                batch.done.exception()  # retrieved, in case that every waiting call is gone
            except Exception:  # noqa: BLE001 - the next batch may succeed, and its calls wait for this task
                _log.exception("api_key_lookup_failed")
                batch.done.set_exception(
                    reasons.service_unavailable("the API key cannot be checked now; retry", service="memory")
                )
                batch.done.exception()
            except BaseException:
                batch.done.cancel()
                raise
            else:
                batch.done.set_result(None)

    async def _resolve(self, ids: Sequence[str]) -> None:
        if self._source is None:
            raise reasons.service_unavailable("API keys cannot be checked yet; retry", service="memory")
        asked = time.monotonic()
        entries = {key_id: self._entries.get(key_id) for key_id in ids}
        used = [key_id for key_id, entry in entries.items() if entry is not None and entry.used]
        for key_id in used:
            self._entries[key_id].used = False
        try:
            keys = await self._source.resolve(ids, used)
        except BaseException:
            for key_id in used:
                if key_id in self._entries:
                    self._entries[key_id].used = True  # to be told with the next call
            raise
        for key_id in ids:
            self._note(key_id, keys.get(key_id), asked)
            self._end_refused(key_id, keys.get(key_id))
        self._evict(keep={*ids, *self._streams.credential_ids(CredentialKind.API_KEY)})

    def _note(self, key_id: str, key: ApiKey | None, asked: float) -> None:
        entry = self._entries.get(key_id)
        if entry is None and key is None:
            self._unknown[key_id] = asked
            self._unknown.move_to_end(key_id)
            return
        if entry is None:
            self._unknown.pop(key_id, None)
            entry = self._entries[key_id] = _Entry(key, asked)
        entry.key, entry.checked = key, asked
        self._entries.move_to_end(key_id)

    def _end_refused(self, key_id: str, key: ApiKey | None) -> None:
        """End the streams that were opened with what is no longer accepted: a key, or one of its secrets."""
        gone = reasons.credential_revoked("the API key was deleted; use another one")
        for stream in self._streams.of(CredentialKind.API_KEY, key_id):
            refusal = gone if key is None else key.refusal(key.find(stream.secret))
            if refusal is not None:
                stream.end(refusal)

    def _evict(self, keep: Collection[str]) -> None:
        while len(self._unknown) > _MOST_UNKNOWN:
            self._unknown.popitem(last=False)
        while len(self._entries) > _MOST_ENTRIES and next(iter(self._entries)) not in keep:
            self._entries.popitem(last=False)

    def _end_stale(self) -> None:
        for key_id in self._streams.credential_ids(CredentialKind.API_KEY):
            entry = self._entries.get(key_id)
            if entry is not None and not _usable(entry):
                unchecked = reasons.service_unavailable(
                    f"the API key could not be checked for {STALE_SECONDS:g} s; retry", service="memory"
                )
                for stream in self._streams.of(CredentialKind.API_KEY, key_id):
                    stream.end(unchecked)


def _usable(entry: _Entry) -> bool:
    """Whether an entry counts while the source is away."""
    return entry.key is not None and time.monotonic() - entry.checked < STALE_SECONDS


def _find(entry: _Entry | None, digest: bytes) -> Secret | None:
    """Return the secret of a checked key with a digest."""
    return entry.key.find(digest) if entry is not None and entry.key is not None else None
