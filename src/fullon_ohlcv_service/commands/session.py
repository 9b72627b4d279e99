"""What every command needs: the environment it was told to use, the servers, the ledger, and one kind of refusal."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fullon_cache import CacheError
from fullon_embedded import EmbeddedError, EmbeddedServers, start_servers, stopping_in_order
from fullon_embedded.disk import FULL_BYTES, describe_full, free_bytes
from fullon_embedded.servers import default_data_dir
from fullon_exchange.clock import Clock, floor_minute_us
from fullon_exchange.errors import ExchangeError
from fullon_exchange.names import found_elsewhere, suggest
from fullon_log import configure_logger
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.commands.environment import is_demo, say_command, split_name
from fullon_ohlcv_service.commands.names import read_typed
from fullon_ohlcv_service.config.database_config import WantedSymbol, load_wanted_symbols
from fullon_ohlcv_service.config.servers import missing_servers
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.errors import CommandError, ServiceError
from fullon_ohlcv_service.history import SETTLE_S
from fullon_ohlcv_service.wanted_range import start_us
from fullon_orm.errors import DatabaseMissing, OrmError, SchemaMismatch

KNOWN_ERRORS = (
    ServiceError,
    EmbeddedError,
    OrmError,
    StorageError,
    CacheError,
    ExchangeError,
    ValueError,
    OSError,
)
"""What is said in one sentence; anything else is a defect and shows where it happened."""
Result = TypeVar("Result")
_used_directory: ContextVar[Path | None] = ContextVar("used_directory", default=None)
"""Of the embedded servers that a command uses."""


def nothing_yet() -> str:
    """Say that no symbol is collected, and what adds one."""
    return f"no symbol is collected yet: {say_command('symbols add kraken:BTC/USD')} adds one"


def be_quiet() -> None:
    """Leave standard error to what goes wrong; the log file is the daemon's."""
    configure_logger(level="ERROR", format="minimal", file_path="")


def embedded_directory() -> Path:
    """Return where the embedded servers live."""
    return EmbeddedServers(default_data_dir()).data_dir


def database_runs() -> bool:
    """Tell whether there is a database to ask: one that the environment names, or an embedded one that is ready."""
    return "postgres" not in missing_servers() or EmbeddedServers(default_data_dir(), redis=False).are_ready()


@contextmanager
def servers(*, create: bool = False) -> Iterator[None]:
    """Have servers: those that the environment names, or the embedded ones, which other programs may be using.

    A command starts embedded servers where none run, and stops those again. One that runs it never ends, whatever it
    answers, and one that starts it waits for.

    Raises:
        CommandError: nothing has been set up yet, and `create` is not asked for; or the disk of the embedded servers
            is full, and something has failed.
    """
    missing = missing_servers()
    if not missing:
        yield
        return
    directory = embedded_directory()
    if "postgres" in missing and not create and not (directory / "postgres").is_dir():
        if is_demo():
            raise CommandError(f"the demo has not run in {directory} yet: {say_command('run')} begins it")
        raise CommandError(
            f"nothing is set up in {directory} yet: `fullon-ohlcv init` does it; "
            "--data-dir names another directory, DB_HOST a server of yours"
        )
    embedded = start_servers(
        postgres="postgres" in missing, redis="redis" in missing, guest=True, report=_report_waiting
    )
    with stopping_in_order(), embedded as running:
        address = running.environment()
        os.environ.update(address)
        used = _used_directory.set(directory)
        try:
            yield
        except KNOWN_ERRORS as error:
            if free_bytes(directory) < FULL_BYTES:
                raise CommandError(f"{describe_full(directory)} ({error})") from error
            raise
        finally:
            _used_directory.reset(used)
            for name in address:
                os.environ.pop(name, None)


def _report_waiting(sentence: str) -> None:
    """Report on standard error, which leaves the output of the command as it is."""
    print(f"fullon-ohlcv: {sentence}", file=sys.stderr, flush=True)


def complete(work: Coroutine[Any, Any, Result], *, create: bool = False) -> Result:
    """Run `work` with servers to its end."""
    try:
        be_quiet()
        with servers(create=create), asyncio.Runner() as runner:
            return runner.run(work)
    finally:
        work.close()


def settled_end_us(now_us: int) -> int:
    """Return the end of the last minute that history is expected to have stored by now."""
    return floor_minute_us(now_us - round(SETTLE_S * 1e6))


@dataclass(frozen=True)
class Ledger:
    """The store, and what is wanted of it, at one moment."""

    config: OhlcvServiceConfig
    clock: Clock
    store: TimeseriesStore
    wanted: Mapping[tuple[str, str], WantedSymbol]
    known: Mapping[tuple[str, str, str], Series]
    """Every series of the store by exchange, symbol and channel."""
    since_us: Mapping[Series, int]
    """From when on a series is wanted, as recorded."""
    embedded: Path | None = None
    """Where the embedded servers keep their data; None where others are used."""

    def interval(self, one: WantedSymbol) -> Interval:
        """Return what is wanted of a symbol, up to the last minute that has settled; empty where it is not wanted."""
        now_us = self.clock.now_us()
        key = (one.exchange, one.symbol)
        series = self.known.get((*key, "candles1m")) if key in self.wanted else None
        begins_us = start_us(one, now_us, None if series is None else self.since_us.get(series))
        return begins_us, max(begins_us, settled_end_us(now_us))

    async def candles(self, exchange: str, symbol: str) -> Series:
        """Return the series of a symbol's 1-minute candles, created where it is new."""
        known = self.known.get((exchange, symbol, "candles1m"))
        return known or await self.store.series(exchange, symbol, "candles1m")

    def find(self, name: str, of: str | None = None) -> WantedSymbol:
        """Return the symbol that `BTC/USD` or `kraken:BTC/USD` means, of those collected or stored; `of` an exchange.

        Raises:
            CommandError: none, or several of them.
        """
        stored = {key[:2]: WantedSymbol(key[0], key[1], 0) for key in self.known}
        symbols = stored | dict(self.wanted)
        said, symbol = split_name(name)
        exchange = said or of
        pool = [one for one in symbols.values() if exchange in (None, one.exchange)]
        meant = read_typed(symbol, {one.symbol: () for one in pool})
        found = [one for one in pool if one.symbol == meant]
        if len(found) == 1:
            return found[0]
        if found:
            raise CommandError(
                f"{meant} is collected from several exchanges: say {' or '.join(sorted(map(str, found)))}"
            )
        names: dict[str, list[str]] = {}
        for one in sorted(pool or symbols.values()):
            names.setdefault(one.symbol, []).append(str(one))
        hint = (exchange and found_elsewhere(exchange, symbol)) or suggest(
            symbol, names, describe=lambda near: " or ".join(names[near])
        )
        asked = f"{exchange}:{symbol}" if exchange else symbol
        raise CommandError(f"{asked} is not collected; {hint or say_command('symbols list') + ' names them'}")

    def choose(self, names: list[str] | None, exchange: str | None = None) -> list[WantedSymbol]:
        """Return the named symbols, or all that are wanted (of one exchange).

        Raises:
            CommandError: one of them cannot be meant, or there are none.
        """
        if names:
            return [self.find(name, exchange) for name in names]
        chosen = [one for one in self.wanted.values() if exchange in (None, one.exchange)]
        if exchange is not None and not chosen:
            having = ", ".join(sorted({one.exchange for one in self.wanted.values()})) or "none yet"
            raise CommandError(f"no symbol of {exchange!r} is collected; exchanges with symbols: {having}")
        if not chosen:
            raise CommandError(nothing_yet())
        return sorted(chosen)


@asynccontextmanager
async def open_ledger() -> AsyncIterator[Ledger]:
    """Open the store and read what is wanted.

    Raises:
        CommandError: the database has not been set up yet.
    """
    config, clock = OhlcvServiceConfig.from_env(), Clock.from_env()
    try:
        wanted = await load_wanted_symbols(config)
    except (DatabaseMissing, SchemaMismatch) as error:
        if isinstance(error, SchemaMismatch) and error.found is not None:
            raise
        raise CommandError(f"database {error.database!r} is not set up yet: run {say_command('init')}") from error
    async with TimeseriesStore.open(test=config.test_mode, now_us=clock.now_us) as store:
        async with store.connection("list the series") as connection:
            rows = await connection.fetch("SELECT series_id, exchange, symbol, channel FROM series")
        known = {tuple(row)[1:]: Series(*row) for row in rows}
        since_us = await store.wanted_since(known.values())
        by_name = {(one.exchange, one.symbol): one for one in sorted(wanted)}
        yield Ledger(config, clock, store, by_name, known, since_us, _used_directory.get())
