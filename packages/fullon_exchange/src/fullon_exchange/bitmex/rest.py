"""BitMEX, contracts and spot: addresses, limits, cursor rules."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from fullon_exchange.answers import CandleAnswer, TradeAnswer, VenueFacts
from fullon_exchange.bitmex import mapper
from fullon_exchange.bitmex.wire import BitmexWire
from fullon_exchange.budget import BudgetSpec
from fullon_exchange.history import CandleSource, TradeSource, index_timeframe
from fullon_exchange.http import HttpClient, HttpDialect
from fullon_exchange.interface import Listing, Urgency, VenueTraits
from fullon_exchange.listings import Listings
from fullon_exchange.timeframes import MINUTE_US, Timeframe, parse_timeframe
from fullon_exchange.venue import SocketLimits
from fullon_exchange.wire import Wire

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Bitmex:
    """BitMEX, as `fullon_exchange.venue.Venue`.

    30 requests a minute without a key; 40 sockets opened an hour, as the welcome counts them down. It has closed:
    what speaks for it now, a simulator or an archive, goes by `FULLON_BITMEX_ORIGIN`.
    """

    name = mapper.EXCHANGE
    rest_url = "https://www.bitmex.com"
    websocket_url = "wss://ws.bitmex.com/realtime"
    traits = VenueTraits(
        candles_from_trades=False,
        candle_closed_flag=True,
        trade_ids_sequential=False,
        trades_add_up=True,
        trade_history=True,
        candle_window=None,
        timeframes=tuple(mapper.TIMEFRAMES),
        closed_reason="has closed for good on 2026-09-23 at 04:00 UTC",
        ticker=False,
    )
    http: HttpDialect = mapper.BitmexHttp()
    budget = BudgetSpec(per_s=0.43, burst=4.0)
    sockets = SocketLimits(
        streams_max=200,
        streams_per_message=20,
        messages_per_s=4.0,
        connects=BudgetSpec(per_s=20 / 3600, burst=20.0),
        cadence_s=5.0,
    )

    def __init__(self, page_rows: int | None = None) -> None:
        self._facts = VenueFacts(page_rows=page_rows)

    async def fetch_time(self, http: HttpClient) -> int:
        """Return when an instrument was last updated, which happens every 5 s: a time the venue has surely reached."""
        return await http.get("/api/v1/instrument/active", {}, mapper.parse_time, urgency=Urgency.LIVE)

    async def fetch_listings(self, http: HttpClient) -> Listings:
        return await http.get("/api/v1/instrument/active", {}, mapper.parse_listings, urgency=Urgency.LIVE)

    def timeframe(self, name: str) -> Timeframe:
        return mapper.TIMEFRAMES[name]

    def candles(self, http: HttpClient, listing: Listing, timeframe: Timeframe, urgency: Urgency) -> CandleSource:
        return _Candles(http, listing, timeframe, urgency, self._facts)

    def trades(self, http: HttpClient, listing: Listing, urgency: Urgency) -> TradeSource:
        return _Trades(http, listing, urgency, self._facts)

    def wire(self) -> Wire:
        return BitmexWire()


class _Candles:
    """`trade/bucketed` answers the first 1,000 buckets that end at or after `startTime`, quiet ones included."""

    exchange = mapper.EXCHANGE
    window: int | None = None
    absent_is_quiet = False

    def __init__(
        self, http: HttpClient, listing: Listing, timeframe: Timeframe, urgency: Urgency, facts: VenueFacts
    ) -> None:
        self.symbol = listing.symbol
        self.timeframe = timeframe
        self.page = facts.rows(mapper.ROWS_MAX)
        self.facts = facts
        self._listing = listing
        self._http = http
        self._urgency = urgency
        self._name = listing.wire["rest"]

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        # The last bucket ends at `end_us`; a millisecond more has it in, whether `endTime` is inclusive or not.
        first_end_us = start_us + (self.timeframe.step_us or MINUTE_US)
        times = {"startTime": _iso(first_end_us // 1000), "endTime": _iso(end_us // 1000 + 1)}
        return await self._ask({**times, "count": self.page})

    def coarser(self) -> "_Candles | None":
        name = index_timeframe(self.timeframe, Bitmex.traits.timeframes)
        if name is None:
            return None
        return _Candles(self._http, self._listing, parse_timeframe(name), self._urgency, self.facts)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        return await self.facts.began_us(f"{self.symbol} {self.timeframe.name}", start_us, self._ask_first_us)

    async def _ask_first_us(self) -> int | None:
        answer = await self._ask({"count": 1})
        return next(iter([*answer.quiet, *(row.timestamp_us for row in answer.rows)]), None)

    async def _ask(self, params: Mapping[str, str | int]) -> CandleAnswer:
        return await self._http.get(
            "/api/v1/trade/bucketed",
            {"symbol": self._name, "binSize": self.timeframe.name, "partial": "false", **params},
            partial(mapper.parse_candles, symbol=self.symbol, timeframe=self.timeframe),
            urgency=self._urgency,
        )


class _Trades:
    """`trade` is entered by time and paged by time, by number within a millisecond that fills an answer."""

    exchange = mapper.EXCHANGE
    sequential = False

    def __init__(self, http: HttpClient, listing: Listing, urgency: Urgency, facts: VenueFacts) -> None:
        self.symbol = listing.symbol
        self.facts = facts
        self._rows = facts.rows(mapper.ROWS_MAX)
        self._http = http
        self._urgency = urgency
        self._name = listing.wire["rest"]

    def first_cursor(self, start_us: int) -> int:
        return mapper.cursor_of(start_us // 1000)

    async def fetch(self, cursor: int) -> TradeAnswer:
        time_ms, offset = mapper.time_and_offset(cursor)
        return await self._ask({"startTime": _iso(time_ms), "start": offset, "count": self._rows}, cursor)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        return await self.facts.began_us(self.symbol, start_us, self._ask_first_us)

    async def _ask_first_us(self) -> int | None:
        answer = await self._ask({"count": 1}, 0)
        return answer.rows[0].timestamp_us if answer.rows else None

    async def _ask(self, params: Mapping[str, str | int], cursor: int) -> TradeAnswer:
        return await self._http.get(
            "/api/v1/trade",
            {"symbol": self._name, **params},
            partial(mapper.parse_trades, symbol=self.symbol, cursor=cursor, rows_max=self._rows),
            urgency=self._urgency,
        )


def _iso(time_ms: int) -> str:
    """Return a time as the venue writes it: `2021-07-20T00:01:00.000Z`."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
