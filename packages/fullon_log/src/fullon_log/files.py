"""A log file that several processes may write, that rotates itself, and whose loss stops nobody."""

import datetime
import glob
import os
import re
import sys
import time
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path

REOPEN_AFTER_S = 5.0

_UNIT_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_UNIT_S = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800, "month": 2_592_000}
_NAMED_PERIODS = {"hourly": "1 hour", "daily": "1 day", "weekly": "1 week", "monthly": "1 month"}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
# The epoch was a Thursday; weeks begin on Monday.
_MONDAY_S = 4 * 86_400

_ROTATIONS = "a size (10 MB), a period (1 hour, 1 day, weekly) or a time of day in UTC (00:00)"
_RETENTIONS = "a number of files (10) or an age (7 days, 1 month)"


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a new file begins: beyond `size_max` bytes, or at the end of a period.

    Periods last `period_s` and are counted from `offset_s` after the Unix epoch, so every process agrees on
    them.
    """

    size_max: int | None = None
    period_s: float | None = None
    offset_s: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Rotation":
        """Read a size, a period or a time of day; a bare number is bytes.

        Raises:
            ValueError: none of these; the sentence says what is allowed.
        """
        wanted = text.strip().lower()
        wanted = _NAMED_PERIODS.get(wanted, wanted)
        if match := _TIME_OF_DAY.fullmatch(wanted):
            hours, minutes, seconds = (int(part or 0) for part in match.groups())
            return cls(period_s=86_400, offset_s=hours * 3_600 + minutes * 60 + seconds)
        match = _AMOUNT.fullmatch(wanted)
        if match is None or float(match[1]) <= 0:
            raise ValueError(_ROTATIONS)
        amount, unit = float(match[1]), match[2] or "b"
        if unit in _UNIT_BYTES:
            return cls(size_max=int(amount * _UNIT_BYTES[unit]))
        unit_s = _UNIT_S.get(unit.removesuffix("s"))
        if unit_s is None:
            raise ValueError(_ROTATIONS)
        return cls(period_s=amount * unit_s, offset_s=_MONDAY_S if unit_s == _UNIT_S["week"] else 0.0)

    def is_due(self, size: int, modified_s: float, incoming: int, now_s: float) -> bool:
        """Tell whether a file of `size` bytes, last written at `modified_s`, must now be rotated."""
        if size == 0:
            return False
        if self.size_max is not None:
            return size + incoming > self.size_max
        return self._period(modified_s) < self._period(now_s)

    def _period(self, instant_s: float) -> int:
        return int((instant_s - self.offset_s) // self.period_s) if self.period_s else 0


@dataclass(frozen=True, slots=True)
class Retention:
    """Which rotated files stay: the newest `files_max`, or those younger than `age_max_s`."""

    files_max: int | None = None
    age_max_s: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Retention":
        """Read a number of files or an age.

        Raises:
            ValueError: neither; the sentence says what is allowed.
        """
        wanted = text.strip().lower()
        if wanted.isdecimal():
            return cls(files_max=int(wanted))
        match = _AMOUNT.fullmatch(wanted)
        unit_s = _UNIT_S.get(match[2].removesuffix("s")) if match else None
        if match is None or unit_s is None:
            raise ValueError(_RETENTIONS)
        return cls(age_max_s=float(match[1]) * unit_s)

    def surplus(self, newest_first: list[tuple[float, str]], now_s: float) -> list[str]:
        """Return the paths to remove from `(modified_s, path)` pairs."""
        if self.files_max is not None:
            return [path for _, path in newest_first[self.files_max :]]
        return [path for modified_s, path in newest_first if now_s - modified_s > (self.age_max_s or 0)]


class LogFile:
    """Append records to `path`, from any number of processes.

    Every record is one `write` on a descriptor in append mode, which the kernel keeps whole; only the
    process that rotates takes a lock, and nobody waits for it. A file that was renamed (by another process
    or by logrotate) is opened anew. A file that cannot be written is told once on stderr, tried again every
    few seconds, and what was lost in between is counted.
    """

    def __init__(self, path: str, rotation: Rotation | None, retention: Retention | None) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self._rotation = rotation
        self._retention = retention
        self._descriptor = -1
        self._failing = False
        self._retry_at_s = 0.0
        self._lost = 0

    def open(self) -> None:
        """Open the file now, making its directories, so that what is wrong shows at the start."""
        try:
            self._reopen()
        except OSError as error:
            self._failed(error)

    def write(self, text: str) -> None:
        """Append `text`, in one piece; never raises."""
        if self._failing and time.monotonic() < self._retry_at_s:
            self._lost += 1
            return
        record = text.encode(errors="backslashreplace")
        try:
            self._follow(len(record))
            if self._lost:
                self._append(f"{self._lost} records were lost while this file could not be written\n".encode())
                self._lost = 0
            self._append(record)
            self._failing = False
        except OSError as error:
            self._lost += 1
            self._failed(error)

    def stop(self) -> None:
        """Close the file; a later write opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _reopen(self) -> None:
        self.stop()
        folder = Path(self.path).parent
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o640)

    def _append(self, record: bytes) -> None:
        # One call does it, except on a full disk.
        while record:
            record = record[os.write(self._descriptor, record) :]

    def _follow(self, incoming: int) -> None:
        """Make the descriptor point to the file that now bears the name, rotated if it is time."""
        if not self._is_current():
            self._reopen()
        if self._rotation is None:
            return
        status = os.fstat(self._descriptor)
        if self._rotation.is_due(status.st_size, status.st_mtime, incoming, time.time()):
            self._rotate()

    def _is_current(self) -> bool:
        if self._descriptor < 0:
            return False
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return False
        opened = os.fstat(self._descriptor)
        return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)

    def _rotate(self) -> None:
        try:
            flock(self._descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            # Another process is renaming it: this record goes into the old file, the next one into the new.
            return
        try:
            if self._is_current():
                stem, suffix = os.path.splitext(self.path)
                now = datetime.datetime.now(datetime.UTC)
                os.rename(self.path, f"{stem}.{now:%Y-%m-%d_%H-%M-%S_%f}{suffix}")
        finally:
            flock(self._descriptor, LOCK_UN)
        self._reopen()
        if self._retention is not None:
            self._remove_surplus(self._retention)

    def _remove_surplus(self, retention: Retention) -> None:
        stem, suffix = os.path.splitext(self.path)
        rotated = re.compile(re.escape(stem) + r"\.\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{6}" + re.escape(suffix))
        paths = (path for path in glob.glob(f"{glob.escape(stem)}.*") if rotated.fullmatch(path))
        dated = ((_modified_s(path), path) for path in paths)
        newest_first = sorted(((when, path) for when, path in dated if when is not None), reverse=True)
        for path in retention.surplus(newest_first, time.time()):
            Path(path).unlink(missing_ok=True)

    def _failed(self, error: OSError) -> None:
        if not self._failing and sys.stderr is not None:
            reason = error.strerror or str(error)
            sys.stderr.write(
                f"WARNING log file {self.path} cannot be written ({reason}); going on without it, "
                f"trying again every {REOPEN_AFTER_S:g} s\n"
            )
        self._failing = True
        self._retry_at_s = time.monotonic() + REOPEN_AFTER_S


def _modified_s(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        # Another process has just removed it.
        return None
