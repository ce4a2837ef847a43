"""Upload of the files of a load to the Loader."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

from memgpt.cli.loading.report import Report
from memgpt.client import (
    RESUME_SECONDS,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Loads,
    Reason,
    ResourceExhausted,
    RetryPolicy,
    ServiceError,
    Unavailable,
    is_resumable,
)
from memgpt.loader.v1.load_pb2 import FileState, Load, LoadFile

_UPLOADS = 4
_STALLS = 3
"""Attempts to send a file that was too slow for the Loader; this process may have been suspended."""

_LONG_SECONDS = 30.0
"""An upload that lasted this many seconds had reached the Loader; only time after it counts toward the retries."""


def transfer(report: Report, loads: Loads, load: Load, paths: Mapping[str, Path]) -> Load:
    """Upload the files that the Loader needs, and follow the load until it ends."""
    stop = Event()
    uploads: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(_UPLOADS) as pool:

        def want(file: LoadFile) -> None:
            name = file.manifest.name
            # A file is needed again if the Loader restarted before parsing it.
            if file.state == FileState.FILE_STATE_AWAITING_UPLOAD and (name not in uploads or uploads[name].done()):
                uploads[name] = pool.submit(send_file, loads, load.load_id, name, paths[name], stop)
                uploads[name].add_done_callback(lambda done: _cancel_if_failed(loads, load.load_id, done))

        for file in load.files:
            want(file)
        try:
            for event in loads.watch(
                load.load_id, lambda: report.note("The Loader does not answer; waiting for it...")
            ):
                if event.HasField("file"):
                    report.update(event.file)
                    want(event.file)
                elif event.HasField("ended"):
                    load = event.ended
        except KeyboardInterrupt:
            # Before the uploads are joined: they may wait for room that only this frees.
            stop.set()
            loads.cancel(load.load_id)
            raise
        finally:
            stop.set()
            for upload in uploads.values():
                upload.cancel()
    for upload in uploads.values():
        problem = None if upload.cancelled() else upload.exception()
        if problem is not None and not isinstance(problem, FailedPrecondition):
            raise problem
    return load


def send_file(loads: Loads, load_id: str, name: str, path: Path, stop: Event) -> None:
    """Send a file, or withdraw it from the load."""
    policy, stalls = RetryPolicy(RESUME_SECONDS), 0
    while not stop.is_set():
        began = time.monotonic()
        try:
            loads.upload(load_id, name, path, resume_seconds=0)  # repeated below, until `stop`
        except DeadlineExceeded as error:
            stalls += 1
            if stalls == _STALLS:
                loads.withdraw(load_id, name, f"the file could not be sent in time: {error.message}")
                return
        except OSError as error:
            loads.withdraw(load_id, name, f"the file can no longer be read: {error.strerror}")
            return
        except InvalidArgument as error:
            if error.reason != Reason.UPLOAD_MISMATCH:
                raise
            loads.withdraw(load_id, name, "the file changed while it was being loaded; load it again")
            return
        except ServiceError as error:
            # The Loader may be restarting, or a proxy cut the connection.
            if not isinstance(error, (ResourceExhausted, Unavailable)) and not is_resumable(error):
                raise
            if time.monotonic() - began > _LONG_SECONDS:
                policy.renew()
            stop.wait(policy.pause(error))
        else:
            return


def _cancel_if_failed(loads: Loads, load_id: str, upload: Future[None]) -> None:
    """Cancel the load after a failure that does not concern a single file: it would wait indefinitely."""
    problem = None if upload.cancelled() else upload.exception()
    # No longer needed: another client sent it, or the load has ended.
    if problem is not None and not isinstance(problem, FailedPrecondition):
        with suppress(ServiceError):
            loads.cancel(load_id)
