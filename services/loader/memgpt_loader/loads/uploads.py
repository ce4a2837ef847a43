"""Receive the bytes of an upload at a minimum pace, since other uploads may wait for its reserved room in the spool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from memgpt_runtime import reasons

from memgpt_loader.loads.spooled_file import SpooledFile

_PACE_BYTES = 1024 * 1024


async def receive(
    chunks: AsyncIterator[bytes], spooled: SpooledFile, seconds_per_mib: float, on_chunk: Callable[[], None]
) -> None:
    """Write an upload to the spool and check it against its manifest.

    Args:
        chunks: The bytes.
        spooled: The file to write to.
        seconds_per_mib: Maximum time for each MiB or part of one.
        on_chunk: Called for every chunk.

    Raises:
        DeadlineExceeded: The upload is too slow, or has stalled.
        InvalidArgument: The bytes do not match the manifest.
        ResourceExhausted: The disk is full.
    """
    seconds_left, bytes_left = seconds_per_mib, _PACE_BYTES
    while True:
        started = time.monotonic()
        try:
            async with asyncio.timeout(seconds_left):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise reasons.deadline_exceeded(
                f"the upload sent less than {_PACE_BYTES:,} bytes in {seconds_per_mib:g} s, and other uploads may need "
                "its space; upload the file again, or raise loader.upload_pause_seconds",
                limit_seconds=seconds_per_mib,
            ) from None
        if chunk is None:
            break
        on_chunk()
        seconds_left, bytes_left = seconds_left - (time.monotonic() - started), bytes_left - len(chunk)
        if bytes_left <= 0:
            seconds_left, bytes_left = seconds_per_mib, _PACE_BYTES
        await spooled.write(chunk)
    await spooled.finish()
