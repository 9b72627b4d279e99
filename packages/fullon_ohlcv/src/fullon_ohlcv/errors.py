"""What can go wrong with the store. Every sentence says what, where and what to do, and carries no secret.

StorageError
├─ TransientStorageError                        the same call may succeed later  (retryable)
│  ├─ StorageUnavailable                        away: the server cannot be reached, went away or did not answer
│  ├─ StorageContended                          contention: others held the same rows, or the statement was cancelled
│  └─ StorageLimited                            limit: the server has no room, no connections, is read-only
├─ StorageMisconfigured                         configuration: address, user, password or rights are wrong
├─ SchemaMismatch(expected, found)              configuration: the database belongs to another version of this code
├─ IncompleteCandles(start_us, end_us)          buckets were asked for that are not wholly known
└─ StorageDefect                                defect: ours; trying again does not help
   ├─ StatementFailed(statement, sqlstate)      the server refuses a statement or a value of ours
   └─ RowsLost(expected, written)               the server stored fewer rows than it was given; nothing was committed

`kind` is the class of an error, one of `KINDS`, for metrics. Only what is away may be a server that is down.
Wrong input is a `ValueError` (or `TypeError`) that names the value and what is allowed.
"""

from typing import ClassVar

from fullon_ohlcv.timeframe import from_us

KINDS = ("away", "contention", "limit", "configuration", "defect")


class StorageError(Exception):
    """Base of all errors of this package."""

    kind: ClassVar[str] = "configuration"
    retryable = False
    retry_after_s: float | None = None


class TransientStorageError(StorageError):
    """The same call may succeed later; `retry_after_s` is when it is worth trying."""

    retryable = True


class StorageUnavailable(TransientStorageError):
    """The database cannot answer at the moment."""

    kind = "away"
    retry_after_s = 1.0


class StorageContended(TransientStorageError):
    """The server is well: another transaction was in the way, or somebody cancelled the statement."""

    kind = "contention"
    retry_after_s = 0.1


class StorageLimited(TransientStorageError):
    """The server is well and refuses for lack of something, which takes an operator or some time."""

    kind = "limit"
    retry_after_s = 15.0


class StorageMisconfigured(StorageError):
    """The connection was refused for a reason that stays until somebody changes the configuration."""


class StorageDefect(StorageError):
    """What we asked cannot be done, today or later; it concerns the series it was asked for and no other."""

    kind = "defect"


class StatementFailed(StorageDefect):
    """The server refused a statement of ours; `sqlstate` is its code."""

    def __init__(self, sentence: str, *, statement: str, sqlstate: str) -> None:
        super().__init__(sentence)
        self.statement = statement
        self.sqlstate = sqlstate


class SchemaMismatch(StorageError):
    """The database's schema is not the one this code was written for."""

    def __init__(self, expected: int, found: int | None, hint: str) -> None:
        held = "tables of something else" if found is None else f"schema version {found}"
        super().__init__(f"the time series database holds {held}, this code expects version {expected}: {hint}")
        self.expected = expected
        self.found = found
        self.hint = hint


class RowsLost(StorageDefect):
    """The server reported fewer rows than it had to store; the transaction was rolled back."""

    def __init__(self, table: str, *, expected: int, written: int) -> None:
        super().__init__(
            f"{written} of {expected} rows were stored in {table}; the transaction was rolled back. "
            "A TimescaleDB release with a defect in compressed chunks does this: update the extension"
        )
        self.table = table
        self.expected = expected
        self.written = written


class IncompleteCandles(StorageError):
    """Some of the buckets that were asked for are not wholly known; the same call may succeed after a repair."""

    def __init__(self, timeframe: str, start_us: int, end_us: int, intervals: int) -> None:
        more = f", and {intervals - 1} more intervals are not" if intervals > 1 else ""
        super().__init__(
            f"candles of {timeframe} from {from_us(start_us).isoformat()} to {from_us(end_us).isoformat()} are not "
            f"complete{more}; incomplete='drop' leaves them out, 'keep' marks them"
        )
        self.start_us = start_us
        self.end_us = end_us
