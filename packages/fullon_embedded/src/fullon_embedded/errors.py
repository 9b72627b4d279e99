"""What can go wrong with embedded servers. Every message says what, where and what to do.

EmbeddedError(path)
├─ DataDirectoryUnusable    cannot be created, written, or belongs to someone else
├─ DataDirectoryBusy        other users or another program rule out what was asked
├─ DiskFull                 no room is left for the servers  (retryable)
├─ VersionMismatch(found, available)   the cluster was made by another PostgreSQL major version
├─ BinariesMissing          no PostgreSQL or Redis program on this machine
├─ RootRefused              root, and no way to run PostgreSQL as somebody else
└─ ServerFailed(log)        the program ended, or did not answer  (retryable)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class EmbeddedError(Exception):
    """Base of all errors of this package; `path` is the file or directory it is about."""

    retryable = False
    retry_after_s: float | None = None

    def __init__(self, sentence: str, *, path: Path | None = None) -> None:
        super().__init__(sentence)
        self.path = path


class DataDirectoryUnusable(EmbeddedError):
    """The data directory cannot be created, cannot be written, or belongs to another user."""


class DataDirectoryBusy(EmbeddedError):
    """Somebody else uses the data directory in a way that rules out what was asked."""


class DiskFull(EmbeddedError):
    """The disk of the data directory has no room left; the sentence says how much is free, and where."""

    retryable = True


class VersionMismatch(EmbeddedError):
    """The cluster in the data directory belongs to a PostgreSQL major version that is not installed."""

    def __init__(self, path: Path, *, found: int, available: Sequence[int]) -> None:
        self.found = found
        self.available = tuple(available)
        have = ", ".join(str(major) for major in available) or "none"
        super().__init__(
            f"The database in {path} was made by PostgreSQL {found}, but this machine has {have}: "
            f"install PostgreSQL {found} (it is used when found), or dump it there and load it into a new "
            "FULLON_DATA_DIR.",
            path=path,
        )


class BinariesMissing(EmbeddedError):
    """No usable server program was found."""


class RootRefused(EmbeddedError):
    """PostgreSQL does not run as root, and neither a user namespace nor another user id can be had."""


class ServerFailed(EmbeddedError):
    """A server ended during its start, or runs and does not answer; `log` is its log file."""

    retryable = True

    def __init__(self, sentence: str, *, log: Path) -> None:
        super().__init__(sentence, path=log)
        self.log = log
