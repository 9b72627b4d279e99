"""A native exchange: the shared pager, budget and session around what one venue supplies."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Self
from urllib.parse import urlsplit

from fullon_exchange.budget import BudgetUse, shared_budget
from fullon_exchange.clock import Clock
from fullon_exchange.errors import NotSupported, UnknownSymbol, VenueClosed
from fullon_exchange.exchange_clock import ExchangeClock, know_time
from fullon_exchange.history import Settle, candle_pages, reasons, trade_pages
from fullon_exchange.http import HttpClient
from fullon_exchange.interface import Listing, Urgency, VenueTraits
from fullon_exchange.listings import Listings, Pins
from fullon_exchange.live.age import configured_age_s
from fullon_exchange.live.session import NativeSession
from fullon_exchange.live.time import ServerTime
from fullon_exchange.names import describe_unlisted
from fullon_exchange.origin import is_moved, resolve
from fullon_exchange.records import Candle, Page, Trade
from fullon_exchange.venue import Venue

_LISTINGS_AGE_MAX_S = 3600.0
_LISTINGS_AGE_MISS_S = 60.0
"""A symbol that is missing from listings older than this is looked for in fresh ones."""


class NativeExchange:
    """One venue, as `fullon_exchange.interface.Exchange`.

    An async context manager; the environment (`FULLON_<EXCHANGE>_ORIGIN`, `…_CONNECTION_AGE_S`) is read on entering
    it, and by the constructor for `traits`: a venue that is closed for good is open where somebody else speaks for it.
    Whatever is asked of a closed one raises `VenueClosed`.
    """

    def __init__(self, venue: Venue, *, clock: Clock | None = None, settle: Settle | None = None) -> None:
        self.name = venue.name
        self.traits: VenueTraits = venue.traits
        if is_moved(self.name):
            self.traits = replace(self.traits, closed_reason=None)
        self.clock = ExchangeClock.beside(clock if clock is not None else Clock.from_env())
        self._venue = venue
        self._settle = settle if settle is not None else Settle()
        self._http: HttpClient | None = None
        self._resources = AsyncExitStack()
        self._listings = Listings()
        self._pins = Pins(self.name)
        self._listings_at = float("-inf")
        self._listings_lock = asyncio.Lock()
        self._server_time = ServerTime()
        self._age_s: float | None = None

    async def __aenter__(self) -> Self:
        self._age_s = configured_age_s(self.name)
        base_url = resolve(self.name, self._venue.rest_url)
        budget = shared_budget(self.name, urlsplit(base_url).netloc, self._venue.budget, speed=self.clock.speed)
        self._http = await self._resources.enter_async_context(
            HttpClient(self.name, base_url, budget, self._venue.http)
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._http = None
        await self._resources.aclose()

    def _require_open(self) -> None:
        if self.traits.closed_reason is not None:
            raise VenueClosed(self.traits.closed_reason, exchange=self.name)

    @property
    def _client(self) -> HttpClient:
        self._require_open()
        if self._http is None:
            raise RuntimeError(f"{self.name}: enter the exchange (`async with`) before using it")
        return self._http

    def addresses(self) -> Sequence[str]:
        """Return the URLs that requests and WebSockets go to."""
        return [resolve(self.name, url) for url in (self._venue.rest_url, self._venue.websocket_url)]

    def budget_use(self) -> BudgetUse:
        """Return the gauge of the rate budget that the process shares for this venue."""
        return self._client.budget.use()

    async def fetch_time(self) -> int:
        """Return the venue's own clock, in microseconds; `clock` learns from it."""
        sent_us = self.clock.steady_us()
        time_us = await self._venue.fetch_time(self._client)
        self.clock.observe(time_us, sent_us=sent_us, received_us=self.clock.steady_us())
        return time_us

    async def fetch_listings(self, *, age_max_s: float = _LISTINGS_AGE_MAX_S) -> Mapping[str, Listing]:
        """Return the venue's markets by unified symbol, read `age_max_s` ago at most (real seconds).

        Concurrent callers share one request.
        """
        async with self._listings_lock:
            if time.monotonic() - self._listings_at > age_max_s:
                listings = await self._venue.fetch_listings(self._client)
                self._pins.apply(listings, self._listings)
                self._listings, self._listings_at = listings, time.monotonic()
            return self._listings

    def pin(self, market_ids: Mapping[str, str]) -> None:
        """Let symbols mean the markets of these ids and no others; a symbol that has been used is pinned already."""
        self._pins.pin(market_ids)
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
            self._pins.pin({symbol: listings[symbol].market_id})
        return listings[symbol]

    async def fetch_candles(
        self, symbol: str, timeframe: str, start_us: int, end_us: int, *, urgency: Urgency = Urgency.BACKFILL
    ) -> AsyncIterator[Page[Candle]]:
        """Yield closed candles of `[start_us, end_us)` page by page; see `Exchange.fetch_candles`.

        Raises:
            NotSupported: the venue has no candles of this timeframe.
            UnknownSymbol: not listed.
            TransientExchangeError: worth another try later.
        """
        if timeframe not in self.traits.timeframes:
            raise NotSupported(
                f"timeframe is {timeframe!r}; allowed are {', '.join(self.traits.timeframes)}",
                exchange=self.name,
                symbol=symbol,
            )
        listing = await self.fetch_listing(symbol)
        await know_time(self)
        source = self._venue.candles(self._client, listing, self._venue.timeframe(timeframe), urgency)
        async for page in candle_pages(source, start_us, end_us, clock=self.clock, settle=self._settle):
            yield page

    async def fetch_trades(
        self, symbol: str, start_us: int, end_us: int, *, urgency: Urgency = Urgency.BACKFILL
    ) -> AsyncIterator[Page[Trade]]:
        """Yield trades of `[start_us, end_us)` page by page; see `Exchange.fetch_trades`.

        Of a venue without trade history one page without trades, which names what is asked as unavailable.

        Raises:
            UnknownSymbol: not listed.
            TransientExchangeError: worth another try later.
        """
        listing = await self.fetch_listing(symbol)
        await know_time(self)
        if not self.traits.trade_history:
            end_us = min(end_us, self._settle.until_us(self.clock))
            if start_us < end_us:
                reason = f"{reasons.RETENTION}: {self.name} serves no trades of the past"
                yield Page((), (end_us, end_us), (((start_us, end_us), reason),))
            return
        source = self._venue.trades(self._client, listing, urgency)
        async for page in trade_pages(source, start_us, end_us, clock=self.clock, settle=self._settle):
            yield page

    def live(self) -> NativeSession:
        """Return a new live session; enter it to start.

        Raises:
            VenueClosed: the venue is closed for good.
        """
        self._require_open()
        return NativeSession(
            self._venue,
            url=resolve(self.name, self._venue.websocket_url),
            clock=self.clock,
            server_time=self._server_time,
            fetch_time=self.fetch_time,
            fetch_listing=self.fetch_listing,
            age_s=self._age_s,
        )
