"""What can go wrong with embedded servers. Every message says what, where and what to do.

EmbeddedError(path)
├─ DataDirectoryUnusable    cannot be created, written, or belongs to someone else
├─ DataDirectoryBusy        its server is held by a process that cannot be seen from here, or by other users
├─ VersionMismatch(found, available)   the cluster was made by another PostgreSQL major version
├─ BinariesMissing          no PostgreSQL or Redis program on this machine
├─ RootRefused              root, and no way to run PostgreSQL as somebody else
└─ ServerFailed(log)        the program ended, or did not answer in time  (retryable)
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
    """A server ended during its start or did not become ready in time; `log` is its log file."""

    retryable = True

    def __init__(self, sentence: str, *, log: Path) -> None:
        super().__init__(sentence, path=log)
        self.log = log
