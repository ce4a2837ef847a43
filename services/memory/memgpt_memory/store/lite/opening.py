"""Opening of a Lite file, and the errors of a file that is in use, damaged, or on a disk that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memgpt_runtime import reasons

from memgpt_memory.store.layout import Collection
from memgpt_memory.store.lite import disk
from memgpt_memory.store.lite.engine import DamageError, Engine, EngineError


def open_file(path: Path, *, durable: bool) -> Engine:
    """Open a Lite file that no other process has open.

    Args:
        path: The file, which may be missing.
        durable: Whether flushed files are synced.

    Raises:
        FailedPrecondition: Another process holds it, or it cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not disk.is_held(path):
            return Engine(path, durable=durable)
    except Exception as error:  # Lite raises its own errors, and those of whatever reads its files
        raise reasons.wrong_state(
            f"cannot open the Milvus Lite file {path} ({_problem(error)}); check that its folder is writable "
            "and that Milvus Lite created it, or set another file (memory.uri)",
            resource="store",
            state="UNREADABLE",
        ) from error
    raise reasons.in_use(
        f"the Milvus Lite file {path} is in use by another process; stop that process, set another file "
        "(memory.uri), or use a Milvus server for both",
        resource="store",
        name=path.name,
    )


def _problem(error: Exception) -> str:
    """Return the system's words for an error, or its type if it is a library's own."""
    return getattr(error, "strerror", None) or type(error).__name__


@contextmanager
def disk_errors(path: Path, collection: Collection) -> Iterator[None]:
    """Turn the errors of what reads and writes a collection's files into ours.

    Raises:
        EngineError: As it was raised.
        FailedPrecondition: The files are damaged.
        Unavailable: The disk refuses something for now.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        if disk.is_damage(error):
            what = str(error) if isinstance(error, DamageError) else type(error).__name__
            raise reasons.wrong_state(
                f"the Milvus Lite file {path} is damaged: its collection {collection.name} cannot be read "
                f"({what}); restore a backup (`memgpt-memory restore`), drop what is damaged (`memgpt-memory "
                "repair`), or set another file (memory.uri)",
                resource="store",
                state="DAMAGED",
            ) from error
        raise reasons.store_unavailable(
            f"cannot read or write the disk of the Milvus Lite file {path} ({error}); retrying"
        ) from error
