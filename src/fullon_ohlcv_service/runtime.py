"""What every collector needs, built in one place and passed on."""

import asyncio
import os
import random
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from fullon_cache import ClosedCandles, ProcessCache, TradesCache
from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock
from fullon_exchange.errors import ExchangeError, VenueClosed
from fullon_exchange.interface import Exchange, Listing
from fullon_exchange.origin import resolve
from fullon_exchange.proxies import check_proxies
from fullon_log import get_component_logger
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.closings import Closings
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.disk_watch import DiskWatch
from fullon_ohlcv_service.markets import Markets
from fullon_ohlcv_service.measured_store import MeasuredStore
from fullon_ohlcv_service.status import StatusBoard

REACH_FIRST_S = 1.0
REACH_MAX_S = 60.0


ReadMarketIds = Callable[[str], Awaitable[Mapping[str, str]]]
"""Returns which markets the symbols of an exchange mean, by its own ids, as far as they have been collected."""


class Exchanges:
    """The venues, each opened once on first use, reached with endless patience and closed together."""

    def __init__(self, clock: Clock, board: StatusBoard, page_rows: int, read_market_ids: ReadMarketIds) -> None:
        self._clock = clock
        self._read_market_ids = read_market_ids
        self._board = board
        self._page_rows = page_rows
        self._log = get_component_logger("fullon.ohlcv.daemon")
        self._open: dict[str, Exchange] = {}
        self._listings: dict[str, Mapping[str, Listing]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._stack = AsyncExitStack()

    async def get(self, name: str) -> Exchange:
        """Return the open venue `name`, its symbols pinned to the markets that were collected so far.

        Raises:
            UnknownExchange, NotSupported: no such venue; names near ones.
            StorageError: the ids of its markets cannot be read.
        """
        if (known := self._open.get(name)) is not None:
            return known  # without the lock, which is held for as long as the exchange cannot be reached
        async with self._locks.setdefault(name, asyncio.Lock()):
            if name not in self._open:
                exchange = open_exchange(name, clock=self._clock, page_rows=self._page_rows)
                exchange.pin(await self._read_market_ids(name))
                self._open[name] = await self._stack.enter_async_context(exchange)
                self._board.clocks[name] = exchange.clock
            return self._open[name]

    def opened(self) -> Mapping[str, Exchange]:
        """Return the venues that are open, by name; never waits."""
        return self._open

    async def reach(self, name: str, *, age_max_s: float = 3600.0) -> tuple[Exchange, Mapping[str, Listing]]:
        """Return the venue and its markets; while it cannot be reached, try again for ever and say so once.

        Markets that were read before, `age_max_s` ago at most (real seconds), serve on, and older ones too when the
        venue does not answer now.
        """
        exchange = await self.get(name)
        async with self._locks[name]:
            delay_s = REACH_FIRST_S
            while True:
                try:
                    self._listings[name] = await exchange.fetch_listings(age_max_s=age_max_s)
                except ExchangeError as error:
                    known = name in self._listings
                    if isinstance(error, VenueClosed) or not (known or error.retryable):
                        raise
                    if not known:
                        self._say_unreachable(name, str(error))
                        await asyncio.sleep(error.retry_after_s or random.uniform(REACH_FIRST_S, delay_s))  # noqa: S311
                        delay_s = min(REACH_MAX_S, delay_s * 2)
                        continue
                if self._board.set_venue_problem(name, ""):
                    self._log.info("reached", exchange=name, markets=len(self._listings[name]))
                return exchange, self._listings[name]

    async def close(self) -> None:
        """Close every open venue."""
        await self._stack.aclose()

    def _say_unreachable(self, name: str, why: str) -> None:
        if self._board.set_venue_problem(name, why):
            self._log.warning("cannot be reached; the others go on, it is tried again for ever", exchange=name, why=why)


async def read_market_ids(store: TimeseriesStore, exchange: str) -> dict[str, str]:
    """Return the recorded ids of an exchange's markets by symbol; see `ReadMarketIds`."""
    states = await store.read_states(exchange)
    return {symbol: state.market_id for (_, symbol), state in states.items() if state.market_id}


@dataclass
class Claims:
    """From which minute on live still promises to prove a series; what lies before is history's.

    A series without a claim is history's up to the last closed minute.
    """

    _from_us: dict[Series, int] = field(default_factory=dict)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, series: Series, from_us: int | None) -> None:
        """Promise `series` from `from_us` on; None takes the promise back."""
        if from_us is None:
            self._from_us.pop(series, None)
            self._released.set()
            self._released = asyncio.Event()
        else:
            self._from_us[series] = from_us

    async def released(self, series: Series) -> None:
        """Return once there is no promise for `series`."""
        while series in self._from_us:
            await self._released.wait()

    def of(self, exchange: str, channel: str) -> list[Series]:
        """Return the series of a venue's channel that have a promise."""
        return [one for one in self._from_us if one.exchange == exchange and one.channel == channel]

    def end_us(self, series: Series) -> int | None:
        """Return where the promise begins; None where there is none."""
        return self._from_us.get(series)

    def next_beginning_us(self, channel: str, now_us: int) -> int | None:
        """Return when the next promise of a channel begins that has not begun yet: history's last minute ends there."""
        later = [us for one, us in self._from_us.items() if one.channel == channel and us > now_us]
        return min(later, default=None)

    def wanted(self, series: Series, start_us: int, closed_us: int) -> Interval:
        """Return what history has to fill of `series`: from `start_us` to the promise, `closed_us` at most."""
        end_us = min(closed_us, self._from_us.get(series, closed_us))
        return start_us, max(start_us, end_us)


@dataclass
class Runtime:
    """The servers, venues and boards that one process shares."""

    config: OhlcvServiceConfig
    clock: Clock
    store: MeasuredStore
    trades_cache: TradesCache
    process_cache: ProcessCache
    exchanges: Exchanges
    claims: Claims
    board: StatusBoard
    closings: Closings
    markets: Markets = field(default_factory=Markets)
    disk: DiskWatch | None = None
    """The disk of embedded servers; None where there are none."""
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Names this run of the program in what it leaves in Redis."""


@asynccontextmanager
async def open_runtime(config: OhlcvServiceConfig | None = None) -> AsyncIterator[Runtime]:
    """Open the store, the caches and the set of venues; close them in the opposite order.

    Raises:
        ValueError: `FULLON_CLOCK`, an origin or a proxy cannot be used; names the variable and what is allowed.
    """
    config = config or OhlcvServiceConfig.from_env()
    clock = Clock.from_env()
    _check_origins()
    check_proxies()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(MeasuredStore.open(test=config.test_mode, now_us=clock.now_us))
        trades_cache = await stack.enter_async_context(TradesCache())
        process_cache = await stack.enter_async_context(ProcessCache())
        closed_candles = await stack.enter_async_context(ClosedCandles())
        board = StatusBoard(clock)
        exchanges = Exchanges(clock, board, config.historical_limit, partial(read_market_ids, store))
        stack.push_async_callback(exchanges.close)
        closings = Closings(clock, store, closed_candles)
        yield Runtime(config, clock, store, trades_cache, process_cache, exchanges, Claims(), board, closings)


def _check_origins() -> None:
    """Refuse at the start what would otherwise be met when the first symbol of that exchange is wanted."""
    for variable in sorted(os.environ):
        if named := re.fullmatch(r"FULLON_(.+)_ORIGIN", variable):
            resolve(named[1].lower(), "https://exchange.invalid")
