"""What may be a name, and the names of relations: lower case, marks as `_`, bounded, quoted, never shared. Pure."""

import re
from hashlib import sha256

NAME_BYTES_MAX = 63
SUFFIXES = ("_trades", "_candles1m", "_candles1m_view", "_ohlcv")
BASE_BYTES_MAX = NAME_BYTES_MAX - max(map(len, SUFFIXES))

TEXT_BYTES_MAX = 500
"""How long the name of an exchange or a symbol may be, in UTF-8."""

_RESERVED = re.compile(r"public|information_schema|pg_.*|_*timescaledb.*", re.ASCII)


def is_name(value: str) -> bool:
    """Tell whether the database can hold `value` as the name of an exchange or a symbol."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= TEXT_BYTES_MAX and "\0" not in value


def schema_name(exchange: str) -> str:
    """Return the schema of an exchange's relations; one that the server keeps for itself gets a suffix.

    The server refuses every schema that begins with `pg_`; those get a `_` before it too.
    """
    name = _lowered(exchange)
    if _RESERVED.fullmatch(name) or len(name) > NAME_BYTES_MAX:
        return _marked(f"_{name}" if name.startswith("pg_") else name, exchange, NAME_BYTES_MAX)
    return name


def base_names(exchange: str, symbol: str) -> tuple[str, str]:
    """Return the name that a symbol's relations begin with, and the one to take if another symbol has that.

    `BTC/USD:BTC` → `btc_usd_btc`; `BTC/USD` and `BTC_USD` both want `btc_usd`, the second to be initialised gets
    `btc_usd_` and eight characters that depend on exchange and symbol alone.
    """
    name = _lowered(symbol)
    other = _marked(name, f"{exchange}\0{symbol}", BASE_BYTES_MAX)
    return (name if len(name) <= BASE_BYTES_MAX else other), other


def quoted(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _lowered(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", text.lower(), flags=re.ASCII)


def _marked(name: str, origin: str, size: int) -> str:
    return f"{name[: size - 9]}_{sha256(origin.encode()).hexdigest()[:8]}"
