"""File locks as on NFS, which emulates `flock` by record locks: exclusive ones require a file open for writing."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

_flock = fcntl.flock


def _nfs_flock(file: int, operation: int) -> None:
    descriptor = file if isinstance(file, int) else file.fileno()
    mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    refused = os.O_RDONLY if operation & fcntl.LOCK_EX else os.O_WRONLY if operation & fcntl.LOCK_SH else None
    if mode == refused:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    _flock(descriptor, operation)


def use_nfs_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process's file locks obey the rules of NFS."""
    monkeypatch.setattr(fcntl, "flock", _nfs_flock)
