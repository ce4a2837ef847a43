"""The program of a parser process: parses one file after the other, within limits that the kernel enforces.

The pool runs ``python -P -m memgpt_loader.parsing.worker MEMORY_BYTES`` and exchanges frames with it over its standard
input and output. It imports no gRPC and is never forked from a process that does.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import threading
import time
import traceback
from dataclasses import astuple
from pathlib import Path
from typing import BinaryIO

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import FileLimits, Notes
from memgpt_loader.parsing import extract, frames
from memgpt_loader.text_recognition import TextRecognizer

_PASSAGES_PER_FRAME = 128
_WATCH_SECONDS = 0.02
_OUT_OF_MEMORY = 9
_MAX_OPEN_FILES = 64


def main() -> None:
    """Parse files until standard input ends."""
    memory_bytes = int(sys.argv[1])
    # The pipe is for frames alone: whatever a library prints goes to the log.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Import early: before the limits apply, and while files are still being uploaded.
    importlib.import_module("memgpt_loader.formats.pdf.reader")
    _limit(memory_bytes)
    frames.write(output, {"ready": True})
    while (job := frames.read(sys.stdin.buffer)) is not None:
        _limit_cpu(job["cpu_seconds"])
        if not _serve(job, output):
            return  # out of memory: the state of the libraries is not to be trusted


def _limit(memory_bytes: int) -> None:
    _limit_memory(memory_bytes)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))


def _limit_memory(memory_bytes: int) -> None:
    """Limit the address space. macOS has no such limit, so the resident size is watched there instead."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    except (OSError, ValueError):
        threading.Thread(target=_end_beyond, args=(memory_bytes,), daemon=True).start()


def _end_beyond(memory_bytes: int) -> None:
    """End this process when its resident size exceeds the limit; the parent reports the file as too large."""
    unit = 1 if sys.platform == "darwin" else 1024
    while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit <= memory_bytes:
        time.sleep(_WATCH_SECONDS)
    os._exit(_OUT_OF_MEMORY)


def _limit_cpu(seconds: int) -> None:
    """Limit CPU time, in case the process goes on after its parent has died; a living parent kills it earlier."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(usage.ru_utime + usage.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _serve(job: frames.Frame, output: BinaryIO) -> bool:
    """Parse one file. Returns whether this process may parse another."""
    end: frames.Frame
    try:
        end = {"done": True, "notes": [list(astuple(note)) for note in _read(job, output)]}
    except FileFailure as failure:
        end = {"reason": failure.reason.value, "message": failure.message, "detail": failure.detail}
    except MemoryError:
        end = {"reason": FailureReason.TOO_LARGE.value, "message": TOO_COMPLEX, "detail": "MemoryError"}
    except Exception as error:  # noqa: BLE001 - a bug fails its own file only
        message = "internal error: the parser failed on this file; the Loader's log has the details"
        detail = "".join(traceback.format_exception(error))[-2000:]
        end = {"reason": FailureReason.INTERNAL.value, "message": message, "detail": detail}
    frames.write(output, end)
    return end.get("detail") != "MemoryError"


TOO_COMPLEX = (
    "the file expands beyond the parser's memory; if you trust it, print it to a new PDF or split it, "
    "or raise loader.parser_memory_bytes"
)
"""Return the message for a file that exhausts the parser."""


def _read(job: frames.Frame, output: BinaryIO) -> Notes:
    def recognized() -> None:
        _limit_cpu(job["cpu_seconds"])
        frames.write(output, {"recognized": True})

    languages = job["ocr_languages"]
    limits = FileLimits(
        max_pages=job["max_pages"],
        max_chars=job["max_chars"],
        max_unpacked_bytes=job["max_unpacked_bytes"],
        max_tokens=job["max_tokens"],
        overlap_tokens=job["overlap_tokens"],
        recognizer=TextRecognizer(languages, recognized) if languages else None,
    )
    file = extract.extract(Path(job["path"]), job["name"], limits)
    frames.write(output, {"media_type": file.media_type, "documents": file.documents})
    for page in file.pages:
        _limit_cpu(job["cpu_seconds"])  # a file that makes progress is not stuck
        cut = [[passage.text, passage.start, passage.end] for passage in page.passages]
        for first in range(0, max(len(cut), 1), _PASSAGES_PER_FRAME):
            batch = cut[first : first + _PASSAGES_PER_FRAME]
            last = first + _PASSAGES_PER_FRAME >= len(cut)
            frames.write(output, {"page": page.number, "passages": batch, "last": last})
    return file.notes


if __name__ == "__main__":
    main()
