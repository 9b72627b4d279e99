"""Where the database is: read from the environment each time a connection is made."""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext, SSLError, TLSVersion
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from fullon_orm.errors import ConfigurationError, InvalidValue

if TYPE_CHECKING:
    from sqlalchemy import URL

NAME_BYTES_MAX = 63
"""PostgreSQL cuts longer identifiers silently, so that two names could become one."""
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""What libpq calls them; from `require` on nothing is sent without TLS."""
SYSTEM_CAS = "system"
"""In place of a file of certificates: those that the machine trusts."""

_PORTS = range(1, 65_536)
_SSL = ("SSLMODE", "SSLROOTCERT", "SSLCERT", "SSLKEY")
_SERVER = ("HOST", "PORT", "USER", "PASSWORD", *_SSL)
_IN_URL = {"host": "HOST", "port": "PORT", "ssl": "SSLMODE"} | {name.lower(): name for name in _SSL}
_IGNORED_IN_URL = ("application_name", "connect_timeout")
_SECRET = ("PASSWORD",)


@dataclass(frozen=True)
class Address:
    """One database on one server. `host` beginning with "/" is the directory of a unix socket.

    The `ssl…` fields are libpq's. `schema` holds the tables; where it is empty the server's search_path decides.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    sslmode: str = "prefer"
    sslrootcert: str = ""
    sslcert: str = ""
    sslkey: str = ""
    schema: str = ""

    @classmethod
    def from_env(cls, database: str | None = None) -> Self:
        """Read `DATABASE_URL` and `DB_*`, and `DB_NAME` unless `database` is given.

        A URL names the server; what it leaves out comes from `DB_*`. `DB_DIRECT_URL` names the server in place of
        both. The path of a URL is the default of `DB_NAME`.

        Raises:
            ConfigurationError: no server is named, a value cannot be used, or two of them contradict each other.
            InvalidValue: `database` cannot be the name of a database.
        """
        said = _settings()
        host = said.get("HOST", "")
        if not host:
            raise ConfigurationError(
                "DB_HOST",
                None,
                "the name of a PostgreSQL server or the directory of its unix socket; "
                "`python -m fullon_embedded env` starts a private server and prints what to set",
            )
        port = said.get("PORT") or "5432"
        if not (port.isascii() and port.isdecimal() and int(port) in _PORTS):
            raise ConfigurationError("DB_PORT", port, f"a number from {_PORTS.start} to {_PORTS.stop - 1}")
        if database is None:
            database = named_database("DB_NAME", said.get("NAME") or "fullon")
        else:
            check_database_name(database)
        address = cls(
            host=host,
            port=int(port),
            user=said.get("USER") or "postgres",
            password=said.get("PASSWORD", ""),
            database=database,
            sslmode=said.get("SSLMODE") or "prefer",
            sslrootcert=said.get("SSLROOTCERT", ""),
            sslcert=said.get("SSLCERT", ""),
            sslkey=said.get("SSLKEY", ""),
            schema=_schema(),
        )
        _check_tls(address)
        return address

    def on(self, database: str) -> Self:
        """Return the address of another database on the same server."""
        return replace(self, database=database)

    @property
    def url(self) -> "URL":
        """The address as SQLAlchemy takes it; its `str()` masks the password."""
        from sqlalchemy import URL  # noqa: PLC0415 - most of a second, which readers of time series are spared

        query = {} if self.sslmode == "prefer" else {"ssl": self.sslmode}
        is_socket = self.host.startswith("/")
        return URL.create(
            "postgresql+asyncpg",
            username=self.user,
            password=self.password or None,
            host=None if is_socket else self.host,
            port=None if is_socket else self.port,
            database=self.database,
            query={"host": self.host, "port": str(self.port)} if is_socket else query,
        )

    def tls(self) -> SSLContext | str:
        """Return what asyncpg takes as `ssl`: a context that demands TLS, or a mode that does not insist on it.

        Raises:
            ConfigurationError: a file is missing, or holds something else.
        """
        if self.host.startswith("/"):
            return "disable"
        if SSL_MODES.index(self.sslmode) < SSL_MODES.index("require"):
            return self.sslmode
        context = SSLContext(PROTOCOL_TLS_CLIENT)
        context.minimum_version = TLSVersion.TLSv1_2
        context.check_hostname = self.sslmode == "verify-full"
        root = self.sslrootcert or _usual_file("root.crt")
        if root == SYSTEM_CAS:
            context.load_default_certs()
        elif root:
            file = _readable("DB_SSLROOTCERT", root)
            try:
                context.load_verify_locations(file)
            except SSLError as error:
                raise _unusable("DB_SSLROOTCERT", file, "holds no certificate", _ROOTCERT) from error
        elif self.sslmode == "require":
            context.verify_mode = CERT_NONE
        else:
            raise ConfigurationError(
                "DB_SSLROOTCERT", None, _ROOTCERT, found=f"is not set, and DB_SSLMODE is {self.sslmode!r}"
            )
        if cert := self.sslcert or _usual_file("postgresql.crt"):
            self._load_own(context, cert)
        return context

    def _load_own(self, context: SSLContext, cert: str) -> None:
        cert = _readable("DB_SSLCERT", cert)
        key = _readable("DB_SSLKEY", self.sslkey or _usual_file("postgresql.key") or cert)
        try:
            # Without a callable, OpenSSL would ask a person on the terminal for the phrase of an encrypted key.
            context.load_cert_chain(cert, key, password=lambda: "")
        except SSLError as error:
            allowed = "a certificate in PEM, with its unencrypted key there or in DB_SSLKEY"
            raise _unusable("DB_SSLCERT", cert, f"does not go together with the key in {key}", allowed) from error

    def __str__(self) -> str:
        return f"database {self.database!r} at {self.host}:{self.port} as user {self.user!r}"


_ROOTCERT = f"a file of CA certificates in PEM, or {SYSTEM_CAS!r} for those of the machine"


def named_database(variable: str, name: str) -> str:
    """Return the name of a database that a variable holds.

    Raises:
        ConfigurationError: it cannot be one.
    """
    try:
        check_database_name(name)
    except InvalidValue as error:
        raise ConfigurationError(variable, name, f"1 to {NAME_BYTES_MAX} bytes") from error
    return name


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


def names_server() -> bool:
    """Return whether the environment names a PostgreSQL server."""
    return any(os.environ.get(name, "").strip() for name in ("DB_HOST", "DATABASE_URL", "DB_DIRECT_URL"))


def _settings() -> dict[str, str]:
    """Return what is set, by the part of the name behind `DB_`."""
    said = {name: os.environ.get(f"DB_{name}", "") for name in (*_SERVER, "NAME")}
    if "://" in said["HOST"] or "@" in said["HOST"]:
        raise ConfigurationError(
            "DB_HOST", None, "a host name or the directory of a unix socket; a URL belongs in DATABASE_URL",
            found="holds a URL",
        )  # fmt: skip
    said = {name: value for name, value in said.items() if value}
    url = _parsed_url("DATABASE_URL")
    for name in url.keys() & said.keys() & set(_SERVER):
        if url[name] != said[name]:
            values = "" if name in _SECRET else f": {url[name]!r} and {said[name]!r}"
            raise ConfigurationError(
                f"DB_{name}", None, "one of the two", found=f"and DATABASE_URL contradict each other{values}"
            )
    said = url | said
    direct = _parsed_url("DB_DIRECT_URL")
    if direct:
        said |= {"PORT": "5432"} | {name: value for name, value in direct.items() if name != "NAME"}
    usual = {name: os.environ.get(f"PG{name}", "") for name in _SSL}
    return {name: value for name, value in usual.items() if value} | said


def _parsed_url(variable: str) -> dict[str, str]:
    """Return what a URL names; no sentence of a refusal holds any of it, for all of it may be a password."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return {}
    form = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with / @ : # ? % in a password written as %2F and so on"

    def refusal(found: str) -> ConfigurationError:
        return ConfigurationError(variable, None, form, found=found)

    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise refusal("cannot be read as a URL") from None
    if not re.fullmatch(r"postgres(ql)?(\+\w+)?", parts.scheme):
        raise refusal("begins with something else than postgresql://")
    path = unquote(parts.path.removeprefix("/"))
    if parts.fragment or "@" in path or "/" in path:
        raise refusal("cannot be read as a URL")
    if "," in (parts.hostname or ""):
        raise refusal("names several servers")
    found = {
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(port or ""),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "NAME": path,
    }
    for name, value in parse_qsl(parts.query):
        if name in _IN_URL:
            found[_IN_URL[name]] = value
        elif name not in _IGNORED_IN_URL:
            shown = f"the parameter {name!r}" if re.fullmatch(r"[a-z_]{1,30}", name) else "a parameter"
            raise refusal(f"has {shown}, which is not known here; known are {', '.join(_IN_URL)}")
    return {name: value for name, value in found.items() if value}


def _schema() -> str:
    schema = os.environ.get("OHLCV_SCHEMA", "").strip()
    if len(schema.encode()) > NAME_BYTES_MAX or schema.startswith("pg_") or "\0" in schema:
        raise ConfigurationError(
            "OHLCV_SCHEMA", schema, f"the name of a schema: at most {NAME_BYTES_MAX} bytes, not beginning with pg_"
        )
    return schema


def _check_tls(address: Address) -> None:
    if address.sslmode not in SSL_MODES:
        raise ConfigurationError("DB_SSLMODE", address.sslmode, ", ".join(SSL_MODES))
    if address.host.startswith("/") or SSL_MODES.index(address.sslmode) >= SSL_MODES.index("require"):
        return
    for name in ("SSLROOTCERT", "SSLCERT"):
        if getattr(address, name.lower()) and not os.environ.get(f"PG{name}"):
            raise ConfigurationError(
                f"DB_{name}", None, "DB_SSLMODE=verify-full beside it",
                found=f"is set, but DB_SSLMODE {address.sslmode!r} would not use it",
            )  # fmt: skip


def _usual_file(name: str) -> str:
    """Return where libpq looks for a file that nothing names; empty where it is not there."""
    try:
        file = Path.home() / ".postgresql" / name
    except RuntimeError:
        return ""
    return str(file) if file.exists() else ""


def _readable(variable: str, name: str) -> str:
    file = Path(name).expanduser()
    try:
        with file.open("rb"):
            return str(file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _unusable(variable, str(file), f"cannot be read ({reason})", "a readable file in PEM") from error


def _unusable(variable: str, file: str, why: str, allowed: str) -> ConfigurationError:
    return ConfigurationError(variable, file, allowed, found=f"is {file!r}, which {why}")
