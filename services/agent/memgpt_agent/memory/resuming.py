"""Streams of Memory that are reopened if their connection breaks or Memory is overloaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

import grpc
from memgpt_runtime.errors import Reason, ResourceExhausted, Unavailable
from memgpt_runtime.logs import get_logger
from memgpt_runtime.retry import RetryPolicy
from memgpt_runtime.status import from_rpc_error

_log = get_logger(__name__)

_SECONDS = 30.0
"""Seconds for which a stream is reopened, from the first failure since its last response."""

R = TypeVar("R")


async def resuming(
    open_stream: Callable[[], grpc.aio.UnaryStreamCall[Any, R]], service: str, resumable: Callable[[], bool]
) -> AsyncGenerator[R]:
    """Yield the responses of a stream.

    Args:
        open_stream: Opens the stream from its current position.
        service: Name of the service, for errors.
        resumable: Returns whether the stream may be reopened now.

    Raises:
        ServiceError: The stream failed and cannot be reopened.
    """
    policy = RetryPolicy(seconds=_SECONDS, retryable=_may_pass, initial=0.2, maximum=2.0)
    while True:
        stream = open_stream()
        try:
            async for response in stream:
                policy.progressed()
                yield response
            return
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error, service)
            wait = policy(failure) if resumable() else False
            if wait is False:
                raise failure from error
            _log.info("stream_interrupted", code=error.code().name, reason=failure.reason, retry_seconds=round(wait, 2))
        finally:
            stream.cancel()
        await asyncio.sleep(wait)


def _may_pass(error: Exception) -> bool:
    # An error without a request id does not come from Memory.
    broken = isinstance(error, Unavailable) and error.request_id is None
    return broken or (isinstance(error, ResourceExhausted) and error.reason == Reason.OVERLOADED)
