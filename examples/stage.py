"""The stage the examples play on: servers, a market, a console, and an orderly end whatever happens.

Not an example itself. Each example describes its command line with `Parser`, hands a coroutine to `run()` and
inside it enters `open_stage()`, which gives it a market: simulated, with minutes that last two seconds, or the
real exchange with `--real`.
"""

import argparse
import asyncio
import os
import signal
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from types import SimpleNamespace
from typing import Any, NoReturn

import uvloop
from psutil import pid_exists
from rich.console import Console
from rich.table import Table

from fullon_cache import CacheError, ConnectionPool, ProcessCache
from fullon_embedded import EmbeddedError, start_servers, stopping_in_order
from fullon_embedded.stop_signals import not_ignored, uninterrupted_end
from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_exchange.errors import ExchangeError, UnknownSymbol
from fullon_exchange.queue import ExchangeQueue, RestHandler
from fullon_log import configure_logger
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.reading import Row
from fullon_ohlcv.repositories.ohlcv import TimeseriesRepository
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.audit import audit
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.config.settings import load_env_file
from fullon_ohlcv_service.daemon import missing_servers
from fullon_ohlcv_service.errors import ServiceError
from fullon_orm.errors import OrmError
from fullon_orm.models import Symbol
from fullon_simulator import MarketClock, SimulatedMarket, SymbolSpec, default_symbols

SPEED = 30.0
"""How many simulated seconds pass in a second."""
SECONDS = 12.0
SECONDS_REAL = 150.0
"""Long enough for two whole minutes of a real market."""
PATIENCE_S = 15.0
"""How much longer than `--seconds` a part may take before it is given up."""
TIDY_S = 45.0
POLL_S = 0.25
SETTLE_US = 2_000_000
PIPED_WIDTH = 110
STOPPED = "stopped before the end"
REDIS_DATABASES = range(15, 0, -1)
CLAIM_KEY = "examples:claim"
PRICES = {"BTC": 60_000.0, "ETH": 2_500.0, "SOL": 150.0}


class BadInput(ValueError):
    """What was asked for on the command line cannot be; the sentence says what is allowed."""


class GivenUp(Exception):
    """Something took longer than an example may take."""


FAILURES = (ServiceError, EmbeddedError, OrmError, StorageError, CacheError, ExchangeError, GivenUp)


class Parser(argparse.ArgumentParser):
    """The command line of an example; what is wrong with it is said in one sentence, with exit code 2."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add_market_options(self) -> None:
        """Add what every example with a market understands."""
        self.add_argument("--real", action="store_true", help="collect from the real exchange, at its own pace")
        self.add_argument(
            "--seconds",
            type=_positive,
            help=f"how long to collect, in real seconds ({SECONDS:g}; with --real {SECONDS_REAL:g})",
        )
        self.add_argument(
            "--speed", type=_positive, default=SPEED, help=f"simulated seconds that pass in a real one ({SPEED:g})"
        )

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with 2."""
        self.exit(2, f"{self.prog}: {message} (--help says what there is)\n")


@dataclass(frozen=True)
class Stage:
    """What an example has to play with; `market` is None with `--real`."""

    console: Console
    seconds: float
    clock: Clock
    market: SimulatedMarket | None

    def closed_us(self) -> int:
        """Return the end of the last minute that the exchange has surely told all of."""
        return floor_minute_us(self.clock.now_us() - SETTLE_US)


def run(parser: Parser, play: Callable[[Namespace, Console], Coroutine[Any, Any, bool]]) -> int:
    """Parse the command line and run `play` on servers that run, to its end or to Ctrl-C.

    Returns 0 where `play` says that all went well, 1 where not (with one sentence), 2 for wrong input.
    """
    options = parser.parse_args()
    piped = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    console = Console(highlight=False, soft_wrap=True, width=PIPED_WIDTH if piped else None)
    try:
        load_env_file(Path(__file__).parent.parent / ".env")
        configure_logger(level=os.environ.get("LOG_LEVEL") or "WARNING")
        with ExitStack() as stack:
            stack.enter_context(stopping_in_order())
            if not getattr(options, "watch", False):
                # Of their own, so that a daemon on the default servers is never disturbed.
                os.environ.setdefault("FULLON_DATA_DIR", str(Path.home() / ".local/share/fullon-examples"))
            missing = missing_servers()
            options.embedded = "postgres" in missing
            if missing:
                servers = stack.enter_context(start_servers(postgres="postgres" in missing, redis="redis" in missing))
                os.environ.update(servers.environment())
            with uninterrupted_end(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return 0 if runner.run(_play(play, options, console)) else 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: {STOPPED}", file=sys.stderr)
        return 1
    except (*FAILURES, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


async def _play(
    play: Callable[[Namespace, Console], Coroutine[Any, Any, bool]], options: Namespace, console: Console
) -> bool:
    """Play until done; the first stop signal ends it in order, and what is being tidied up is waited for."""
    task = asyncio.current_task()
    stopped = False

    def on_signal() -> None:
        nonlocal stopped
        if task is not None and not stopped:
            stopped = True
            task.cancel()

    for number in (signal.SIGINT, *not_ignored()):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    parts = 6 if getattr(options, "run_all", False) else 1
    try:
        async with within(parts * (3 * seconds_of(options) + TIDY_S), "the example"):
            return await play(options, console)
    except asyncio.CancelledError:
        if not stopped:
            raise
        raise KeyboardInterrupt from None
    except BaseExceptionGroup as group:
        raise _cause_of(group) from group


@asynccontextmanager
async def within(seconds: float, what: str) -> AsyncIterator[None]:
    """Give up what takes longer.

    Raises:
        GivenUp: it took longer.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise GivenUp(f"{what} was not through after {seconds:.0f} s") from None
        raise


def _cause_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def seconds_of(options: Namespace) -> float:
    """Return how long to collect."""
    seconds: float | None = getattr(options, "seconds", None)
    if seconds is None:
        return SECONDS_REAL if getattr(options, "real", False) else SECONDS
    return seconds


@asynccontextmanager
async def open_stage(
    options: Namespace, console: Console, symbols: Mapping[str, Sequence[str]]
) -> AsyncIterator[Stage]:
    """Open the market: a simulated one with these symbols, or with `--real` none of ours.

    Redis is used too: the database that REDIS_DB names, or an empty one, emptied again afterwards.
    """
    for name in ("USER_ID", "TEST_MODE", "ENABLE_STREAMING", "ENABLE_HISTORICAL"):
        os.environ.pop(f"OHLCV_{name}", None)
    async with redis_database():
        if options.real:
            console.print(f"Market: the real [bold]{', '.join(symbols)}[/]")
            yield Stage(console, seconds_of(options), Clock.from_env(), None)
            return
        clock = MarketClock.starting_at(Clock.from_env().now_us(), speed=options.speed)
        os.environ.update(clock.environment())
        venues = {name: [spec_of(name, symbol) for symbol in names] for name, names in symbols.items()}
        async with SimulatedMarket(venues) as market:
            os.environ.update(market.environment())
            console.print(
                f"Market: simulated [bold]{', '.join(symbols)}[/] on this machine, "
                f"a minute lasts {60 / options.speed:.1f} s"
            )
            yield Stage(console, seconds_of(options), Clock.from_env(), market)


@asynccontextmanager
async def redis_database() -> AsyncIterator[None]:
    """Let REDIS_DB name a database that nobody else uses; one that was chosen here is emptied afterwards.

    Raises:
        BadInput: there is none, or a daemon works with the one that the environment names.
    """
    if os.environ.get("REDIS_DB") or os.environ.get("CACHE_DB"):
        async with ProcessCache() as cache:
            if running := await cache.get_active_processes("ohlcv", "ohlcv_daemon", since_minutes=1):
                pid = running[0]["params"].get("pid")
                raise BadInput(f"a daemon (pid {pid}) works with this Redis database; name another in REDIS_DB")
        yield
        return
    for number in REDIS_DATABASES:
        os.environ["REDIS_DB"] = str(number)
        pool = await ConnectionPool.shared()
        if await _claimed(pool):
            try:
                yield
            finally:
                await pool.run("FLUSHDB")
            return
    raise BadInput("no Redis database from 1 to 15 is empty; name one that may be used in REDIS_DB")


async def _claimed(pool: ConnectionPool) -> bool:
    """Take a Redis database that is empty, or that an example of this machine left when it was killed."""
    holder = await pool.run("GET", CLAIM_KEY)
    if holder is not None:
        host, _, pid = holder.decode().rpartition(" ")
        if host != gethostname() or pid_exists(int(pid)):
            return False
        await pool.run("FLUSHDB")
    if not await pool.run("SET", CLAIM_KEY, f"{gethostname()} {os.getpid()}", "NX"):
        return False
    if await pool.run("DBSIZE") == 1:
        return True
    await pool.run("DEL", CLAIM_KEY)
    return False


def spec_of(exchange: str, symbol: str) -> SymbolSpec:
    """Return a busy market; where the simulator has one of this name, with its price and its decimals."""
    known = {one.symbol: one for one in default_symbols(exchange, 10)}
    if symbol in known:
        return replace(known[symbol], kind="busy", trades_per_day=None)
    return SymbolSpec(symbol, kind="busy", price=PRICES.get(symbol.partition("/")[0], 10.0))


async def ask_exchange(symbols: Sequence[Symbol]) -> RestHandler:
    """Return what the exchange of these symbols says about itself, in a handler that is already disconnected.

    Raises:
        BadInput: it does not list one of the symbols.
        ExchangeError: it cannot be reached, or is closed.
    """
    account = SimpleNamespace(ex_id=0, uid=0, test=False, cat_exchange=symbols[0].cat_exchange)
    try:
        handler = await ExchangeQueue.get_rest_handler(account)
        for symbol in symbols:
            try:
                await handler.get_ohlcv(symbol.symbol, limit=1)
            except UnknownSymbol as error:
                raise BadInput(str(error)) from error
        return handler
    finally:
        await ExchangeQueue.shutdown_factory()


# what the examples show ------------------------------------------------------------------------------


def headline(console: Console, description: str) -> None:
    """Say what the example does, in the words of its docstring."""
    title, _, rest = description.strip().partition("\n")
    console.print(title, style="bold", soft_wrap=False)
    for paragraph in rest.strip().split("\n\n"):
        console.print(" ".join(paragraph.split()), style="dim", soft_wrap=False)


def step(console: Console, sentence: str) -> None:
    """Begin a part of the play."""
    console.print(f"\n[bold cyan]▶ {sentence}[/]")


def done(console: Console, sentence: str, good: bool = True) -> None:
    """Say how a part has ended."""
    console.print(f"  [green]✓[/] {sentence}" if good else f"  [red]✗[/] {sentence}")


async def show_last_candles(stage: Stage, symbols: Collection[Symbol], count: int = 3) -> int:
    """Show the newest stored candles of each symbol; return how many there were."""
    shown = 0
    for symbol in symbols:
        table = Table(
            box=None, title=f"{symbol.exchange_name} {symbol.symbol}", title_justify="left", title_style="bold"
        )
        table.add_column("UTC", style="dim", no_wrap=True, min_width=7, justify="right")
        for name in ("open", "high", "low", "close", "volume"):
            table.add_column(name, justify="right", no_wrap=True, min_width=11, header_style="dim")
        rows = await last_candles(symbol, count)
        for at, *values in rows:
            table.add_row(f"{at:%H:%M}", *map(number, values))
        stage.console.print(table if rows else f"[bold]{symbol.exchange_name} {symbol.symbol}[/] has none")
        shown += len(rows)
    return shown


async def last_candles(symbol: Symbol, count: int) -> list[Row]:
    """Return the newest stored candles of a symbol, oldest first."""
    async with TimeseriesRepository(symbol.exchange_name, symbol.symbol) as repository:
        newest = await repository.get_latest_timestamp()
        if newest is None:
            return []
        end = newest.datetime + timedelta(minutes=1)
        return (await repository.fetch_ohlcv(1, "minutes", end - timedelta(hours=2), end))[-count:]


async def follow_candles(stage: Stage, symbols: Collection[Symbol], seconds: float) -> int:
    """Print each candle as it is stored, for `seconds`; return how many there were."""
    seen: dict[tuple[str, str], datetime] = {}
    began = datetime.fromtimestamp(stage.clock.now_us() / 1e6, UTC)
    count = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                for symbol in symbols:
                    key = (symbol.exchange_name, symbol.symbol)
                    async with TimeseriesRepository(*key) as repository:
                        newest = await repository.get_latest_timestamp()
                        since = seen.get(key, began)
                        if newest is None or newest.datetime <= since:
                            continue
                        end = newest.datetime + timedelta(minutes=1)
                        rows = await repository.fetch_ohlcv(1, "minutes", since + timedelta(minutes=1), end)
                    seen[key] = newest.datetime
                    count += len(rows)
                    for at, _, _, _, close, volume in rows:
                        stage.console.print(
                            f"  {at:%H:%M}  {key[0]} {key[1]:<14} close {number(close):>12}  volume {number(volume)}"
                        )
                await asyncio.sleep(POLL_S)
    return count


async def check(stage: Stage, symbols: Collection[Symbol], end_us: int) -> bool:
    """Say what the ledger accounts for up to `end_us` and, of a simulated market, whether what is stored is true."""
    wanted = {WantedSymbol.from_orm(symbol) for symbol in symbols}
    async with TimeseriesStore.open(now_us=stage.clock.now_us) as store:
        days = {one: one.backtest_days * 1440 * MINUTE_US for one in wanted}
        ranges = {
            await store.series(one.exchange, one.symbol, "candles1m"): (end_us - us, end_us) for one, us in days.items()
        }
        found = (await store.summaries(ranges)).values()
        ratio = sum(one.covered_us + one.unavailable_us for one in found) / sum(one.wanted_us for one in found)
        done(stage.console, f"{int(ratio * 10_000) / 100:.2f} % of the wanted minutes are accounted for", ratio > 0)
        if stage.market is None:
            return ratio > 0
        truth = await audit(store, stage.market, wanted, end_us=end_us)
    done(stage.console, f"checked {truth}", truth.true)
    for example in truth.examples:
        stage.console.print(f"    {example}", markup=False)
    return truth.true and truth.candles > 0


def number(value: float) -> str:
    """Return a price or volume as people write it."""
    return f"{value:,.8f}".rstrip("0").rstrip(".")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to 86400")
    return value
