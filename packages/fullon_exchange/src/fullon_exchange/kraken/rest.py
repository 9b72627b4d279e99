"""Kraken spot: addresses, limits, cursor rules."""

from collections.abc import Mapping
from functools import partial

from fullon_exchange.answers import CandleAnswer, TradeAnswer, VenueFacts
from fullon_exchange.budget import BudgetSpec
from fullon_exchange.errors import RequestRefused
from fullon_exchange.history import CandleSource, TradeSource
from fullon_exchange.http import HttpClient, HttpDialect
from fullon_exchange.interface import Listing, Urgency, VenueTraits
from fullon_exchange.kraken import mapper
from fullon_exchange.kraken.wire import KrakenWire
from fullon_exchange.listings import Listings
from fullon_exchange.timeframes import Timeframe, parse_timeframe
from fullon_exchange.venue import SocketLimits
from fullon_exchange.wire import Wire

_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440, "1w": 10080}


class Kraken:
    """Kraken spot, as `fullon_exchange.venue.Venue`.

    https://docs.kraken.com/api/docs/guides/spot-rest-ratelimits (read 2026-11): about one public call a second
    and IP is safe.
    """

    name = mapper.EXCHANGE
    rest_url = "https://api.kraken.com"
    websocket_url = "wss://ws.kraken.com/v2"
    traits = VenueTraits(
        candles_from_trades=True,
        candle_closed_flag=False,
        trade_ids_sequential=True,
        trade_history=True,
        candle_window=mapper.OHLC_WINDOW,
        timeframes=tuple(_MINUTES),
    )
    http: HttpDialect = mapper.KrakenHttp()
    budget = BudgetSpec(per_s=1.0, burst=2.0)
    sockets = SocketLimits(streams_max=500, streams_per_message=100, messages_per_s=5.0, pong_tells_time=True)

    def __init__(self, page_rows: int | None = None) -> None:
        self._facts = VenueFacts(page_rows=page_rows)

    async def fetch_time(self, http: HttpClient) -> int:
        return await http.get("/0/public/Time", {}, mapper.parse_time, urgency=Urgency.LIVE)

    async def fetch_listings(self, http: HttpClient) -> Listings:
        """Return the pairs of currencies and of tokenised assets, which are listed only where they are asked for."""
        listings = await http.get("/0/public/AssetPairs", {}, mapper.parse_listings, urgency=Urgency.LIVE)
        asked = {"aclass_base": mapper.TOKENIZED}
        try:
            tokenised = await http.get("/0/public/AssetPairs", asked, mapper.parse_listings, urgency=Urgency.LIVE)
        except RequestRefused:  # not known where this Kraken is, or not served from here
            return listings
        for listing in tokenised.values():
            listings.offer(listing)
        listings.malformed += [row for row in tokenised.malformed if row not in listings.malformed]
        return listings

    def timeframe(self, name: str) -> Timeframe:
        return parse_timeframe(name, week_anchor_us=0)

    def candles(self, http: HttpClient, listing: Listing, timeframe: Timeframe, urgency: Urgency) -> CandleSource:
        return _Candles(http, listing, timeframe, urgency, self._facts)

    def trades(self, http: HttpClient, listing: Listing, urgency: Urgency) -> TradeSource:
        return _Trades(http, listing, urgency, self._facts)

    def wire(self) -> Wire:
        return KrakenWire()


class _Candles:
    """`OHLC` answers its newest 720 rows whatever `since` says."""

    exchange = mapper.EXCHANGE
    window: int | None = mapper.OHLC_WINDOW
    page = mapper.OHLC_WINDOW
    absent_is_quiet = False

    def __init__(
        self, http: HttpClient, listing: Listing, timeframe: Timeframe, urgency: Urgency, facts: VenueFacts
    ) -> None:
        self.facts = facts
        self.symbol = listing.symbol
        self.timeframe = timeframe
        self._http = http
        self._urgency = urgency
        self._market = _market_of(listing)

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        return await self._http.get(
            "/0/public/OHLC",
            self._market | {"interval": _MINUTES[self.timeframe.name], "since": start_us // 1_000_000 - 1},
            partial(mapper.parse_candles, symbol=self.symbol, timeframe=self.timeframe.name),
            urgency=self._urgency,
        )

    def coarser(self) -> None:
        """Return None: only the newest candles are served, of every timeframe."""

    async def fetch_listed_us(self, start_us: int) -> int | None:
        ask = partial(_ask_first_trade_us, self._http, self._market, self.symbol, self._urgency)
        return await self.facts.began_us(self.symbol, start_us, ask)


class _Trades:
    """`Trades` pages by a nanosecond cursor, exclusive."""

    exchange = mapper.EXCHANGE
    sequential = True

    def __init__(self, http: HttpClient, listing: Listing, urgency: Urgency, facts: VenueFacts) -> None:
        self.facts = facts
        self._rows = facts.rows(mapper.TRADES_MAX)
        self.symbol = listing.symbol
        self._http = http
        self._urgency = urgency
        self._market = _market_of(listing)

    def first_cursor(self, start_us: int) -> int:
        return start_us * 1000 - 1

    async def fetch(self, cursor: int) -> TradeAnswer:
        return await self._http.get(
            "/0/public/Trades",
            self._market | {"since": cursor, "count": self._rows},
            partial(mapper.parse_trades, symbol=self.symbol, cursor=cursor, rows_max=self._rows),
            urgency=self._urgency,
        )

    async def fetch_listed_us(self, start_us: int) -> int | None:
        ask = partial(_ask_first_trade_us, self._http, self._market, self.symbol, self._urgency)
        return await self.facts.began_us(self.symbol, start_us, ask)


def _market_of(listing: Listing) -> dict[str, str | int]:
    """Return what names a market in a question."""
    named: dict[str, str | int] = {"pair": listing.wire["rest"]}
    if asset_class := listing.wire.get("asset_class"):
        named["asset_class"] = asset_class
    return named


async def _ask_first_trade_us(
    http: HttpClient, market: Mapping[str, str | int], symbol: str, urgency: Urgency
) -> int | None:
    """Return the time of the market's first trade: the first row of the answer to `since=0`."""
    answer = await http.get(
        "/0/public/Trades",
        {**market, "since": 0, "count": 1},
        partial(mapper.parse_trades, symbol=symbol, cursor=0),
        urgency=urgency,
    )
    return answer.rows[0].timestamp_us if answer.rows else None
