"""Binance's REST answers: bytes to records, pure.

Trades are aggregate trades throughout, REST and live: their ids are one sequence per symbol, the ids of single
trades another.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from fullon_exchange.answers import CandleAnswer, TradeAnswer, decode_row
from fullon_exchange.errors import (
    UNREADABLE,
    ExchangeError,
    ExchangeUnavailable,
    RateLimited,
    RequestRefused,
    UnknownSymbol,
    excerpt_of,
    unexpected,
)
from fullon_exchange.interface import Listing
from fullon_exchange.listings import Listings, Name
from fullon_exchange.records import EARLIEST_US, Candle, Price, Side, Trade, VoidPrice, Volume, Zero

EXCHANGE = "binance"
ROWS_MAX = 1000
"""Rows of a full answer of `klines` and `aggTrades`."""

_UNIFIED = {"BCHSV": "BSV", "XBT": "BTC", "YOYO": "YOYOW"}
"""Codes that unmodified ccxt renames."""
_FAULTS_MAX = 20
_RATE_CODES = frozenset({-1003, -1015, -1034})
_PASSING_CODES = frozenset({-1000, -1001, -1006, -1007, -1008, -1016, -1099})

Millis = Annotated[int, msgspec.Meta(ge=EARLIEST_US // 1000, lt=4_102_444_800_000)]
"""A time on the wire, 2009 to 2100."""
Count = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(ge=0, lt=1e18)]


class _Market(msgspec.Struct, gc=False):
    """https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints (read 2026-11)."""

    symbol: Name
    baseAsset: Name  # noqa: N815 -- the venue's spelling
    quoteAsset: Name  # noqa: N815 -- the venue's spelling
    status: str = ""


class _Markets(msgspec.Struct, gc=False):
    symbols: list[msgspec.Raw]


class _Time(msgspec.Struct, gc=False):
    serverTime: Millis  # noqa: N815 -- the venue's spelling


class _Kline(msgspec.Struct, gc=False, array_like=True):
    """https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints (read 2026-11)."""

    open_time: Millis
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Amount
    close_time: int
    quote_volume: Amount
    trades: Count


class _AggTrade(msgspec.Struct, gc=False):
    """The same page as `_Kline`, section “Compressed/Aggregate trades list”."""

    a: Count
    p: Price
    q: Volume
    T: Millis
    m: bool | None = None


class VoidAggTrade(msgspec.Struct, gc=False):
    """An aggregate that was taken back: price and quantity 0, first and last id −1."""

    a: Count
    q: Zero
    T: Millis
    s: str = ""
    p: VoidPrice = None
    m: bool | None = None


class _VoidKline(msgspec.Struct, gc=False, array_like=True):
    """A minute in which nothing was traded, without prices."""

    open_time: Millis
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: Zero


class _Error(msgspec.Struct, gc=False):
    """https://developers.binance.com/docs/binance-spot-api-docs/errors (read 2026-11)."""

    code: int
    msg: str = ""


_decode_markets = msgspec.json.Decoder(_Markets).decode
_decode_market = msgspec.json.Decoder(_Market).decode
_decode_time = msgspec.json.Decoder(_Time).decode
_decode_klines = msgspec.json.Decoder(list[_Kline], strict=False).decode
_decode_kline = msgspec.json.Decoder(_Kline, strict=False).decode
_decode_trades = msgspec.json.Decoder(list[_AggTrade], strict=False).decode
_decode_trade = msgspec.json.Decoder(_AggTrade, strict=False).decode
_decode_void_trade = msgspec.json.Decoder(VoidAggTrade, strict=False).decode
_decode_void_kline = msgspec.json.Decoder(_VoidKline, strict=False).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_error = msgspec.json.Decoder(_Error).decode


SIDES: dict[bool | None, Side] = {True: "sell", False: "buy", None: ""}
"""By whether the buyer was the maker."""


class BinanceHttp:
    """Binance answers errors as `{"code": …, "msg": …}`, mostly with HTTP 400."""

    used_weight_header: str | None = "X-MBX-USED-WEIGHT-1M"

    def refusal(self, status: int, body: bytes) -> ExchangeError | None:
        """Return what an error object means; None where the body is none."""
        if not body.lstrip().startswith(b"{"):
            return None
        try:
            error = _decode_error(body)
        except UNREADABLE:
            return None
        sentence = f"{error.code}: {error.msg}"
        if error.code in _RATE_CODES:
            return RateLimited(sentence, exchange=EXCHANGE)
        if error.code in _PASSING_CODES:
            return ExchangeUnavailable(sentence, exchange=EXCHANGE, status=status)
        if error.code == -1121:
            return UnknownSymbol(sentence, exchange=EXCHANGE)
        return RequestRefused(sentence, exchange=EXCHANGE, code=str(error.code))


def parse_time(body: bytes) -> int:
    """Return the server's time in microseconds from an answer of `time`."""
    try:
        return _decode_time(body).serverTime * 1000
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error


def parse_listings(body: bytes) -> Listings:
    """Return the markets by unified symbol from an answer of `exchangeInfo`."""
    try:
        rows = _decode_markets(body).symbols
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error
    listings = Listings()
    for row in rows:
        if (market := listings.read(row, _decode_market)) is None:
            continue
        base = _UNIFIED.get(market.baseAsset, market.baseAsset)
        quote = _UNIFIED.get(market.quoteAsset, market.quoteAsset)
        wire = {"rest": market.symbol, "ws": market.symbol}
        # BREAK is a maintenance, and also how a market that was taken off stays in the list for a while.
        is_break = market.status == "BREAK"
        active = market.status == "TRADING"
        listings.offer(Listing(f"{base}/{quote}", base, quote, active, wire, delisted_if_lasting=is_break))
    return listings


def parse_trades(
    body: bytes, symbol: str, *, first_id: int | None, start_us: int, cursor: int, rows_max: int = ROWS_MAX
) -> TradeAnswer:
    """Return the trades of an answer of `aggTrades`, asked for from `first_id` or from `start_us` on.

    The next cursor is the id after the last one.
    """
    faults: list[tuple[int, str]] = []
    rows: Sequence[_AggTrade | VoidAggTrade]
    try:
        rows = _decode_trades(body)
        total = len(rows)
    except UNREADABLE:
        raw_rows = _raw_rows(body)
        total = len(raw_rows)
        rows = singly = []
        for raw in raw_rows:
            try:
                singly.append(decode_row(raw, _decode_trade, _decode_void_trade))
            except UNREADABLE:
                faults.append((len(rows), excerpt_of(bytes(raw))))
    trades = [Trade(symbol, row.T * 1000, row.p or 0.0, row.q, SIDES[row.m], str(row.a)) for row in rows]
    if not rows:
        return TradeAnswer(trades, cursor, unreadable=faults[:_FAULTS_MAX])
    first_us = rows[0].T * 1000 + 999
    honoured = first_us >= start_us if first_id is None else rows[0].a >= first_id
    return TradeAnswer(trades, rows[-1].a + 1, total >= rows_max, honoured, faults[:_FAULTS_MAX])


def parse_candles(body: bytes, symbol: str, timeframe: str) -> CandleAnswer:
    """Return the candles of an answer of `klines`, the running one included; quiet minutes are flat rows."""
    faults: list[str] = []
    quiet: list[int] = []
    try:
        rows = _decode_klines(body)
    except UNREADABLE:
        rows = []
        for raw in _raw_rows(body):
            try:
                row = decode_row(raw, _decode_kline, _decode_void_kline)
            except UNREADABLE:
                faults.append(excerpt_of(bytes(raw)))
                continue
            if isinstance(row, _Kline):
                rows.append(row)
            else:
                quiet.append(row.open_time * 1000)
    candles = [
        Candle(
            symbol,
            timeframe,
            row.open_time * 1000,
            row.open,
            row.high,
            row.low,
            row.close,
            row.volume,
            row.trades,
            closed=True,
        )
        for row in rows
    ]
    return CandleAnswer(candles, faults[:_FAULTS_MAX], quiet)


def _raw_rows(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_rows(body)
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error
