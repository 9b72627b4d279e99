"""Point an exchange elsewhere: `FULLON_<EXCHANGE>_ORIGIN`.

Its value replaces scheme, host and port of every REST and WebSocket address of that exchange; paths stay.
"""

import os
import re
from urllib.parse import urlsplit, urlunsplit

_WEBSOCKET = {"http": "ws", "https": "wss"}


def variable_of(exchange: str, setting: str) -> str:
    """Return the name of the variable that holds a setting of `exchange`: `FULLON_KRAKEN_<setting>`."""
    return f"FULLON_{re.sub(r'[^A-Z0-9]', '_', exchange.upper())}_{setting}"


def origin_variable(exchange: str) -> str:
    """Return the name of the variable that moves `exchange`: `FULLON_KRAKEN_ORIGIN`."""
    return variable_of(exchange, "ORIGIN")


def is_moved(exchange: str) -> bool:
    """Tell whether the environment points `exchange` elsewhere."""
    return bool(os.environ.get(origin_variable(exchange), "").strip())


def resolve(exchange: str, url: str) -> str:
    """Return `url`, moved to the origin the environment names for `exchange`, if any.

    `ws` follows from `http`, `wss` from `https`. The environment is read at every call.

    Raises:
        ValueError: the variable does not parse; the sentence says what is allowed.
    """
    variable = origin_variable(exchange)
    value = os.environ.get(variable, "").strip()
    if not value:
        return url
    scheme, netloc = _parse(variable, value)
    parts = urlsplit(url)
    if parts.scheme in ("ws", "wss"):
        scheme = _WEBSOCKET[scheme]
    return urlunsplit((scheme, netloc, parts.path, parts.query, parts.fragment))


def _parse(variable: str, value: str) -> tuple[str, str]:
    refusal = ValueError(
        f"{variable} is {value!r}; allowed is http://host, http://host:port or the same with https, "
        "for instance http://127.0.0.1:9101"
    )
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise refusal from error
    if (
        parts.scheme not in _WEBSOCKET
        or not parts.hostname
        or re.search(r"\s", value)
        or port == 0
        or parts.netloc.endswith(":")
        or parts.username is not None
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
    ):
        raise refusal
    return parts.scheme, parts.netloc
