"""`.env.example` names every variable with its default, and is a file the daemon can read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fullon_ohlcv_service.config.settings import OhlcvServiceConfig, load_env_file
from fullon_ohlcv_service.errors import ConfigurationError

EXAMPLE = Path(__file__).parents[2] / ".env.example"

# The public contract; None: unset by default.
DEFAULTS = {
    "DB_HOST": None,
    "DB_PORT": "5432",
    "DB_USER": "postgres",
    "DB_PASSWORD": None,
    "DATABASE_URL": None,
    "DB_DIRECT_URL": None,
    "DB_SSLMODE": "prefer",
    "DB_SSLROOTCERT": None,
    "DB_SSLCERT": None,
    "DB_SSLKEY": None,
    "OHLCV_SCHEMA": None,
    "DB_NAME": "fullon",
    "DB_OHLCV_NAME": "fullon_ohlcv",
    "DB_TEST_NAME": "fullon_ohlcv_test",
    "REDIS_HOST": None,
    "REDIS_PORT": "6379",
    "REDIS_DB": "0",
    "REDIS_PASSWORD": None,
    "REDIS_USERNAME": None,
    "REDIS_URL": None,
    "REDIS_SSL": "false",
    "REDIS_CA_FILE": None,
    "CACHE_HOST": None,
    "CACHE_PORT": "6379",
    "CACHE_DB": "0",
    "CACHE_PASSWORD": None,
    "REDIS_MAX_CONNECTIONS": "50",
    "REDIS_SOCKET_TIMEOUT": "5",
    "REDIS_SOCKET_CONNECT_TIMEOUT": "5",
    "ADMIN_MAIL": "admin@fullon",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "beautiful",
    "LOG_CONSOLE": "true",
    "LOG_COLORS": "true",
    "LOG_FILE_PATH": None,
    "LOG_ROTATION": None,
    "LOG_RETENTION": None,
    "OHLCV_USER_ID": "1",
    "OHLCV_COLLECTION_INTERVAL": "60",
    "OHLCV_HEALTH_INTERVAL": "30",
    "OHLCV_HISTORICAL_LIMIT": "1000",
    "OHLCV_ENABLE_STREAMING": "true",
    "OHLCV_ENABLE_HISTORICAL": "true",
    "OHLCV_TEST_MODE": "false",
    "OHLCV_COLLECT_TRADES": "needed",
    "OHLCV_DISK_FREE_WARN_MB": "5000",
    "OHLCV_DISK_FREE_MIN_MB": "500",
    "OHLCV_KEEP_TRADES_DAYS": "0",
    "OHLCV_KEEP_CANDLES_DAYS": "0",
    "OHLCV_COMPRESS_AFTER_DAYS": "0",
    "OHLCV_HTTP_BIND": "127.0.0.1:9464",
    "FULLON_DATA_DIR": "~/.local/share/fullon",
    "FULLON_KRAKEN_ORIGIN": "http://127.0.0.1:9101",
    "FULLON_BINANCE_ORIGIN": "http://127.0.0.1:9102",
    "FULLON_BINANCE_CONNECTION_AGE_S": "84600",
}


def shown() -> dict[str, str | None]:
    lines = re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE.read_text(), flags=re.MULTILINE)
    return {name: value or None for name, value in lines}


def test_every_variable_is_shown_with_its_default() -> None:
    assert shown() == DEFAULTS


def test_every_variable_is_explained() -> None:
    """A comment in prose stands right above it, or above the group of older names it belongs to."""
    lines = EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#[A-Z_]+=", line):
            above = next(text for text in reversed(lines[:number]) if not re.match(r"#[A-Z_]+=", text))
            assert re.match(r"# \w.*[.:]", above), line


def test_the_file_with_everything_uncommented_is_read_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    untouched = OhlcvServiceConfig.from_env().model_dump()
    file = tmp_path / ".env"
    file.write_text(re.sub(r"^#([A-Z_]+=)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE))
    for name in DEFAULTS:
        # Registers the variable with monkeypatch, so that what the file sets is undone.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    load_env_file(file)
    assert OhlcvServiceConfig.from_env().model_dump() == untouched


@pytest.mark.parametrize("line", ["DB_HOST", "DB HOST=x", "=x", 'DB_HOST="x'])
def test_a_line_that_sets_nothing_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# servers\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"\.env, line 2: cannot read .*; allowed are lines NAME=value"):
        load_env_file(file)
