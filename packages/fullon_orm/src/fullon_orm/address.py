"""Where the database is: read from the environment each time a connection is made."""

import os
from dataclasses import dataclass, field, replace
from typing import Self

from sqlalchemy import URL

from fullon_orm.errors import ConfigurationError, InvalidValue

NAME_BYTES_MAX = 63
"""PostgreSQL cuts longer identifiers silently, so that two names could become one."""

_PORTS = range(1, 65_536)


@dataclass(frozen=True)
class Address:
    """One database on one server. `host` beginning with "/" is the directory of a unix socket."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def from_env(cls, database: str | None = None) -> Self:
        """Read `DB_HOST`, `DB_PORT`, `DB_USER`, `DB_PASSWORD` and, unless `database` is given, `DB_NAME`.

        Raises:
            ConfigurationError: `DB_HOST` is not set, or a value cannot be used.
            InvalidValue: `database` cannot be the name of a database.
        """
        host = os.environ.get("DB_HOST", "")
        if not host:
            raise ConfigurationError(
                "DB_HOST",
                None,
                "the name of a PostgreSQL server or the directory of its unix socket; "
                "`python -m fullon_embedded env` starts a private server and prints what to set",
            )
        port = os.environ.get("DB_PORT") or "5432"
        if not (port.isascii() and port.isdecimal() and int(port) in _PORTS):
            raise ConfigurationError("DB_PORT", port, f"a number from {_PORTS.start} to {_PORTS.stop - 1}")
        if database is None:
            database = os.environ.get("DB_NAME") or "fullon"
            try:
                check_database_name(database)
            except InvalidValue as error:
                raise ConfigurationError("DB_NAME", database, f"1 to {NAME_BYTES_MAX} bytes") from error
        else:
            check_database_name(database)
        return cls(
            host=host,
            port=int(port),
            user=os.environ.get("DB_USER") or "postgres",
            password=os.environ.get("DB_PASSWORD", ""),
            database=database,
        )

    def on(self, database: str) -> Self:
        """Return the address of another database on the same server."""
        return replace(self, database=database)

    @property
    def url(self) -> URL:
        """The address as SQLAlchemy takes it; its `str()` masks the password."""
        if self.host.startswith("/"):
            return URL.create(
                "postgresql+asyncpg",
                username=self.user,
                password=self.password or None,
                database=self.database,
                query={"host": self.host, "port": str(self.port)},
            )
        return URL.create(
            "postgresql+asyncpg",
            username=self.user,
            password=self.password or None,
            host=self.host,
            port=self.port,
            database=self.database,
        )

    def __str__(self) -> str:
        return f"database {self.database!r} at {self.host}:{self.port} as user {self.user!r}"


def check_database_name(name: str) -> None:
    """Refuse what PostgreSQL could not keep as the name of a database.

    Raises:
        InvalidValue: empty, longer than 63 bytes of UTF-8, or holding a character that cannot be stored.
    """
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        size_bytes = 0
    if not 0 < size_bytes <= NAME_BYTES_MAX or "\0" in name:
        raise InvalidValue(
            f"database {name!r}",
            f"{name!r} cannot name a database; allowed is 1 to {NAME_BYTES_MAX} bytes of UTF-8 without NUL",
        )
