"""What can go wrong, as one sentence each: what happened, where, and what to do about it.

    OrmError(host, port, user, database)
    ├─ ConfigurationError(variable, value, allowed)    also a ValueError
    ├─ DatabaseUnavailable                             retryable
    │  └─ NotificationsLost                            retryable
    ├─ DatabaseContended(sqlstate)                     retryable
    ├─ DatabaseLimited(sqlstate)                       retryable
    ├─ StatementRefused(sqlstate)                      a defect of ours
    ├─ AuthenticationFailed
    ├─ TlsFailed
    ├─ SharedSessions
    ├─ PermissionDenied
    ├─ DatabaseMissing
    ├─ SchemaMismatch(expected, found, hint)
    └─ RecordError(record)
       ├─ AlreadyExists
       ├─ ReferenceMissing
       ├─ StillReferenced
       └─ InvalidValue                                 also a ValueError

No sentence ever holds a password. A constraint that a caller's own statement violates reaches it as SQLAlchemy's
`IntegrityError`.
"""

import re
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from fullon_orm.address import Address


class OrmError(Exception):
    """Root of everything this package raises on purpose; `str()` is the whole sentence."""

    kind: ClassVar[str] = "configuration"
    """Its class: away, contention, limit, configuration or defect."""
    retryable = False
    retry_after_s: float | None = None

    def __init__(self, sentence: str, address: "Address | None" = None) -> None:
        super().__init__(sentence)
        self.host = address.host if address else None
        self.port = address.port if address else None
        self.user = address.user if address else None
        self.database = address.database if address else None


class ConfigurationError(OrmError, ValueError):
    """An environment variable is missing, cannot be used, or contradicts another.

    `value` is None where it is missing or may hold a secret.
    """

    def __init__(self, variable: str, value: str | None, allowed: str, *, found: str = "") -> None:
        what = found or ("is not set" if value is None else f"is {value!r}")
        super().__init__(f"{variable} {what}; allowed is {allowed}")
        self.variable = variable
        self.value = value
        self.allowed = allowed


class DatabaseUnavailable(OrmError):
    """The server cannot be reached, went away, or did not answer in time: the same call may succeed later."""

    kind = "away"
    retryable = True

    def __init__(self, address: "Address", reason: str) -> None:
        super().__init__(
            f"PostgreSQL is not available: {address}: {reason}; "
            "check that the server runs and that DB_HOST and DB_PORT, or DATABASE_URL, name it, then try again",
            address,
        )
        self.reason = reason


class NotificationsLost(DatabaseUnavailable):
    """Listening has ended and changes may have been missed: listen again, then read everything again."""


class DatabaseContended(OrmError):
    """The server is well: another transaction was in the way, or somebody cancelled the statement."""

    kind = "contention"
    retryable = True
    retry_after_s = 0.1

    def __init__(self, address: "Address", reason: str, sqlstate: str) -> None:
        super().__init__(
            f"PostgreSQL could not do it just now: {address}: {reason} (SQLSTATE {sqlstate}); "
            "the same call works without what was in the way",
            address,
        )
        self.sqlstate = sqlstate


class DatabaseLimited(OrmError):
    """The server is well and refuses for lack of something: room, memory, connections, the right to write."""

    kind = "limit"
    retryable = True
    retry_after_s = 15.0

    def __init__(self, address: "Address", reason: str, sqlstate: str) -> None:
        super().__init__(
            f"PostgreSQL is at a limit: {address}: {reason} (SQLSTATE {sqlstate}); "
            "free or raise it on the server, it is tried again meanwhile",
            address,
        )
        self.sqlstate = sqlstate


class StatementRefused(OrmError):
    """The server refuses a statement of ours, today and later."""

    kind = "defect"

    def __init__(self, address: "Address", reason: str, sqlstate: str) -> None:
        super().__init__(
            f"PostgreSQL refused a statement: {address}: {reason} (SQLSTATE {sqlstate}); "
            "this is a defect of fullon_orm or of the server: report it with this sentence",
            address,
        )
        self.sqlstate = sqlstate


class AuthenticationFailed(OrmError):
    """The server refused the user or the password."""

    def __init__(self, address: "Address", reason: str) -> None:
        super().__init__(f"PostgreSQL refused the login: {address}: {reason}; check DB_USER and DB_PASSWORD", address)
        self.reason = reason


class TlsFailed(OrmError):
    """Server and client do not agree on an encrypted connection, or the server's certificate is not trusted."""

    def __init__(self, address: "Address", reason: str, advice: str) -> None:
        super().__init__(f"No secure connection to PostgreSQL: {address}: {reason}; {advice}", address)
        self.reason = reason


class SharedSessions(OrmError):
    """A connection pooler hands each transaction to another server process, which keeps no session."""

    def __init__(self, address: "Address") -> None:
        super().__init__(
            f"The connection pooler shares its sessions: {address}: it pools transactions or statements, "
            "and this program needs sessions of its own; set pool_mode=session there, "
            "or name the PostgreSQL server itself in DB_DIRECT_URL",
            address,
        )


class PermissionDenied(OrmError):
    """The user is known but may not do this. `grant` is the statement that helps, where the refusal tells it."""

    def __init__(self, address: "Address", reason: str) -> None:
        self.grant = _grant_for(reason, address)
        advice = f"let its owner run: {self.grant}" if self.grant else "let an owner of it grant the right"
        super().__init__(
            f"PostgreSQL did not permit it: {address}: {reason}; {advice}; or name another user in DB_USER", address
        )
        self.reason = reason


def _grant_for(reason: str, address: "Address") -> str:
    """Return what to grant, by the words in which PostgreSQL refuses; empty where it says it in others."""
    user = quote_name(address.user)
    if re.search(r"permission denied to create database", reason):
        return f"CREATE DATABASE {quote_name(address.database)} OWNER {user}"
    if re.search(r"permission denied to create temporary tables", reason):
        return f"GRANT TEMPORARY ON DATABASE {quote_name(address.database)} TO {user}"
    if "no schema has been selected to create in" in reason:
        return f"GRANT {_RIGHTS['schema']} ON SCHEMA {quote_name(address.schema or 'public')} TO {user}"
    if found := re.search(r"permission denied for (table|sequence|schema|database) (.+)", reason):
        kind, name = found[1], quote_name(found[2].strip('"'))
        return f"GRANT {_RIGHTS[kind]} ON {kind.upper()} {name} TO {user}"
    return ""


_RIGHTS = {
    "table": "SELECT, INSERT, UPDATE, DELETE",
    "sequence": "USAGE",
    "schema": "USAGE, CREATE",
    "database": "CREATE",
}


def quote_name(name: str) -> str:
    """Return a name as SQL takes it, quoted where it must be."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


class DatabaseMissing(OrmError):
    """The server answers but has no database of this name."""

    def __init__(self, address: "Address") -> None:
        super().__init__(
            f"The database does not exist: {address}; create it with `await fullon_orm.init_db()`, or correct DB_NAME",
            address,
        )


class SchemaMismatch(OrmError):
    """The tables are not those this version of the code works with.

    `expected` is the schema version of the code, `found` that of the database, None where it has none.
    """

    def __init__(self, address: "Address", *, expected: str, found: str | None, hint: str) -> None:
        super().__init__(
            f"The schema does not fit: {address}: "
            f"the code expects version {expected}, the database has {found or 'none'}; {hint}",
            address,
        )
        self.expected = expected
        self.found = found
        self.hint = hint


class RecordError(OrmError):
    """The database is well, the record is not acceptable. `record` names it as `Symbol 'BTC/USD'`."""

    def __init__(self, record: str, sentence: str) -> None:
        super().__init__(sentence)
        self.record = record


class AlreadyExists(RecordError):
    """A record with this identity is stored already."""


class ReferenceMissing(RecordError):
    """The record refers to one that does not exist."""


class StillReferenced(RecordError):
    """The record cannot be deleted while others refer to it."""


class InvalidValue(RecordError, ValueError):
    """A value that cannot be stored."""
