"""Hyperliquid, perpetuals and spot: addresses, limits, cursor rules."""

import os
from collections.abc import Callable, Mapping
from functools import partial

from fullon_exchange.answers import CandleAnswer, VenueFacts
from fullon_exchange.budget import BudgetSpec
from fullon_exchange.errors import NotSupported
from fullon_exchange.history import CandleSource, TradeSource
from fullon_exchange.http import Answer, HttpClient, HttpDialect
from fullon_exchange.hyperliquid import mapper
from fullon_exchange.hyperliquid.wire import HyperliquidWire
from fullon_exchange.interface import Listing, Urgency, VenueTraits
from fullon_exchange.listings import Listings
from fullon_exchange.timeframes import DAY_US, Timeframe, parse_timeframe
from fullon_exchange.venue import SocketLimits
from fullon_exchange.wire import Wire

CONNECTIONS_VARIABLE = "FULLON_HYPERLIQUID_CONNECTIONS_MAX"
"""How many sockets may be open at once, 1 to 100; one document of the venue says 10, another 100."""

_TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M")
_CONNECTIONS_MAX = 10
_STREAMS_TOTAL = 1000
_MESSAGES_PER_MINUTE = 1800
_INFO_WEIGHT = 20
_STATUS_WEIGHT = 2
_LATEST_MS = 4_102_444_800_000
"""2100-01-01, for "up to now"."""


class Hyperliquid:
    """Hyperliquid, as `fullon_exchange.venue.Venue`.

    https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits-and-user-limits (read 2026-11), all
    of it for one IP: 1,200 weight a minute; 1,000 subscriptions, 2,000 messages and 30 new connections a minute.
    There is no public trade history: what a disconnect has missed is gone, and candles come from the venue.
    """

    name = mapper.EXCHANGE
    rest_url = "https://api.hyperliquid.xyz"
    websocket_url = "wss://api.hyperliquid.xyz/ws"
    traits = VenueTraits(
        candles_from_trades=False,
        candle_closed_flag=False,
        trade_ids_sequential=False,
        trades_add_up=True,
        trade_history=False,
        candle_window=mapper.WINDOW,
        timeframes=_TIMEFRAMES,
        ticker=False,
    )
    http: HttpDialect = mapper.HyperliquidHttp()
    budget = BudgetSpec(per_s=17.0, burst=150.0)

    def __init__(self, page_rows: int | None = None) -> None:
        """Read from the environment how many sockets the streams are spread over (`CONNECTIONS_VARIABLE`).

        Raises:
            ValueError: the variable does not parse; the sentence says what is allowed.
        """
        self._facts = VenueFacts(page_rows=page_rows)
        connections = _connections_max()
        self.sockets = SocketLimits(
            sockets_max=connections,
            streams_max=_STREAMS_TOTAL // connections,
            streams_per_message=1,
            messages_per_s=_MESSAGES_PER_MINUTE / 60 / connections,
            connects=BudgetSpec(per_s=0.3, burst=10.0),
            cadence_s=2.0,
        )

    async def fetch_time(self, http: HttpClient) -> int:
        return await _ask(http, {"type": "exchangeStatus"}, mapper.parse_time, weight=_STATUS_WEIGHT)

    async def fetch_listings(self, http: HttpClient) -> Listings:
        spot = await _ask(http, {"type": "spotMeta"}, mapper.parse_spot_meta)
        own = await _ask(http, {"type": "meta"}, mapper.parse_meta)
        dexes = await _ask(http, {"type": "perpDexs"}, mapper.parse_dexes)
        built = [await _ask(http, {"type": "meta", "dex": dex}, mapper.parse_meta) for dex in dexes]
        return mapper.listings(spot, own, built)

    def timeframe(self, name: str) -> Timeframe:
        """Return a timeframe; weeks begin on Thursday and `1M` is 30 days, both counted from the epoch."""
        if name == "1M":
            return Timeframe(name, 30 * DAY_US)
        return parse_timeframe(name, week_anchor_us=0)

    def candles(self, http: HttpClient, listing: Listing, timeframe: Timeframe, urgency: Urgency) -> CandleSource:
        return _Candles(http, listing, timeframe, urgency, self._facts)

    def trades(self, http: HttpClient, listing: Listing, urgency: Urgency) -> TradeSource:
        raise NotSupported("there is no public trade history", exchange=self.name, symbol=listing.symbol)

    def wire(self) -> Wire:
        return HyperliquidWire()


class _Candles:
    """`candleSnapshot` answers what is asked, as far as it is among the newest 5,000 rows of all.

    An answer that begins later than asked leaves open why: nothing older is kept, or there was nothing. So the
    same is asked again up to now, which fills the window in the first case alone.
    """

    exchange = mapper.EXCHANGE
    window: int | None = mapper.WINDOW
    page = mapper.WINDOW
    absent_is_quiet = False

    def __init__(
        self, http: HttpClient, listing: Listing, timeframe: Timeframe, urgency: Urgency, facts: VenueFacts
    ) -> None:
        self.symbol = listing.symbol
        self.timeframe = timeframe
        self._step_us = timeframe.step_us or DAY_US
        self.facts = facts
        self._http = http
        self._urgency = urgency
        self._coin = listing.wire["rest"]

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        rows_max = (end_us - start_us) // self._step_us + 1
        if rows_max < mapper.WINDOW:
            answer = await self._ask(start_us, end_us // 1000 - 1, rows_max)
            if answer.rows and answer.rows[0].timestamp_us <= start_us:
                return answer
        return await self._ask(start_us, _LATEST_MS, mapper.WINDOW)

    def coarser(self) -> None:
        """Return None: only the newest candles are served, of every timeframe."""

    async def fetch_listed_us(self, start_us: int) -> int | None:
        """Return when the market's first candle opened, if it is young enough for that candle to be kept."""
        return await self.facts.began_us(f"{self.symbol} {self.timeframe.name}", start_us, self._ask_first_us)

    async def _ask_first_us(self) -> int | None:
        answer = await self._ask(0, _LATEST_MS, mapper.WINDOW)
        return answer.rows[0].timestamp_us if 0 < len(answer.rows) < mapper.WINDOW - 1 else None

    async def _ask(self, start_us: int, end_ms: int, rows_max: int) -> CandleAnswer:
        asked = {"coin": self._coin, "interval": self.timeframe.name, "startTime": start_us // 1000, "endTime": end_ms}
        return await _ask(
            self._http,
            {"type": "candleSnapshot", "req": asked},
            partial(mapper.parse_candles, symbol=self.symbol, timeframe=self.timeframe),
            weight=_INFO_WEIGHT + -(-rows_max // mapper.ROWS_PER_WEIGHT),
            urgency=self._urgency,
        )


async def _ask(
    http: HttpClient,
    question: Mapping[str, object],
    parse: Callable[[bytes], Answer],
    *,
    weight: float = _INFO_WEIGHT,
    urgency: Urgency = Urgency.LIVE,
) -> Answer:
    return await http.post("/info", question, parse, weight=weight, urgency=urgency)


def _connections_max() -> int:
    text = os.environ.get(CONNECTIONS_VARIABLE, "").strip() or str(_CONNECTIONS_MAX)
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 100:
        return int(text)
    raise ValueError(f"{CONNECTIONS_VARIABLE} is {text!r}; allowed is a whole number from 1 to 100")
