"""What can go wrong with the store. Every sentence says what, where and what to do, and carries no secret.

StorageError
├─ StorageUnavailable                the server cannot be reached, went away, or is out of room  (retryable)
├─ StorageMisconfigured              address, user, password or rights are wrong; trying again does not help
├─ SchemaMismatch(expected, found)   the database belongs to another version of this code
└─ RowsLost(expected, written)       the server stored fewer rows than it was given; nothing was committed

Wrong input is a `ValueError` (or `TypeError`) that names the value and what is allowed.
"""


class StorageError(Exception):
    """Base of all errors of this package."""

    retryable = False
    retry_after_s: float | None = None


class StorageUnavailable(StorageError):
    """The database cannot answer at the moment; the same call may succeed later."""

    retryable = True
    retry_after_s = 1.0


class StorageMisconfigured(StorageError):
    """The connection was refused for a reason that stays until somebody changes the configuration."""


class SchemaMismatch(StorageError):
    """The database's schema is not the one this code was written for."""

    def __init__(self, expected: int, found: int | None, hint: str) -> None:
        held = "tables of something else" if found is None else f"schema version {found}"
        super().__init__(f"the time series database holds {held}, this code expects version {expected}: {hint}")
        self.expected = expected
        self.found = found
        self.hint = hint


class RowsLost(StorageError):
    """The server reported fewer rows than it had to store; the transaction was rolled back."""

    def __init__(self, table: str, *, expected: int, written: int) -> None:
        super().__init__(
            f"{written} of {expected} rows were stored in {table}; the transaction was rolled back. "
            "A TimescaleDB release with a defect in compressed chunks does this: update the extension"
        )
        self.table = table
        self.expected = expected
        self.written = written
