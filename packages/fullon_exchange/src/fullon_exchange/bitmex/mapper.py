"""BitMEX's REST answers: bytes to records, pure.

https://www.bitmex.com/api/explorer (read 2021-07, as the recorded sessions). A bucket is stamped with its END; its
open is the close before it and may lie outside [low, high]; volume counts contracts. A bucket in which nothing
traded is a row with `trades` 0, and before the first trade ever it has no prices.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec

from fullon_exchange.answers import CandleAnswer, TradeAnswer, decode_row
from fullon_exchange.bitmex.symbols import unified_symbol
from fullon_exchange.errors import UNREADABLE, ExchangeError, RequestRefused, UnknownSymbol, excerpt_of, unexpected
from fullon_exchange.interface import Listing
from fullon_exchange.listings import Listings, Name
from fullon_exchange.records import EARLIEST_US, Candle, Price, Side, Trade, VoidPrice, Volume, Zero
from fullon_exchange.timeframes import MINUTE_US, Timeframe, parse_timeframe

EXCHANGE = "bitmex"
ROWS_MAX = 1000
"""Rows of a full answer."""
TIMEFRAMES: dict[str, Timeframe] = {name: parse_timeframe(name) for name in ("1m", "5m", "1h", "1d")}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST_US = 4_102_444_800_000_000
_FAULTS_MAX = 20
_OFFSETS = 1_000_000
"""A cursor is a millisecond times this, plus how many rows of that millisecond have been read."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(ge=0, lt=1e18)]

SIDES: dict[str | None, Side] = {"Buy": "buy", "Sell": "sell", "": "", None: ""}


class _Instrument(msgspec.Struct, gc=False):
    symbol: Name
    typ: str = ""
    state: str = ""
    underlying: str | None = None
    rootSymbol: str | None = None  # noqa: N815 -- the venue's spelling
    quoteCurrency: str | None = None  # noqa: N815 -- the venue's spelling
    settlCurrency: str | None = None  # noqa: N815 -- the venue's spelling
    expiry: Moment | None = None
    closingTimestamp: Moment | None = None  # noqa: N815 -- the venue's spelling


class TradeRow(msgspec.Struct, gc=False):
    """One trade, the same over REST and WebSocket; `size` in contracts."""

    timestamp: Moment
    symbol: str
    size: Volume
    price: Price
    trdMatchID: Annotated[str, msgspec.Meta(min_length=1)]  # noqa: N815 -- the venue's spelling
    side: Literal["Buy", "Sell", ""] | None = None


class VoidTradeRow(msgspec.Struct, gc=False):
    """A trade in which nothing was traded."""

    timestamp: Moment
    symbol: str
    size: Zero | None
    trdMatchID: Annotated[str, msgspec.Meta(min_length=1)]  # noqa: N815 -- the venue's spelling
    price: VoidPrice = None
    side: Literal["Buy", "Sell", ""] | None = None


class BucketRow(msgspec.Struct, gc=False):
    """One bucket, the same over REST and WebSocket; `timestamp` is its end."""

    timestamp: Moment
    symbol: str
    trades: Count
    volume: Amount
    open: Price | None
    high: Price | None
    low: Price | None
    close: Price | None


class _Updated(msgspec.Struct, gc=False):
    timestamp: Moment


class _Reason(msgspec.Struct, gc=False):
    message: str = ""
    name: str = ""


class _Error(msgspec.Struct, gc=False):
    error: _Reason


_decode_updated = msgspec.json.Decoder(list[_Updated]).decode
_decode_instrument = msgspec.json.Decoder(_Instrument).decode
_decode_trades = msgspec.json.Decoder(list[TradeRow]).decode
_decode_trade = msgspec.json.Decoder(TradeRow).decode
decode_void_trade = msgspec.json.Decoder(VoidTradeRow).decode
_decode_buckets = msgspec.json.Decoder(list[BucketRow]).decode
_decode_bucket = msgspec.json.Decoder(BucketRow).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_error = msgspec.json.Decoder(_Error).decode


class BitmexHttp:
    """BitMEX answers errors as `{"error": {"message": …, "name": …}}`, with a fitting status."""

    used_weight_header: str | None = None

    def refusal(self, status: int, body: bytes) -> ExchangeError | None:
        """Return what an error object means; None where there is none, or where the status says it all."""
        if status >= 500 or not body.lstrip().startswith(b"{"):
            return None
        try:
            reason = _decode_error(body).error
        except UNREADABLE:
            return None
        sentence = f"{reason.name}: {reason.message}"
        if "symbol" in reason.message.lower():
            return UnknownSymbol(sentence, exchange=EXCHANGE)
        return RequestRefused(sentence, exchange=EXCHANGE, code=str(status))


def parse_time(body: bytes) -> int:
    """Return the newest `timestamp` of an answer of `instrument/active`, in microseconds."""
    try:
        return (max(one.timestamp for one in _decode_updated(body)) - _EPOCH) // _MICROSECOND
    except (*UNREADABLE, ValueError) as error:
        raise unexpected(EXCHANGE, body, error) from error


def parse_listings(body: bytes) -> Listings:
    """Return the markets by unified symbol from an answer of `instrument/active`."""
    listings = Listings()
    for row in _raw_rows(body):
        if (listing := listings.read(row, _read_listing)) is not None:
            listings.offer(listing)
    return listings


def _read_listing(raw: bytes) -> Listing:
    one = _decode_instrument(raw)
    symbol, base, quote = unified_symbol(
        one.symbol,
        one.typ,
        underlying=one.underlying or "",
        root=one.rootSymbol or "",
        quote=one.quoteCurrency or "",
        settle=one.settlCurrency or "",
        expiry=one.expiry or one.closingTimestamp,
    )
    wire = {"rest": one.symbol, "ws": one.symbol}
    return Listing(symbol, base, quote, one.state == "Open", wire, delisted=one.state == "Settled")


def cursor_of(time_ms: int, offset: int = 0) -> int:
    """Return the cursor for what comes after the first `offset` trades at or after `time_ms`."""
    return time_ms * _OFFSETS + offset


def time_and_offset(cursor: int) -> tuple[int, int]:
    """Return what `cursor_of` was made of."""
    return divmod(cursor, _OFFSETS)


def parse_trades(body: bytes, symbol: str, cursor: int, rows_max: int = ROWS_MAX) -> TradeAnswer:
    """Return the trades of an answer of `trade`, asked for with `cursor`.

    The next cursor is the last row's millisecond from its first row on: those rows come again, which proves that
    the answers are connected. Only where that millisecond fills the answer, its rows are counted instead.
    """
    faults: list[tuple[int, str]] = []
    rows: Sequence[TradeRow | VoidTradeRow]
    try:
        rows = _decode_trades(body)
        total = len(rows)
    except UNREADABLE:
        raw_rows = _raw_rows(body)
        total = len(raw_rows)
        rows = singly = []
        for raw in raw_rows:
            try:
                singly.append(decode_row(raw, _decode_trade, decode_void_trade))
            except UNREADABLE:
                faults.append((len(rows), excerpt_of(bytes(raw))))
    trades: list[Trade] = []
    for row in rows:
        if (trade := trade_of(row, symbol)) is None:
            faults.append((len(trades), f"time {row.timestamp}"))
        else:
            trades.append(trade)
    faults.sort()
    if not trades:
        return TradeAnswer(trades, cursor, unreadable=faults[:_FAULTS_MAX])
    asked_ms, offset = time_and_offset(cursor)
    first_ms, last_ms = trades[0].timestamp_us // 1000, trades[-1].timestamp_us // 1000
    following = cursor_of(last_ms)
    if first_ms == last_ms:
        following = cursor_of(last_ms, total + (offset if last_ms == asked_ms else 0))
    return TradeAnswer(trades, following, total >= rows_max, first_ms >= asked_ms, faults[:_FAULTS_MAX])


def parse_candles(body: bytes, symbol: str, timeframe: Timeframe) -> CandleAnswer:
    """Return the candles of an answer of `trade/bucketed`, stamped with their open time."""
    faults: list[str] = []
    try:
        rows = _decode_buckets(body)
    except UNREADABLE:
        rows = []
        for raw in _raw_rows(body):
            try:
                rows.append(_decode_bucket(raw))
            except UNREADABLE:
                faults.append(excerpt_of(bytes(raw)))
    candles: list[Candle] = []
    quiet: list[int] = []
    for row in rows:
        open_us = open_us_of(row, timeframe)
        candle = None if open_us is None else candle_of(row, open_us, symbol, timeframe)
        if candle is not None:
            candles.append(candle)
        elif open_us is not None and row.trades == 0:
            quiet.append(open_us)
        else:
            faults.append(f"bucket of {row.timestamp} with {row.trades} trades")
    return CandleAnswer(candles, faults[:_FAULTS_MAX], quiet)


def trade_of(row: TradeRow | VoidTradeRow, symbol: str) -> Trade | None:
    """Return a row of either API as a record; None where its time is impossible."""
    timestamp_us = (row.timestamp - _EPOCH) // _MICROSECOND
    if not EARLIEST_US <= timestamp_us < _LATEST_US:
        return None
    return Trade(symbol, timestamp_us, row.price or 0.0, row.size or 0.0, SIDES[row.side], row.trdMatchID)


def open_us_of(row: BucketRow, timeframe: Timeframe) -> int | None:
    """Return when a bucket opened; None where its end is impossible or no end of this timeframe."""
    end_us = (row.timestamp - _EPOCH) // _MICROSECOND
    step_us = timeframe.step_us or MINUTE_US
    if not EARLIEST_US <= end_us < _LATEST_US or end_us % step_us:
        return None
    return end_us - step_us


def candle_of(row: BucketRow, open_us: int, symbol: str, timeframe: Timeframe) -> Candle | None:
    """Return a bucket of either API as a record; None where it has no prices."""
    if row.open is None or row.high is None or row.low is None or row.close is None:
        return None
    return Candle(
        symbol,
        timeframe.name,
        open_us,
        row.open,
        row.high,
        row.low,
        row.close,
        row.volume,
        row.trades,
        closed=True,
    )


def _raw_rows(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_rows(body)
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error
