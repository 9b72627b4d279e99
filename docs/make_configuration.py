"""Write docs/configuration.md: `.venv/bin/python docs/make_configuration.py`.

Order and meaning come from .env.example and from the descriptions of the service's settings. Defaults and what is
allowed come from the programs themselves: each reader is asked with an empty environment, and again with a value that
it refuses, for it then says what it allows. So the page cannot promise what is not so; a test keeps it up to date.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fullon_cache import CacheSettings
from fullon_embedded.servers import default_data_dir
from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock
from fullon_exchange.hyperliquid import rest as hyperliquid
from fullon_exchange.live.age import configured_age_s
from fullon_exchange.origin import resolve
from fullon_exchange.proxies import check_proxies
from fullon_log.settings import LogSettings
from fullon_ohlcv.connection import Target
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.demo import read_duration
from fullon_ohlcv_service.errors import ConfigurationError
from fullon_orm.address import Address

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
NONSENSE = "?!"
"""No setting but a free text takes this."""
HEAD = """\
# Configuration

Every setting is an environment variable, or a line `NAME=value` of a file `.env` in the directory the program is
started in (`--env-file` names another); the environment wins. An empty value counts as unset. `fullon-ohlcv init`
writes a `.env` that only its owner can read, and [.env.example](../.env.example) can be copied. Settings are read at
the start; a value that cannot be used is refused then, in one sentence with its name and what is allowed. What is
collected is no setting: exchanges and symbols stand in the database and may change at any time.

This page is made by `docs/make_configuration.py` from the programs.
"""
FURTHER = {
    "FULLON_<EXCHANGE>_ORIGIN": "Scheme, host and port in place of an exchange's own, for REST and WebSocket: a "
    "recorder, a simulator.",
    "FULLON_<EXCHANGE>_PROXY": "The proxy for REST and WebSocket of one exchange; it overrides the general "
    "variables, NO_PROXY included.",
    "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY": "The proxy for all exchanges, by the scheme of the address; also in "
    "lower case.",
    "NO_PROXY": "Hosts, ends of host names and networks that are reached without the general proxy, separated by "
    "commas.",
    "FULLON_<EXCHANGE>_CONNECTION_AGE_S": "Seconds after which a WebSocket is replaced by a new one; unset: in time "
    "before the exchange cuts it.",
    "FULLON_HYPERLIQUID_CONNECTIONS_MAX": "How many WebSockets Hyperliquid's streams are spread over at most; its "
    "documents name two limits.",
    "FULLON_CLOCK": "Another clock, for a simulated market: exchange time passes from a moment on at a speed.",
    "DURATION": "Seconds after which `make demo` ends by itself.",
    "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID": "Set by systemd (`Type=notify`, `WatchdogSec=`), not by you.",
}
"""Variables that .env.example does not list, or only by an instance."""
FILES = dict.fromkeys(("DB_SSLROOTCERT", "DB_SSLCERT", "DB_SSLKEY", "REDIS_CA_FILE"), "a file in PEM")
"""What is refused when it is used, not when it is read."""
INSTANCES = {"FULLON_KRAKEN_ORIGIN", "FULLON_BINANCE_ORIGIN", "FULLON_BINANCE_CONNECTION_AGE_S"}


class Entry(NamedTuple):
    """One variable of .env.example: its group, the value shown there, and what is said above it."""

    group: str
    name: str
    value: str
    said: str


def entries() -> list[Entry]:
    """Return the variables of .env.example, in its order."""
    found = []
    group = said = ""
    above = True
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"# -- (.+?) -+$", line):
            group, said = match[1], ""
        elif match := re.match(r"#?([A-Z_]+)=(.*)$", line):
            found.append(Entry(group, match[1], match[2], said))
            above = True
        elif line.startswith("# ") and group:
            said = line[2:] if above else f"{said} {line[2:]}"
            above = False
    return found


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Have no settings but these, with servers to connect to."""
    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update({"DB_HOST": "here", "REDIS_HOST": "here", "HOME": "~"} | variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def defaults() -> dict[str, Any]:
    """Return what the programs take where nothing is set; None: nothing."""
    with environment():
        orm, series, series_test = Address.from_env(), Target.from_env(), Target.from_env(test=True)
        redis, log = CacheSettings.from_env(), LogSettings.read()
        data_dir = default_data_dir()
    if (orm.port, orm.user, orm.password) != (series.port, series.user, series.password):
        raise AssertionError("the two databases disagree about their server")
    fields = OhlcvServiceConfig.model_fields
    return {
        "DB_HOST": None,
        "DB_PORT": orm.port,
        "DB_USER": orm.user,
        "DB_PASSWORD": orm.password,
        "DATABASE_URL": None,
        "DB_DIRECT_URL": None,
        "DB_SSLMODE": orm.sslmode,
        "DB_SSLROOTCERT": orm.sslrootcert,
        "DB_SSLCERT": orm.sslcert,
        "DB_SSLKEY": orm.sslkey,
        "DB_NAME": orm.database,
        "DB_OHLCV_NAME": series.database,
        "DB_TEST_NAME": series_test.database,
        "OHLCV_SCHEMA": orm.schema,
        "REDIS_HOST": None,
        "REDIS_PORT": redis.port,
        "REDIS_DB": redis.database,
        "REDIS_PASSWORD": redis.password,
        "REDIS_USERNAME": redis.username,
        "REDIS_URL": None,
        "REDIS_SSL": redis.ssl,
        "REDIS_CA_FILE": redis.ca_file,
        "REDIS_MAX_CONNECTIONS": redis.connections_max,
        "REDIS_SOCKET_TIMEOUT": redis.socket_timeout_s,
        "REDIS_SOCKET_CONNECT_TIMEOUT": redis.connect_timeout_s,
        **{f"CACHE_{name}": None for name in ("HOST", "PORT", "DB", "PASSWORD")},
        **{f"LOG_{name.upper()}": getattr(log, name) for name in LogSettings.__dataclass_fields__},
        **{_variable_of(name): field.default for name, field in fields.items()},
        "FULLON_DATA_DIR": data_dir,
        "FULLON_HYPERLIQUID_CONNECTIONS_MAX": hyperliquid._CONNECTIONS_MAX,
    }


def _variable_of(field: str) -> str:
    return "ADMIN_MAIL" if field == "admin_mail" else f"OHLCV_{field.upper()}"


def readers() -> dict[str, Callable[[], object]]:
    """Return who reads a variable, by the beginning of its name."""
    return {
        "DB_OHLCV_NAME": Target.from_env,
        "DB_TEST_NAME": lambda: Target.from_env(test=True),
        "DB_": Address.from_env,
        "DATABASE_URL": Address.from_env,
        "OHLCV_SCHEMA": Address.from_env,
        "REDIS_": CacheSettings.from_env,
        "LOG_": LogSettings.read,
        "OHLCV_": OhlcvServiceConfig.from_env,
        "DURATION": read_duration,
        "FULLON_CLOCK": Clock.from_env,
        "FULLON_HYPERLIQUID_CONNECTIONS_MAX": lambda: open_exchange("hyperliquid"),
        "FULLON_KRAKEN_ORIGIN": lambda: resolve("kraken", "https://exchange.invalid"),
        "FULLON_KRAKEN_PROXY": check_proxies,
        "HTTPS_PROXY": check_proxies,
        "FULLON_KRAKEN_CONNECTION_AGE_S": lambda: configured_age_s("kraken"),
    }


def allowed(variable: str) -> str:
    """Return what may stand in a variable, in the words of whoever reads it; empty where any text may."""
    if variable.startswith("CACHE_"):
        return f"as `{variable.replace('CACHE_', 'REDIS_')}`"
    if variable in FILES:
        return FILES[variable]
    instance = variable.replace("<EXCHANGE>", "KRAKEN").partition(",")[0]
    if (bounds := _bounds_of(variable)) is not None:
        return bounds
    reader = next((read for beginning, read in readers().items() if instance.startswith(beginning)), None)
    if reader is None:
        return ""
    with environment(**{instance: NONSENSE}):
        try:
            reader()
        except (ValueError, ConfigurationError) as error:
            _, _, words = str(error).partition("allowed is ")
            return re.sub(r" \([A-Z].*\)$", "", words).partition("; ")[0]
    return ""


def _bounds_of(variable: str) -> str | None:
    """Return what the service's own settings declare, where that says it all."""
    properties = OhlcvServiceConfig.model_json_schema(by_alias=False)["properties"]
    declared = next((one for name, one in properties.items() if _variable_of(name) == variable), {})
    if "enum" in declared:
        return " or ".join(f"`{one}`" for one in declared["enum"])
    if declared.get("type") == "boolean":
        return "`true` or `false`"
    if declared.get("type") in ("integer", "number"):
        what = "a whole number" if declared["type"] == "integer" else "a number"
        lowest = f" from {declared['minimum']}" if "minimum" in declared else ""
        above = f" above {declared['exclusiveMinimum']:g}" if "exclusiveMinimum" in declared else ""
        highest = f" to {declared['maximum']:g}" if "maximum" in declared else ""
        return what + lowest + above + highest
    return None


def show(value: object) -> str:
    """Return a default as it would be written."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def make_page() -> str:
    """Return the page."""
    known = defaults()
    listed = [one for one in entries() if one.name not in INSTANCES]
    if missing := {one.name for one in listed} ^ (known.keys() - FURTHER.keys()):
        raise AssertionError(f".env.example and the programs differ in {', '.join(sorted(missing))}")
    text = HEAD
    for group in dict.fromkeys(one.group for one in listed):
        rows = [(one.name, known[one.name], one.said) for one in listed if one.group == group]
        text += f"\n## {group}\n\n{_table(rows)}"
    return text + f"\n## Further ones\n\n{_table([(name, known.get(name), said) for name, said in FURTHER.items()])}"


def _table(rows: list[tuple[str, Any, str]]) -> str:
    lines = ["| variable | default | allowed | |", "|---|---|---|---|"]
    for name, default, said in rows:
        names = ", ".join(f"`{one}`" for one in name.split(", "))
        cells = (names, show(default), allowed(name) or "any text", said)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
