"""Kraken's WebSocket v2: messages to send, frames to records, pure.

https://docs.kraken.com/api/docs/websocket-v2/trade, …/ohlc, …/ticker, …/ping, …/heartbeat, …/status (read 2026-11).
Candles carry no closed flag and come only when trades do.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Literal, TypeVar

import msgspec

from fullon_exchange.answers import decode_row
from fullon_exchange.errors import UNREADABLE, MalformedMessage, excerpt_of
from fullon_exchange.records import EARLIEST_US, Candle, Channel, Price, Side, Ticker, Trade, VoidPrice, Volume, Zero
from fullon_exchange.wire import (
    Acknowledged,
    CandlesFrame,
    Fault,
    Heartbeat,
    Key,
    Message,
    Pong,
    Refused,
    TickersFrame,
    TradesFrame,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INTERVALS: dict[str, int] = {
    "candles1m": 1,
    "candles5m": 5,
    "candles15m": 15,
    "candles30m": 30,
    "candles1h": 60,
    "candles4h": 240,
    "candles1d": 1440,
}
_TIMEFRAMES = {interval: channel.removeprefix("candles") for channel, interval in _INTERVALS.items()}
_TEMPORARY = ("msg rate", "rate limit", "unavailable", "internal", "timeout", "busy", "maintenance")
"""Words of refusals that say nothing about the market."""
_REQUESTS_MAX = 1000

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_OptionalPrice = Annotated[float, msgspec.Meta(ge=0, lt=1e18)] | None


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    price: Price
    qty: Volume
    trade_id: Annotated[int, msgspec.Meta(ge=0)]
    timestamp: _Moment
    side: Side | None = ""
    ord_type: str | None = ""


class _VoidTrade(msgspec.Struct, gc=False):
    """A trade in which nothing was traded."""

    symbol: str
    qty: Zero
    trade_id: Annotated[int, msgspec.Meta(ge=0)]
    timestamp: _Moment
    price: VoidPrice = None
    side: Side | None = ""
    ord_type: str | None = ""


class _Candle(msgspec.Struct, gc=False):
    symbol: str
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Annotated[float, msgspec.Meta(ge=0, lt=1e18)]
    trades: Annotated[int, msgspec.Meta(ge=0)]
    interval_begin: _Moment
    interval: int


class _Ticker(msgspec.Struct, gc=False):
    symbol: str
    last: Price
    bid: _OptionalPrice = None
    ask: _OptionalPrice = None
    volume: _OptionalPrice = None
    timestamp: _Moment | None = None


class _TradeFrame(msgspec.Struct, gc=False, tag_field="channel", tag="trade"):
    data: list[_Trade]


class _CandleFrame(msgspec.Struct, gc=False, tag_field="channel", tag="ohlc"):
    data: list[_Candle]


class _TickerFrame(msgspec.Struct, gc=False, tag_field="channel", tag="ticker"):
    data: list[_Ticker]


class _HeartbeatFrame(msgspec.Struct, gc=False, tag_field="channel", tag="heartbeat"):
    pass


class _StatusFrame(msgspec.Struct, gc=False, tag_field="channel", tag="status"):
    pass


_Frame = _TradeFrame | _CandleFrame | _TickerFrame | _HeartbeatFrame | _StatusFrame


class _Subscription(msgspec.Struct, gc=False):
    channel: str = ""
    symbol: str = ""
    interval: int | None = None


class _Answer(msgspec.Struct, gc=False):
    """An answer to a request of ours."""

    method: Literal["subscribe", "unsubscribe", "pong"]
    success: bool = True
    error: str = ""
    symbol: str = ""
    result: _Subscription = msgspec.field(default_factory=_Subscription)
    req_id: int | None = None
    time_in: _Moment | None = None
    time_out: _Moment | None = None


class _Envelope(msgspec.Struct, gc=False):
    """A data frame of which a row cannot be read."""

    channel: str
    data: list[msgspec.Raw]


_decode = msgspec.json.Decoder(_Frame).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_trade = msgspec.json.Decoder(_Trade).decode
_decode_void = msgspec.json.Decoder(_VoidTrade).decode
_decode_candle = msgspec.json.Decoder(_Candle).decode
_decode_ticker = msgspec.json.Decoder(_Ticker).decode
_encode = msgspec.json.Encoder().encode

Row = TypeVar("Row")


class KrakenWire:
    """The protocol of one connection to WebSocket v2."""

    def __init__(self) -> None:
        self._trades: dict[str, str] = {}
        self._tickers: dict[str, str] = {}
        self._candles: dict[tuple[str, int], str] = {}
        self._request = 0
        self._requests: dict[int, tuple[Channel, dict[str, str]]] = {}

    def subscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        if channel == "trades":
            self._trades.update(names)
        elif channel == "ticker":
            self._tickers.update(names)
        else:
            interval = _INTERVALS[channel]
            self._candles.update({(name, interval): symbol for name, symbol in names.items()})
        return self._message("subscribe", channel, names)

    def unsubscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        return self._message("unsubscribe", channel, names)

    def forget(self, channel: Channel, names: Mapping[str, str]) -> None:
        for name in names:
            if channel == "trades":
                self._trades.pop(name, None)
            elif channel == "ticker":
                self._tickers.pop(name, None)
            else:
                self._candles.pop((name, _INTERVALS[channel]), None)

    def ping(self, ping_id: int) -> bytes | None:
        return _encode({"method": "ping", "req_id": ping_id})

    def parse(self, frame: bytes | memoryview, latest_us: int) -> Message:
        try:
            message = _decode(frame)
        except UNREADABLE:
            return self._parse_slowly(bytes(frame), latest_us)
        if type(message) is _TradeFrame:
            return self._take_trades(message.data, latest_us, [])
        if type(message) is _CandleFrame:
            return self._take_candles(message.data, latest_us, [])
        if type(message) is _TickerFrame:
            return self._take_tickers(message.data, latest_us, [])
        return Heartbeat()

    def _take_trades(self, rows: Sequence[_Trade | _VoidTrade], latest_us: int, faults: list[Fault]) -> TradesFrame:
        symbols = self._trades
        records: list[Trade] = []
        for row in rows:
            timestamp_us = (row.timestamp - _EPOCH) // _MICROSECOND
            symbol = symbols.get(row.symbol)
            if symbol is None:
                faults.append(Fault("unsubscribed", row.symbol))
            elif EARLIEST_US <= timestamp_us <= latest_us:
                records.append(
                    Trade(
                        symbol,
                        timestamp_us,
                        row.price or 0.0,
                        row.qty,
                        row.side or "",
                        str(row.trade_id),
                        row.ord_type or "",
                    )
                )
            else:
                faults.append(Fault("time", f"{row.symbol} {row.timestamp}"))
        return TradesFrame(records, faults)

    def _take_candles(self, rows: list[_Candle], latest_us: int, faults: list[Fault]) -> CandlesFrame:
        records: list[Candle] = []
        for row in rows:
            timestamp_us = (row.interval_begin - _EPOCH) // _MICROSECOND
            symbol = self._candles.get((row.symbol, row.interval))
            if symbol is None:
                faults.append(Fault("unsubscribed", f"{row.symbol} {row.interval}"))
            elif not EARLIEST_US <= timestamp_us <= latest_us:
                faults.append(Fault("time", f"{row.symbol} {row.interval_begin}"))
            else:
                records.append(
                    Candle(
                        symbol,
                        _TIMEFRAMES[row.interval],
                        timestamp_us,
                        row.open,
                        row.high,
                        row.low,
                        row.close,
                        row.volume,
                        row.trades,
                        closed=False,
                    )
                )
        return CandlesFrame(records, faults)

    def _take_tickers(self, rows: list[_Ticker], latest_us: int, faults: list[Fault]) -> TickersFrame:
        records: list[Ticker] = []
        for row in rows:
            symbol = self._tickers.get(row.symbol)
            if symbol is None:
                faults.append(Fault("unsubscribed", row.symbol))
                continue
            timestamp_us = latest_us if row.timestamp is None else (row.timestamp - _EPOCH) // _MICROSECOND
            records.append(Ticker(symbol, timestamp_us, row.last, row.bid, row.ask, row.volume))
        return TickersFrame(records, faults)

    def _parse_slowly(self, frame: bytes, latest_us: int) -> Message:
        """Read an answer to a request, or a data frame row by row."""
        try:
            return self._take_answer(_decode_answer(frame), frame)
        except UNREADABLE:
            pass
        try:
            envelope = _decode_envelope(frame)
        except msgspec.ValidationError as error:
            raise MalformedMessage(str(error), exchange="kraken", kind="unknown", excerpt=frame) from error
        except UNREADABLE as error:
            raise MalformedMessage(str(error), exchange="kraken", kind="garbage", excerpt=frame) from error
        faults: list[Fault] = []
        if envelope.channel == "trade":
            read = partial(decode_row, decode=_decode_trade, decode_void=_decode_void)
            rows = _rows(envelope, read, faults)
            faults += [Fault("void", row.symbol) for row in rows if isinstance(row, _VoidTrade)]
            return self._take_trades(rows, latest_us, faults)
        if envelope.channel == "ohlc":
            return self._take_candles(_rows(envelope, _decode_candle, faults), latest_us, faults)
        if envelope.channel == "ticker":
            return self._take_tickers(_rows(envelope, _decode_ticker, faults), latest_us, faults)
        raise MalformedMessage("unknown channel", exchange="kraken", kind="unknown", excerpt=frame)

    def _take_answer(self, answer: _Answer, frame: bytes) -> Message:
        if answer.method == "pong":
            if answer.req_id is None:
                return Heartbeat()
            return Pong(answer.req_id, _micros(answer.time_in))
        keys = self._keys_of(answer)
        if not keys:
            raise MalformedMessage("answer to nothing we asked", exchange="kraken", kind="unknown", excerpt=frame)
        subscribed = answer.method == "subscribe"
        error = answer.error.lower()
        if answer.success or "already subscribed" in error or (not subscribed and "not found" in error):
            return Acknowledged(keys, subscribed, _micros(answer.time_out))
        final = not any(word in error for word in _TEMPORARY)
        return Refused(keys, answer.error or "refused without a reason", final)

    def _keys_of(self, answer: _Answer) -> list[Key]:
        """Return what an answer is about: one market of a request, or all of it where none is named."""
        channel, names = self._requests.get(answer.req_id or 0, (None, {}))
        if channel is None:
            return []
        name = answer.result.symbol or answer.symbol
        if not name:
            return [(channel, symbol) for symbol in names.values()]
        return [(channel, names[name])] if name in names else []

    def _message(self, method: str, channel: Channel, names: Mapping[str, str]) -> bytes:
        self._request += 1
        self._requests[self._request] = (channel, dict(names))
        if len(self._requests) > _REQUESTS_MAX:
            del self._requests[next(iter(self._requests))]
        params: dict[str, object] = {"symbol": list(names)}
        if channel == "trades":
            params |= {"channel": "trade", "snapshot": False}
        elif channel == "ticker":
            params |= {"channel": "ticker", "event_trigger": "trades", "snapshot": False}
        else:
            params |= {"channel": "ohlc", "interval": _INTERVALS[channel], "snapshot": False}
        if method == "unsubscribe":
            del params["snapshot"]
        return _encode({"method": method, "params": params, "req_id": self._request})


def _rows(envelope: _Envelope, decode: Callable[[msgspec.Raw], Row], faults: list[Fault]) -> list[Row]:
    """Return the rows that can be read; the others become faults."""
    rows: list[Row] = []
    for raw in envelope.data:
        try:
            rows.append(decode(raw))
        except UNREADABLE:
            faults.append(Fault("row", excerpt_of(bytes(raw))))
    return rows


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND
