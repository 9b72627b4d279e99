"""Binance spot: addresses, limits, cursor rules."""

from collections.abc import Mapping
from functools import partial

from fullon_exchange.answers import CandleAnswer, TradeAnswer, VenueFacts
from fullon_exchange.binance import mapper
from fullon_exchange.binance.wire import BinanceWire
from fullon_exchange.budget import BudgetSpec
from fullon_exchange.history import CandleSource, TradeSource, index_timeframe
from fullon_exchange.http import HttpClient, HttpDialect
from fullon_exchange.interface import Listing, Urgency, VenueTraits
from fullon_exchange.listings import Listings
from fullon_exchange.timeframes import Timeframe, parse_timeframe
from fullon_exchange.venue import SocketLimits
from fullon_exchange.wire import Wire

_TIMEFRAMES = (
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
)  # fmt: skip
_KLINES_WEIGHT = 2
_AGG_TRADES_WEIGHT = 4
_EXCHANGE_INFO_WEIGHT = 20


class Binance:
    """Binance spot, as `fullon_exchange.venue.Venue`.

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits (read 2026-11): 6,000 weight a
    minute and IP, of which 4,500 are used; 5 messages a second and 1,024 streams on a socket, cut at 24 hours.
    """

    name = mapper.EXCHANGE
    rest_url = "https://api.binance.com"
    websocket_url = "wss://stream.binance.com:9443/ws"
    traits = VenueTraits(
        candles_from_trades=False,
        candle_closed_flag=True,
        trade_ids_sequential=True,
        trades_add_up=True,
        trade_history=True,
        candle_window=None,
        timeframes=_TIMEFRAMES,
        rechecks_per_s=8.0,
    )
    http: HttpDialect = mapper.BinanceHttp()
    budget = BudgetSpec(per_s=75.0, burst=600.0, window_max=5400.0)
    sockets = SocketLimits(
        streams_max=1000,
        streams_per_message=100,
        messages_per_s=4.0,
        age_max_s=23.5 * 3600,
        cadence_s=2.0,
    )

    def __init__(self, page_rows: int | None = None) -> None:
        self._facts = VenueFacts(page_rows=page_rows)

    async def fetch_time(self, http: HttpClient) -> int:
        return await http.get("/api/v3/time", {}, mapper.parse_time, urgency=Urgency.LIVE)

    async def fetch_listings(self, http: HttpClient) -> Listings:
        return await http.get(
            "/api/v3/exchangeInfo",
            {},
            mapper.parse_listings,
            weight=_EXCHANGE_INFO_WEIGHT,
            urgency=Urgency.LIVE,
        )

    def timeframe(self, name: str) -> Timeframe:
        return parse_timeframe(name)

    def candles(self, http: HttpClient, listing: Listing, timeframe: Timeframe, urgency: Urgency) -> CandleSource:
        return _Candles(http, listing, timeframe, urgency, self._facts)

    def trades(self, http: HttpClient, listing: Listing, urgency: Urgency) -> TradeSource:
        return _Trades(http, listing, urgency, self._facts)

    def wire(self) -> Wire:
        return BinanceWire()


class _Candles:
    """`klines` answers the first 1,000 rows at or after `startTime`, quiet minutes included."""

    exchange = mapper.EXCHANGE
    window: int | None = None
    absent_is_quiet = False

    def __init__(
        self, http: HttpClient, listing: Listing, timeframe: Timeframe, urgency: Urgency, facts: VenueFacts
    ) -> None:
        self.symbol = listing.symbol
        self.timeframe = timeframe
        self.page = facts.rows(mapper.ROWS_MAX)
        self._listing = listing
        self.facts = facts
        self._http = http
        self._urgency = urgency
        self._market = listing.wire["rest"]

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        return await self._ask({"startTime": start_us // 1000, "endTime": end_us // 1000 - 1, "limit": self.page})

    def coarser(self) -> "_Candles | None":
        name = index_timeframe(self.timeframe, _TIMEFRAMES)
        if name is None:
            return None
        return _Candles(self._http, self._listing, parse_timeframe(name), self._urgency, self.facts)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        return await self.facts.began_us(f"{self.symbol} {self.timeframe.name}", start_us, self._ask_first_us)

    async def _ask_first_us(self) -> int | None:
        answer = await self._ask({"startTime": 0, "limit": 1})
        return answer.rows[0].timestamp_us if answer.rows else None

    async def _ask(self, params: Mapping[str, str | int]) -> CandleAnswer:
        return await self._http.get(
            "/api/v3/klines",
            {"symbol": self._market, "interval": self.timeframe.name, **params},
            partial(mapper.parse_candles, symbol=self.symbol, timeframe=self.timeframe.name),
            weight=_KLINES_WEIGHT,
            urgency=self._urgency,
        )


class _Trades:
    """`aggTrades` is entered by time once and paged by id from there.

    A cursor is an id; before the first answer it is the negated start in milliseconds.
    """

    exchange = mapper.EXCHANGE
    sequential = True

    def __init__(self, http: HttpClient, listing: Listing, urgency: Urgency, facts: VenueFacts) -> None:
        self.symbol = listing.symbol
        self.facts = facts
        self._rows = facts.rows(mapper.ROWS_MAX)
        self._http = http
        self._urgency = urgency
        self._market = listing.wire["rest"]

    def first_cursor(self, start_us: int) -> int:
        return -(start_us // 1000)

    async def fetch(self, cursor: int) -> TradeAnswer:
        if cursor < 0:
            return await self._ask({"startTime": -cursor, "limit": self._rows}, None, -cursor * 1000, cursor)
        return await self._ask({"fromId": cursor, "limit": self._rows}, cursor, 0, cursor)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        return await self.facts.began_us(self.symbol, start_us, self._ask_first_us)

    async def _ask_first_us(self) -> int | None:
        answer = await self._ask({"fromId": 0, "limit": 1}, 0, 0, 0)
        return answer.rows[0].timestamp_us if answer.rows else None

    async def _ask(
        self, params: Mapping[str, str | int], first_id: int | None, start_us: int, cursor: int
    ) -> TradeAnswer:
        return await self._http.get(
            "/api/v3/aggTrades",
            {"symbol": self._market, **params},
            partial(
                mapper.parse_trades,
                symbol=self.symbol,
                first_id=first_id,
                start_us=start_us,
                cursor=cursor,
                rows_max=self._rows,
            ),
            weight=_AGG_TRADES_WEIGHT,
            urgency=self._urgency,
        )
