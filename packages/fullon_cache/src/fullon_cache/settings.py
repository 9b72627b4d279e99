"""Where Redis is, from `REDIS_URL` and `REDIS_*` with `CACHE_*` behind it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLError, create_default_context
from typing import Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from fullon_cache.errors import ConfigurationError

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class CacheSettings:
    """One Redis database and how to talk to it. `host` beginning with "/" is the path of a unix socket."""

    host: str
    port: int = 6379
    database: int = 0
    password: str = field(default="", repr=False)
    connections_max: int = 50
    socket_timeout_s: float = 5.0
    connect_timeout_s: float = 5.0
    username: str = ""
    ssl: bool = False
    ca_file: str = ""

    @classmethod
    def from_env(cls) -> Self:
        """Read the environment now.

        `REDIS_URL` names the server; what it leaves out comes from the other variables, and `REDIS_DB`, where set,
        chooses another database than its path.

        Raises:
            ConfigurationError: no host is set, a value cannot be used, or two contradict each other; names the
                variable, its value and what is allowed.
        """
        url = _parsed_url()
        variable, host = _find("HOST")
        if "://" in host or "@" in host:
            raise ConfigurationError(
                variable, None, "a host name or the path of a unix socket; a URL belongs in REDIS_URL",
                found="holds a URL",
            )  # fmt: skip
        host = _one_of("HOST", url, host)
        if not host:
            raise ConfigurationError(
                variable,
                None,
                "the name of a Redis server or the path of its unix socket; "
                "`python -m fullon_embedded env` starts a private server and prints what to set",
            )
        port = _number("PORT", 0, int, 1, 65_535)
        ca_file = os.environ.get("REDIS_CA_FILE", "").strip()
        ssl = _is_tls(url, ca_file, is_socket=host.startswith("/"))
        return cls(
            host=host,
            port=int(_one_of("PORT", url, str(port or "")) or cls.port),
            database=_number("DB", int(url.get("DB") or cls.database), int, 0, 1_000_000),
            password=_one_of("PASSWORD", url, _find("PASSWORD")[1]),
            username=_one_of("USERNAME", url, os.environ.get("REDIS_USERNAME", "").strip()),
            ssl=ssl,
            ca_file=str(Path(ca_file).expanduser()) if ssl and ca_file else "",
            connections_max=_number("MAX_CONNECTIONS", cls.connections_max, int, 1, 100_000),
            socket_timeout_s=_number("SOCKET_TIMEOUT", cls.socket_timeout_s, float, 0.01, 3_600.0),
            connect_timeout_s=_number("SOCKET_CONNECT_TIMEOUT", cls.connect_timeout_s, float, 0.01, 3_600.0),
        )

    def check_ca_file(self) -> None:
        """Refuse a file of certificates that cannot be used.

        Raises:
            ConfigurationError: `REDIS_CA_FILE` cannot be read, or holds no certificate.
        """
        if not self.ca_file:
            return
        try:
            create_default_context(cafile=self.ca_file)
        except SSLError:
            found = f"is {self.ca_file!r}, which holds no certificate"
        except OSError as error:
            found = f"is {self.ca_file!r}, which cannot be read ({(error.strerror or str(error)).lower()})"
        else:
            return
        allowed = "a readable file of CA certificates in PEM; unset: those of the machine"
        raise ConfigurationError("REDIS_CA_FILE", self.ca_file, allowed, found=found, address=self.address)

    @property
    def address(self) -> str:
        """The server and database as text, without the password."""
        place = self.host if self.host.startswith("/") else f"{self.host}:{self.port}"
        return f"{place} database {self.database}"


def names_server() -> bool:
    """Return whether the environment names a Redis server."""
    return any(os.environ.get(name, "").strip() for name in ("REDIS_HOST", "CACHE_HOST", "REDIS_URL"))


_SCHEMES = ("redis", "rediss", "unix")


def _parsed_url() -> dict[str, str]:
    """Return what `REDIS_URL` names; no sentence of a refusal holds any of it, for all of it may be a password."""
    text = os.environ.get("REDIS_URL", "").strip()
    if not text:
        return {}

    def refusal(found: str) -> ConfigurationError:
        form = "redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// with TLS, or unix://PATH?db=DATABASE"
        return ConfigurationError(
            "REDIS_URL", None, f"{form}, with / @ : # ? % in a password written as %2F and so on", found=found
        )

    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise refusal("cannot be read as a URL") from None
    if parts.scheme not in _SCHEMES:
        raise refusal("begins with something else")
    options = dict(parse_qsl(parts.query))
    database = options.pop("db", "")
    if parts.scheme != "unix":
        database = parts.path.strip("/") or database
    if parts.fragment or options or not re.fullmatch(r"[0-9]{0,7}", database):
        raise refusal("has a part that is not known here")
    found = {
        "HOST": unquote(parts.path) if parts.scheme == "unix" else unquote(parts.hostname or ""),
        "PORT": str(port or ""),
        "USERNAME": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "DB": database,
        "SSL": "true" if parts.scheme == "rediss" else "false",
    }
    return {name: value for name, value in found.items() if value}


def _one_of(name: str, url: dict[str, str], said: str) -> str:
    """Return the value of the URL or of the variable; refuse two that differ."""
    named = url.get(name, "")
    if named and said and named != said:
        values = "" if name == "PASSWORD" else f": {named!r} and {said!r}"
        raise ConfigurationError(
            f"REDIS_{name}", None, "one of the two", found=f"and REDIS_URL contradict each other{values}"
        )
    return named or said


_TRUTHS = {"true": "true", "1": "true", "yes": "true", "on": "true"}
_TRUTHS |= {"false": "false", "0": "false", "no": "false", "off": "false"}


def _is_tls(url: dict[str, str], ca_file: str, *, is_socket: bool) -> bool:
    said = os.environ.get("REDIS_SSL", "").strip()
    if said and said.lower() not in _TRUTHS:
        raise ConfigurationError("REDIS_SSL", said, ", ".join(_TRUTHS))
    ssl = _one_of("SSL", url, _TRUTHS.get(said.lower(), "")) == "true" and not is_socket
    if ca_file and not ssl and not is_socket:
        raise ConfigurationError(
            "REDIS_CA_FILE", None, "REDIS_SSL=true beside it, or rediss:// in REDIS_URL",
            found="is set, but nothing asks for TLS",
        )  # fmt: skip
    return ssl


def _find(name: str) -> tuple[str, str]:
    """Return the variable that is set, and its value; an empty one counts as unset."""
    for variable in (f"REDIS_{name}", f"CACHE_{name}"):
        if value := os.environ.get(variable, "").strip():
            return variable, value
    return f"REDIS_{name}", ""


def _number(name: str, default: _Number, parse: Callable[[str], _Number], lowest: _Number, highest: _Number) -> _Number:
    variable, text = _find(name)
    if not text:
        return default
    kind = "a whole number" if parse is int else "a number of seconds"
    allowed = f"{kind} from {lowest:.9g} to {highest:.9g}"
    try:
        value = parse(text)
    except ValueError:
        raise ConfigurationError(variable, text, allowed) from None
    # Written so that NaN is refused too.
    if not lowest <= value <= highest:
        raise ConfigurationError(variable, text, allowed)
    return value
