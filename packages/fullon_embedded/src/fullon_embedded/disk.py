"""How much room a data directory has left, and errors that a full disk explains."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from fullon_embedded.errors import DiskFull, EmbeddedError, ServerFailed

FULL_BYTES = 32 * 1024 * 1024
"""With less PostgreSQL cannot make its next two files of 16 MB, which it needs to write anything."""
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


def free_bytes(path: Path) -> int:
    """Return how much an ordinary user can still write where `path` is, or where it would be made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def describe_full(path: Path) -> str:
    """Return the sentence for a full disk: how much is free, where, and what helps."""
    return (
        f"disk full, {free_bytes(path) / 1e6:,.0f} MB free at {path}: make room there, "
        "or move the data directory and name it in FULLON_DATA_DIR"
    )


@contextlib.contextmanager
def explained_by_full_disk(path: Path) -> Iterator[None]:
    """Turn what a full disk below `path` has caused into ``DiskFull``; anything else passes as it is."""
    try:
        yield
    except (EmbeddedError, OSError) as error:
        if not _is_of_full_disk(error, path):
            raise
        raise DiskFull(f"{describe_full(path)} ({error})", path=path) from error


def _is_of_full_disk(error: BaseException, path: Path) -> bool:
    if isinstance(error, ServerFailed):
        return free_bytes(path) < FULL_BYTES
    return any(getattr(each, "errno", None) in _FULL_ERRNOS for each in (error, error.__cause__))
