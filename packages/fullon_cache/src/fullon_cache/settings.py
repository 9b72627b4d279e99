"""Where Redis is, from `REDIS_*` with `CACHE_*` behind it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeVar

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

    @classmethod
    def from_env(cls) -> Self:
        """Read the environment now.

        Raises:
            ConfigurationError: no host is set, or a value cannot be parsed; names the variable, its value
                and what is allowed.
        """
        variable, host = _find("HOST")
        if not host:
            raise ConfigurationError(
                variable,
                None,
                "the name of a Redis server or the path of its unix socket; "
                "`python -m fullon_embedded env` starts a private server and prints what to set",
            )
        return cls(
            host=host,
            port=_number("PORT", cls.port, int, 1, 65_535),
            database=_number("DB", cls.database, int, 0, 1_000_000),
            password=_find("PASSWORD")[1],
            connections_max=_number("MAX_CONNECTIONS", cls.connections_max, int, 1, 100_000),
            socket_timeout_s=_number("SOCKET_TIMEOUT", cls.socket_timeout_s, float, 0.01, 3_600.0),
            connect_timeout_s=_number("SOCKET_CONNECT_TIMEOUT", cls.connect_timeout_s, float, 0.01, 3_600.0),
        )

    @property
    def address(self) -> str:
        """The server and database as text, without the password."""
        place = self.host if self.host.startswith("/") else f"{self.host}:{self.port}"
        return f"{place} database {self.database}"


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
