"""Kraken's REST answers: bytes to records, pure.

Times of trades are cut, not rounded, to microseconds: a trade at 59.9999999 s stays in its minute.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal

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
from fullon_exchange.kraken.symbols import unified_asset, websocket_name
from fullon_exchange.listings import Listings, Name
from fullon_exchange.records import EARLIEST_US, Candle, Price, Side, Trade, VoidPrice, Volume, Zero

EXCHANGE = "kraken"
TRADES_MAX = 1000
"""Rows of a full `Trades` answer."""
OHLC_WINDOW = 720
"""How many of the newest candles `OHLC` answers, the running one included."""
TOKENIZED = "tokenized_asset"
"""The class of tokenised stocks, which are served only where it is asked for."""

TRADED = frozenset({"online", "limit_only", "post_only", "reduce_only"})
"""States of a pair that is traded, if by some kinds of orders alone; Kraken goes through them after a maintenance. The
others (`cancel_only`) are a halt."""

_LATEST_S = Decimal(4_102_444_800)
"""2100-01-01: a bound that keeps absurd numbers out of integer arithmetic."""
_EARLIEST_S = Decimal(EARLIEST_US // 1_000_000)
_FAULTS_MAX = 20


class _Pair(msgspec.Struct, gc=False):
    """https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs (read 2026-11)."""

    altname: Name
    base: Name
    quote: Name
    wsname: str = ""
    status: str = "online"
    aclass_base: str = "currency"


class _Pairs(msgspec.Struct, gc=False):
    result: dict[str, msgspec.Raw]


class _ServerTime(msgspec.Struct, gc=False):
    unixtime: Annotated[int, msgspec.Meta(gt=0, lt=4_102_444_800)]


class _Time(msgspec.Struct, gc=False):
    """https://docs.kraken.com/api/docs/rest-api/get-server-time (read 2026-11); whole seconds."""

    result: _ServerTime


class _TradeRow(msgspec.Struct, gc=False, array_like=True):
    """https://docs.kraken.com/api/docs/rest-api/get-recent-trades (read 2026-11)."""

    price: Price
    volume: Volume
    time_s: Decimal
    side: Literal["b", "s", ""] | None
    order_type: Literal["m", "l", ""] | None
    misc: str
    trade_id: Annotated[int, msgspec.Meta(ge=0)]


class _VoidTradeRow(msgspec.Struct, gc=False, array_like=True):
    """A trade in which nothing was traded."""

    price: VoidPrice
    volume: Zero
    time_s: Decimal
    side: Literal["b", "s", ""] | None
    order_type: Literal["m", "l", ""] | None
    misc: str
    trade_id: Annotated[int, msgspec.Meta(ge=0)]


class _OhlcRow(msgspec.Struct, gc=False, array_like=True):
    """https://docs.kraken.com/api/docs/rest-api/get-ohlc-data (read 2026-11)."""

    time_s: Annotated[int, msgspec.Meta(ge=EARLIEST_US // 1_000_000, lt=4_102_444_800)]
    open: Price
    high: Price
    low: Price
    close: Price
    vwap: float
    volume: Annotated[float, msgspec.Meta(ge=0, lt=1e18)]
    count: Annotated[int, msgspec.Meta(ge=0)]


class _VoidOhlcRow(msgspec.Struct, gc=False, array_like=True):
    """A minute in which nothing was traded, without prices."""

    time_s: Annotated[int, msgspec.Meta(ge=EARLIEST_US // 1_000_000, lt=4_102_444_800)]
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    vwap: float | None
    volume: Zero


class _Trades(msgspec.Struct, gc=False):
    result: dict[str, list[_TradeRow] | str | int]


class _Ohlc(msgspec.Struct, gc=False):
    result: dict[str, list[_OhlcRow] | int]


class _Rows(msgspec.Struct, gc=False):
    result: dict[str, list[msgspec.Raw] | str | int]


class _Errors(msgspec.Struct, gc=False):
    error: list[str]


_decode_pairs = msgspec.json.Decoder(_Pairs).decode
_decode_pair = msgspec.json.Decoder(_Pair).decode
_decode_time = msgspec.json.Decoder(_Time).decode
_decode_trades = msgspec.json.Decoder(_Trades, strict=False).decode
_decode_trade = msgspec.json.Decoder(_TradeRow, strict=False).decode
_decode_void_trade = msgspec.json.Decoder(_VoidTradeRow, strict=False).decode
_decode_void_candle = msgspec.json.Decoder(_VoidOhlcRow, strict=False).decode
_decode_ohlc = msgspec.json.Decoder(_Ohlc, strict=False).decode
_decode_candle = msgspec.json.Decoder(_OhlcRow, strict=False).decode
_decode_rows = msgspec.json.Decoder(_Rows).decode
_decode_errors = msgspec.json.Decoder(_Errors).decode

_ORDER_TYPES = {"m": "market", "l": "limit", "": "", None: ""}
_SIDES: dict[str | None, Side] = {"b": "buy", "s": "sell", "": "", None: ""}


class KrakenHttp:
    """Kraken reports errors in the body, mostly with HTTP 200.

    https://docs.kraken.com/api/docs/guides/spot-errors (read 2026-11)
    """

    used_weight_header: str | None = None

    def refusal(self, status: int, body: bytes) -> ExchangeError | None:
        """Return what the first entry of `error` means; None where it is empty."""
        try:
            errors = _decode_errors(body).error
        except UNREADABLE:
            return None
        if not errors:
            return None
        sentence = "; ".join(errors)
        code = errors[0]
        if code.startswith(("EAPI:Rate limit", "EGeneral:Too many requests", "EGeneral:Temporary lockout")):
            return RateLimited(sentence, exchange=EXCHANGE)
        if code.startswith(("EService:", "EGeneral:Internal error", "EAPI:Feature disabled")):
            return ExchangeUnavailable(sentence, exchange=EXCHANGE, status=status)
        if code.startswith("EQuery:Unknown asset pair"):
            return UnknownSymbol(sentence, exchange=EXCHANGE)
        return RequestRefused(sentence, exchange=EXCHANGE, code=code)


def parse_time(body: bytes) -> int:
    """Return the server's time in microseconds from an answer of `Time`."""
    try:
        return _decode_time(body).result.unixtime * 1_000_000
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error


def parse_listings(body: bytes) -> Listings:
    """Return the markets by unified symbol from an answer of `AssetPairs`; dark pools are left out."""
    try:
        rows = _decode_pairs(body).result
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error
    listings = Listings()
    for name, row in rows.items():
        pair = listings.read(row, _decode_pair, f'"{name}"')
        if pair is None or name.endswith(".d") or pair.wsname.count("/") != 1:
            continue
        base_altname, quote_altname = pair.wsname.split("/")
        base, quote = unified_asset(pair.base, base_altname), unified_asset(pair.quote, quote_altname)
        symbol = name if ":BTNL" in name else f"{base}/{quote}"
        wire = {"rest": name, "ws": websocket_name(pair.wsname)}
        if pair.aclass_base == TOKENIZED:
            wire["asset_class"] = TOKENIZED
        listings.offer(Listing(symbol, base, quote, pair.status in TRADED, wire))
    return listings


def parse_trades(body: bytes, symbol: str, cursor: int, rows_max: int = TRADES_MAX) -> TradeAnswer:
    """Return the trades of an answer of `Trades` to `since=cursor` (nanoseconds, exclusive).

    The next cursor lies one nanosecond before `last`: rows of that very nanosecond that did not fit come then,
    and the last row comes again, which proves that the answers are connected.
    """
    faults: list[tuple[int, str]] = []
    rows: Sequence[_TradeRow | _VoidTradeRow]
    try:
        answer = _decode_trades(body).result
        last = _cursor(answer.pop("last"))
        (rows,) = (value for value in answer.values() if isinstance(value, list))
        total = len(rows)
    except (*UNREADABLE, KeyError, ValueError):
        rows, last, total = _trade_rows_singly(body, faults)
    trades: list[Trade] = []
    for index, row in enumerate(rows):
        if not _EARLIEST_S <= row.time_s < _LATEST_S:
            faults.append((len(trades), f"time {row.time_s} in row {index}"))
            continue
        trades.append(
            Trade(
                symbol,
                int(row.time_s * 1_000_000),
                row.price or 0.0,
                row.volume,
                _SIDES[row.side],
                str(row.trade_id),
                _ORDER_TYPES[row.order_type],
            )
        )
    following = max(last - 1, cursor) if rows else cursor
    honoured = not trades or trades[0].timestamp_us * 1000 + 999 >= cursor
    return TradeAnswer(trades, following, total >= rows_max, honoured, sorted(faults[:_FAULTS_MAX]))


def _cursor(last: object) -> int:
    """Return `last` as nanoseconds; ValueError where it is none."""
    if isinstance(last, str) and last.isascii() and last.isdecimal() and len(last) < 20:
        return int(last)
    raise ValueError(f"last is {last!r}")


def _trade_rows_singly(
    body: bytes, faults: list[tuple[int, str]]
) -> tuple[Sequence[_TradeRow | _VoidTradeRow], int, int]:
    """Read row by row what could not be read at once."""
    raw_rows, last = _raw_rows(body)
    try:
        last = _cursor(last)
    except ValueError as error:
        raise unexpected(EXCHANGE, body, error) from error
    rows: list[_TradeRow | _VoidTradeRow] = []
    for raw in raw_rows:
        try:
            rows.append(decode_row(raw, _decode_trade, _decode_void_trade))
        except UNREADABLE:
            faults.append((len(rows), excerpt_of(bytes(raw))))
    return rows, last, len(raw_rows)


def parse_candles(body: bytes, symbol: str, timeframe: str) -> CandleAnswer:
    """Return the candles of an answer of `OHLC`, the running one included; empty minutes are flat rows."""
    faults: list[str] = []
    quiet: list[int] = []
    rows: list[_OhlcRow]
    try:
        answer = _decode_ohlc(body).result
        (rows,) = (value for value in answer.values() if isinstance(value, list))
    except (*UNREADABLE, ValueError):
        rows = []
        for raw in _raw_rows(body)[0]:
            try:
                row = decode_row(raw, _decode_candle, _decode_void_candle)
            except UNREADABLE:
                faults.append(excerpt_of(bytes(raw)))
                continue
            if isinstance(row, _OhlcRow):
                rows.append(row)
            else:
                quiet.append(row.time_s * 1_000_000)
    candles = [
        Candle(
            symbol,
            timeframe,
            row.time_s * 1_000_000,
            row.open,
            row.high,
            row.low,
            row.close,
            row.volume,
            row.count,
            closed=True,
        )
        for row in rows
    ]
    return CandleAnswer(candles, faults[:_FAULTS_MAX], quiet)


def _raw_rows(body: bytes) -> tuple[list[msgspec.Raw], str | int]:
    try:
        answer = _decode_rows(body).result
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error
    last = answer.pop("last", "")
    lists = [value for value in answer.values() if isinstance(value, list)]
    if len(lists) != 1 or isinstance(last, list):
        raise unexpected(EXCHANGE, body, f"{len(lists)} lists of rows")
    return lists[0], last
