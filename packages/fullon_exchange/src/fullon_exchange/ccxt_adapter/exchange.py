"""An exchange by way of ccxt, as `fullon_exchange.interface.Exchange`."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self
from urllib.parse import urlsplit

from fullon_exchange.answers import VenueFacts
from fullon_exchange.budget import BudgetUse, shared_budget
from fullon_exchange.ccxt_adapter import library
from fullon_exchange.ccxt_adapter.conventions import Conventions, busy_market
from fullon_exchange.ccxt_adapter.dialects import dialect_of
from fullon_exchange.ccxt_adapter.history import Candles, TimedTrades, TradeSource, trades_of
from fullon_exchange.ccxt_adapter.rest import Rest
from fullon_exchange.ccxt_adapter.session import CcxtSession, resolution_us
from fullon_exchange.ccxt_adapter.traits import can, derive
from fullon_exchange.clock import Clock, floor_minute_us
from fullon_exchange.errors import NotSupported, UnknownSymbol
from fullon_exchange.exchange_clock import ExchangeClock, know_time
from fullon_exchange.history import Settle, candle_pages, reasons, trade_pages
from fullon_exchange.interface import Listing, Urgency, VenueTraits
from fullon_exchange.listings import Listings, Pins
from fullon_exchange.live.time import ServerTime
from fullon_exchange.names import describe_unlisted
from fullon_exchange.origin import resolve
from fullon_exchange.records import Candle, Page, Trade
from fullon_exchange.timeframes import DAY_US, Timeframe

_LISTINGS_AGE_MAX_S = 3600.0
_LISTINGS_AGE_MISS_S = 60.0
"""A symbol that is missing from listings older than this is looked for in fresh ones."""


class CcxtExchange:
    """One exchange of ccxt; an async context manager, one object of ccxt for all that is asked of it.

    The environment (`FULLON_<EXCHANGE>_ORIGIN`) is read at every request and every connection. An exchange that is not
    `traits.tested` is asked first whether it keeps the conventions this package relies on (`conventions.py`).

    Raises:
        NotSupported: ccxt gets neither candles nor public trades from it.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock | None = None,
        settle: Settle | None = None,
        page_rows: int | None = None,
    ) -> None:
        self.name = name
        self.clock = ExchangeClock.beside(clock if clock is not None else Clock.from_env())
        self._dialect = dialect_of(name)
        self._raw: Any = library.create(name)
        self._dialect.prepare(self._raw)
        self.traits: VenueTraits = derive(
            name,
            self._raw.has,
            self._raw.timeframes,
            rate_limit_ms=float(self._raw.rateLimit),
            trade_history=self._dialect.trade_history,
            trade_ids_sequential=self._dialect.trade_ids_sequential,
            trades_add_up=self._dialect.trades_add_up,
            candle_window=self._dialect.candle_window,
            candles_from_trades=self._dialect.candles_from_trades,
            tested=self._dialect.tested,
        )
        self._settle = settle if settle is not None else Settle()
        self._facts = VenueFacts(page_rows=page_rows)
        self._conventions = Conventions(name, self.clock)
        self._conventions_lock = asyncio.Lock()
        self._rest: Rest | None = None
        self._resources = AsyncExitStack()
        self._listings = Listings()
        self._pins = Pins(name)
        self._listings_at = float("-inf")
        self._listings_lock = asyncio.Lock()
        self._server_time = ServerTime()

    async def __aenter__(self) -> Self:
        spec = self._dialect.budget(float(self._raw.rateLimit))
        address = urlsplit(resolve(self.name, f"https://{self.name}.ccxt")).netloc
        budget = shared_budget(f"{self.name} by ccxt", address, spec, speed=self.clock.speed)
        await self._resources.enter_async_context(library.entered(self._raw, budget))
        self._rest = Rest(self.name, self._raw, budget, self.clock)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._rest = None
        await self._resources.aclose()

    @property
    def _client(self) -> Rest:
        if self._rest is None:
            raise RuntimeError(f"{self.name}: enter the exchange (`async with`) before using it")
        return self._rest

    def addresses(self) -> Sequence[str]:
        """Return the URLs that ccxt knows of; an address that comes with a token is not among them."""
        return [resolve(self.name, url) for url in library.addresses(self._raw)]

    def budget_use(self) -> BudgetUse:
        """Return the gauge of the rate budget that the process shares for this venue."""
        return self._client.budget.use()

    async def fetch_time(self) -> int:
        """Return the venue's own clock, in microseconds.

        Raises:
            NotSupported: the venue does not tell it.
        """
        if not can(self._raw.has, "fetchTime"):
            raise NotSupported("does not tell its time", exchange=self.name)
        sent_us = self.clock.steady_us()
        reply = await self._client.ask(self._raw.fetch_time, urgency=Urgency.LIVE)
        time_us = int(reply.value) * 1000
        self.clock.observe(
            time_us, sent_us=sent_us, received_us=self.clock.steady_us(), resolution_us=resolution_us(time_us)
        )
        return time_us

    async def fetch_listings(self, *, age_max_s: float = _LISTINGS_AGE_MAX_S) -> Mapping[str, Listing]:
        """Return the venue's markets by unified symbol, read `age_max_s` ago at most (real seconds).

        Options are left out. Concurrent callers share one request.
        """
        async with self._listings_lock:
            if time.monotonic() - self._listings_at > age_max_s:
                reply = await self._client.ask(lambda: self._raw.load_markets(True), urgency=Urgency.LIVE)
                listings = Listings(
                    _listing(market, active=self._dialect.is_active(market))
                    for market in reply.value.values()
                    if not market.get("option")
                )
                listings.malformed += self._raw.malformed
                listings.namesakes += self._raw.namesakes
                self._pins.apply(listings, self._listings)
                self._listings, self._listings_at = listings, time.monotonic()
            return self._listings

    def pin(self, market_ids: Mapping[str, str]) -> None:
        """Let symbols mean the markets of these ids and no others; a symbol that has been used is pinned already."""
        self._pins.pin(market_ids)
        self._raw.pinned = self._pins.ids
        self._pins.apply(self._listings, self._listings)

    def renamed(self) -> Mapping[str, str]:
        """Return the pinned symbols that are not listed since their names mean other markets, and what is known."""
        return self._pins.renamed

    def unreadable(self) -> Collection[str]:
        """Return the pinned symbols that are not listed since the rows of their markets cannot be read."""
        return self._pins.unreadable

    async def fetch_listing(self, symbol: str) -> Listing:
        """Return one market, looked for again where it is missing from older listings.

        Raises:
            UnknownSymbol: not listed.
        """
        listings = await self.fetch_listings()
        if symbol not in listings:
            listings = await self.fetch_listings(age_max_s=_LISTINGS_AGE_MISS_S)
        if symbol not in listings:
            hint = describe_unlisted(self.name, symbol, listings)
            why = self._pins.renamed.get(symbol, f"is not listed; {hint}")
            raise UnknownSymbol(why, exchange=self.name, symbol=symbol)
        if symbol not in self._pins.ids:
            self.pin({symbol: listings[symbol].market_id})
        return listings[symbol]

    async def fetch_candles(
        self, symbol: str, timeframe: str, start_us: int, end_us: int, *, urgency: Urgency = Urgency.BACKFILL
    ) -> AsyncIterator[Page[Candle]]:
        """Yield closed candles of `[start_us, end_us)` page by page; see `Exchange.fetch_candles`.

        Raises:
            NotSupported: the venue has no candles of this timeframe, or they are not what they should be.
            UnknownSymbol: not listed.
            TransientExchangeError: worth another try later.
        """
        if timeframe not in self.traits.timeframes:
            allowed = ", ".join(self.traits.timeframes) or "none: it has no candles"
            raise NotSupported(f"timeframe is {timeframe!r}; allowed are {allowed}", exchange=self.name, symbol=symbol)
        await self.fetch_listing(symbol)
        await know_time(self)
        source = self._candles(symbol, self._dialect.timeframe(timeframe), urgency)
        if not self._dialect.tested:
            source.window = await self._window(symbol, source.timeframe)
        async for page in candle_pages(source, start_us, end_us, clock=self.clock, settle=self._settle):
            yield page

    def _candles(self, symbol: str, timeframe: Timeframe, urgency: Urgency) -> Candles:
        return Candles(self._client, self._dialect, symbol, timeframe, urgency=urgency, facts=self._facts)

    async def _window(self, symbol: str, timeframe: Timeframe) -> int | None:
        """Return how many of the newest candles an untested venue serves, having checked what it means by them."""
        async with self._conventions_lock:
            busy = busy_market(self._listings, symbol)
            reference = self._candles(busy, timeframe, Urgency.LIVE)
            trades = self._trades(busy, Urgency.LIVE) if can(self._raw.has, "fetchTrades") else None
            return await self._conventions.check_candles(reference, trades if isinstance(trades, TimedTrades) else None)

    async def fetch_trades(
        self, symbol: str, start_us: int, end_us: int, *, urgency: Urgency = Urgency.BACKFILL
    ) -> AsyncIterator[Page[Trade]]:
        """Yield trades of `[start_us, end_us)` page by page; see `Exchange.fetch_trades`.

        Of a venue without trade history one page without trades, which names what is asked as unavailable.

        Raises:
            UnknownSymbol: not listed.
            NotSupported: an untested venue turns out not to be paged by time.
            TransientExchangeError: worth another try later.
        """
        await self.fetch_listing(symbol)
        await know_time(self)
        source = self._trades(symbol, urgency)
        if not self.traits.trade_history or not await self._pages_trades(symbol, source):
            end_us = min(end_us, self._settle.until_us(self.clock))
            if start_us < end_us:
                reason = f"{reasons.RETENTION}: {self.name} serves no trades of the past by way of ccxt"
                yield Page((), (end_us, end_us), (((start_us, end_us), reason),))
            return
        reach_us = self._dialect.trade_reach_us
        if reach_us is not None and start_us < (oldest_us := floor_minute_us(self.clock.now_us() - reach_us)):
            oldest_us = min(oldest_us, end_us)
            reason = f"{reasons.RETENTION}: {self.name} serves no trades older than {reach_us // DAY_US} days"
            yield Page((), (oldest_us, oldest_us), (((start_us, oldest_us), reason),))
            start_us = oldest_us
        async for page in trade_pages(source, start_us, end_us, clock=self.clock, settle=self._settle):
            yield page

    def _trades(self, symbol: str, urgency: Urgency) -> TradeSource:
        return trades_of(self._client, self._dialect, symbol, urgency, self._facts)

    async def _pages_trades(self, symbol: str, source: TradeSource) -> bool:
        """Tell whether trades can be paged; an untested venue is asked to show it."""
        if not isinstance(source, TimedTrades):
            return True
        async with self._conventions_lock:
            reference = self._trades(busy_market(self._listings, symbol), Urgency.LIVE)
            return isinstance(reference, TimedTrades) and await self._conventions.check_trades(reference)

    async def fetch_newest_trades(self, symbol: str) -> list[Trade]:
        """Return the newest public trades, as many as the venue tells at once, oldest first."""
        trades, _ = await self._trades(symbol, Urgency.LIVE).fetch_newest()
        return trades

    def live(self) -> CcxtSession:
        """Return a new live session; enter it to start."""
        return CcxtSession(
            self._client, self._dialect, self.traits, exchange=self, settle=self._settle, server_time=self._server_time
        )


def _listing(market: Mapping[str, Any], *, active: bool) -> Listing:
    wire = {"rest": str(market["id"]), "ws": str(market["id"])}
    return Listing(market["symbol"], market["base"], market["quote"], active, wire)
