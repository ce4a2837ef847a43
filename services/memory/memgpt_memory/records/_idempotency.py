"""Idempotency of mutations: the first response is kept under the request's id.

Before the work, a row with a seed is written, from which the work derives its new ids; after the work, the response is
written. If a crash came in between, a repeated request finds only the seed and does the work again with the same ids,
so nothing is created twice.

A response is deleted with the agent or the source that it is about. The fact that there was such a request stays, so
that a late repetition does not create again what has been deleted.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any
from weakref import WeakValueDictionary

import structlog
from memgpt_runtime import reasons
from memgpt_runtime.errors import Reason, ServiceError

from memgpt_memory.clock import now
from memgpt_memory.records._model import MissingTextError, Record, TextRef
from memgpt_memory.records._records import Records, ids_of, key_of, text_records
from memgpt_memory.tasks import run_to_end

_log = structlog.get_logger(__name__)

RETENTION = 7 * 24 * 3600 * 1_000_000
"""Microseconds for which a response is kept; the contract promises 24 hours."""

TIDY_SECONDS = 3600.0
"""Seconds between two searches for older ones."""

_FIRST_TIDY_SECONDS = 30.0
"""Seconds from the start to the first search, which reads every record and is not urgent."""

_LONGEST_INLINE = 32_768
"""Longer responses, in characters of base 64, are stored in rows of their own."""
_TEXT = "answer"


class IdempotencyStore:
    """The responses of requests by tenant, method and id."""

    def __init__(self, records: Records) -> None:
        """Keep responses among `records`."""
        self._records = records
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tidying: asyncio.Task[None] | None = None

    def keep_tidy(self) -> None:
        """Delete old responses from time to time, until `close`."""
        self._tidying = asyncio.create_task(self._keep_tidy())

    async def close(self) -> None:
        """Stop deleting old responses."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)

    async def _keep_tidy(self) -> None:
        delay = min(_FIRST_TIDY_SECONDS, TIDY_SECONDS)
        while True:
            await asyncio.sleep(delay)
            delay = TIDY_SECONDS
            try:
                await self.forget_old()
            except ServiceError as error:  # retried next time
                _log.info("idempotency_cleanup_failed", error=str(error))

    async def run(
        self,
        tenant: str,
        method: str,
        request_id: str,
        fingerprint: bytes,
        seed: Callable[[], str],
        work: Callable[[str, str], Awaitable[bytes]],
        *,
        about: str = "",
    ) -> bytes:
        """Do `work`, or return what it returned before.

        Args:
            tenant: The tenant of the request.
            method: The RPC.
            request_id: The request's id; empty to do the work without remembering it.
            fingerprint: Digest of the request's other fields.
            seed: Makes a new id.
            work: Takes the seed and the row's key, and returns the response. Called again with the same two, it must
                not have its effect twice.
            about: The agent or source that the response is about; the seed if empty.

        Raises:
            InvalidArgument: The id was used for another request.
            NotFound: What the request created has been deleted.
        """
        if not request_id:
            return await run_to_end(work(seed(), ""))
        key = key_of("request", tenant, method, request_id)
        async with self._locks.setdefault(key, asyncio.Lock()):
            record = await self._records.get(key)
            if record is None:
                body: dict[str, Any] = {"fingerprint": fingerprint.hex(), "seed": seed()}
                await self._put(key, tenant, about or body["seed"], body)
            else:
                body = json.loads(record.body)
                _check_same(request_id, fingerprint, body)
                response = await self._find_response(key, body)
                if response is not None:
                    return response

            async def finish() -> bytes:
                response = await work(body["seed"], key)
                await self._put_response(key, tenant, about or body["seed"], body, response)
                return response

            return await run_to_end(finish())

    async def _find_response(self, key: str, body: Mapping[str, Any]) -> bytes | None:
        if "answer" in body:
            return base64.b64decode(body["answer"])
        if "parts" in body:
            try:
                texts = await self._records.read_texts(key, {_TEXT: TextRef(version=1, parts=body["parts"])})
            except MissingTextError:
                return None  # it is being forgotten
            return base64.b64decode(texts[_TEXT])
        return None

    async def _put_response(self, key: str, tenant: str, owner: str, body: Mapping[str, Any], response: bytes) -> None:
        encoded = base64.b64encode(response).decode()
        if len(encoded) <= _LONGEST_INLINE:
            await self._put(key, tenant, owner, {**body, "answer": encoded})
        else:
            reference, rows = text_records(tenant, key, _TEXT, 1, encoded)
            await self._records.put(*rows)
            await self._put(key, tenant, owner, {**body, "parts": reference.parts})

    async def forget_old(self) -> None:
        """Delete responses older than `RETENTION`."""
        old = await self._records.older("request", now() - RETENTION)
        await self._delete_texts(old)
        await self._records.delete(old)

    async def forget(self, requests: Sequence[Record], reason: Reason) -> None:
        """Delete the responses about an agent or a source that is being deleted; wait for requests in progress.

        Args:
            requests: Their rows.
            reason: The reason in the error that a repeated request gets.
        """
        async with AsyncExitStack() as stack:
            for request in sorted(requests, key=lambda one: one.id):
                await stack.enter_async_context(self._locks.setdefault(request.id, asyncio.Lock()))
            await self._delete_texts(ids_of(requests))
            if requests:
                await self._records.put(*(_gone(request, reason) for request in requests))

    async def _delete_texts(self, keys: Sequence[str]) -> None:
        """Delete the long responses of requests, also those that a crash left."""
        texts = await self._records.find_children("text", keys) if keys else ()
        await self._records.delete(ids_of(texts))

    async def _put(self, key: str, tenant: str, owner: str, body: dict[str, Any]) -> None:
        await self._records.put(Record(key, "request", tenant, owner, now(), json.dumps(body)))


def _check_same(request_id: str, fingerprint: bytes, body: Mapping[str, Any]) -> None:
    """Reject an id of another request, or of one whose result has been deleted."""
    if body["fingerprint"] != fingerprint.hex():
        raise reasons.request_id_reused(f'request_id "{request_id}" was used for another request; use a new request_id')
    if "gone" in body:
        raise reasons.deleted_since(
            f'what request "{request_id}" created has been deleted; use a new request_id', reason=Reason(body["gone"])
        )


def _gone(request: Record, reason: Reason) -> Record:
    """Return the row of a request whose result has been deleted."""
    body = {"fingerprint": json.loads(request.body)["fingerprint"], "gone": reason.value}
    return Record(request.id, "request", request.tenant, "", now(), json.dumps(body))
