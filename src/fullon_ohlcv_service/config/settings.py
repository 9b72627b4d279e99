"""The service's own settings, read once from the environment, validated, frozen."""

import os
import re
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fullon_ohlcv_service.errors import ConfigurationError


class Address(NamedTuple):
    """Where a server listens; port 0 is any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address | None:
    """Return host and port of `HOST:PORT` or `[IPV6]:PORT`; None of an empty text.

    Raises:
        ValueError: anything else.
    """
    if not text:
        return None
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.netloc != text or "@" in text or not host.isprintable() or " " in host:
        raise ValueError("HOST:PORT such as 127.0.0.1:9464, with a port of 0 to 65535, or nothing")
    return Address(host, port)


def _checked_address(text: str) -> str:
    parse_address(text)
    return text


class OhlcvServiceConfig(BaseSettings):
    """What `OHLCV_*` and `ADMIN_MAIL` say; read with `from_env()`.

    The variables of servers, logging and origins belong to the packages that use them.
    """

    model_config = SettingsConfigDict(env_prefix="OHLCV_", frozen=True, extra="ignore")

    admin_mail: str = Field(
        default="admin@fullon",
        validation_alias="ADMIN_MAIL",
        description="Whose exchanges are collected, unless OHLCV_USER_ID is set.",
    )
    user_id: int = Field(
        default=1,
        ge=1,
        description="Whose exchanges are collected, by user id; unset: the user with ADMIN_MAIL, else 1.",
    )
    collection_interval: float = Field(
        default=60,
        gt=0,
        le=86_400,
        description="Seconds between two looks at the database for symbols and at the ledger for gaps.",
    )
    health_interval: float = Field(
        default=30,
        gt=0,
        le=30,
        description="Seconds between two heartbeats of the status records, 30 at most.",
    )
    historical_limit: int = Field(
        default=1000,
        ge=1,
        le=5000,
        description="Rows asked for per REST page, where the venue allows as many.",
    )
    enable_streaming: bool = Field(default=True, description="Collect live data over WebSocket.")
    enable_historical: bool = Field(default=True, description="Back-fill and repair over REST.")
    test_mode: bool = Field(default=False, description="Store the series in DB_TEST_NAME, not DB_OHLCV_NAME.")
    collect_trades: Literal["needed", "all"] = Field(
        default="needed",
        description="`needed`: trades only where candles are folded from them; `all`: of every exchange.",
    )
    disk_free_warn_mb: float = Field(
        default=5000,
        ge=0,
        description="With less than this free on the disk of embedded servers, in MB, the daemon warns.",
    )
    disk_free_min_mb: float = Field(
        default=500,
        ge=0,
        description="With less than this free there, in MB, it is not ready and back-fills no more; live data go on.",
    )
    keep_trades_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="Days that trades are kept, unless their symbol says otherwise; 0: all are kept.",
    )
    keep_candles_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="Days that candles are kept, unless their symbol says otherwise; 0: all are kept.",
    )
    compress_after_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="With TimescaleDB: age in days at which rows are compressed; 0: candles 60, trades 14.",
    )
    http_bind: Annotated[str, AfterValidator(_checked_address)] = Field(
        default="127.0.0.1:9464",
        description="Where /metrics, /live, /ready and /status are served over HTTP; empty: nowhere.",
    )

    @classmethod
    def from_env(cls) -> "OhlcvServiceConfig":
        """Read the environment.

        Raises:
            ConfigurationError: a value cannot be used; names the variable, the value and what is allowed.
        """
        try:
            return cls()
        except ValidationError as error:
            raise ConfigurationError("; ".join(_sentence(cls, one) for one in error.errors())) from None

    @property
    def http_address(self) -> Address | None:
        """Where to serve HTTP; None: nowhere."""
        return parse_address(self.http_bind)

    @property
    def user_id_is_set(self) -> bool:
        """True where OHLCV_USER_ID was given rather than defaulted."""
        return "user_id" in self.model_fields_set


def _sentence(settings: type[OhlcvServiceConfig], error: Any) -> str:
    name = str(error["loc"][0]).lower()
    variable = "ADMIN_MAIL" if name == "admin_mail" else f"OHLCV_{name.upper()}"
    allowed = (
        str(error["msg"])
        .removeprefix("Input should be ")
        .removeprefix("Value error, ")
        .removesuffix(", unable to interpret input")
    )
    meaning = (settings.model_fields[name].description or "").rstrip(".")
    allowed = allowed.removesuffix(", unable to parse string as an integer")
    return f"{variable} is {error['input']!r}; allowed is {allowed} ({meaning})"


def load_env_file(path: Path) -> None:
    """Put the variables of a `.env` file into the environment; variables that are already set win.

    A file that does not exist is no error.

    Raises:
        ConfigurationError: the file cannot be read or a line does not parse; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}; make it a readable UTF-8 file or remove it") from error
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            # What stands behind the sign of equality may be a password.
            line = re.sub(r"=.*", "=…", binding.original.string.strip(), flags=re.DOTALL)
            raise ConfigurationError(
                f"{path}, line {binding.original.line}: cannot read {line!r}; "
                "allowed are lines NAME=value and comments that begin with #"
            )
        if binding.key and binding.value is not None:
            os.environ.setdefault(binding.key, binding.value)
