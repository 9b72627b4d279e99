"""Binance's WebSocket streams: messages to send, frames to records, pure.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams (read 2026-11). Each frame carries one
event, bare on `/ws`, wrapped in `{"stream": …, "data": …}` on `/stream`; both are read. A stream name of a market
that does not exist is acknowledged like any other.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from fullon_exchange.binance.mapper import SIDES, Amount, Count, Millis, VoidAggTrade
from fullon_exchange.errors import UNREADABLE, MalformedMessage
from fullon_exchange.records import Candle, Channel, Price, Ticker, Trade, Volume
from fullon_exchange.wire import (
    Acknowledged,
    CandlesFrame,
    Farewell,
    Fault,
    Key,
    Message,
    Refused,
    TickersFrame,
    TradesFrame,
)

_REQUESTS_MAX = 1000
_FINAL_CODES = frozenset({1, 2, 3})
"""Unknown property, invalid value type, invalid request; others pass."""


class _AggTrade(msgspec.Struct, gc=False, tag_field="e", tag="aggTrade"):
    s: str
    a: Count
    p: Price
    q: Volume
    T: Millis
    m: bool | None = None


class _VoidEvent(VoidAggTrade, gc=False, tag_field="e", tag="aggTrade"):
    pass


class _VoidCombined(msgspec.Struct, gc=False):
    data: _VoidEvent


class _Kline(msgspec.Struct, gc=False):
    t: Millis
    i: str
    f: int
    L: int
    o: Price
    c: Price
    h: Price
    l: Price  # noqa: E741 -- the venue's spelling
    v: Amount
    n: Count
    x: bool


class _KlineEvent(msgspec.Struct, gc=False, tag_field="e", tag="kline"):
    s: str
    k: _Kline


class _TickerEvent(msgspec.Struct, gc=False, tag_field="e", tag="24hrTicker"):
    E: Millis
    s: str
    c: Price
    b: Amount
    a: Amount
    v: Amount


class _Shutdown(msgspec.Struct, gc=False, tag_field="e", tag="serverShutdown"):
    pass


_Event = _AggTrade | _KlineEvent | _TickerEvent | _Shutdown


class _Combined(msgspec.Struct, gc=False):
    data: _Event


class _RequestError(msgspec.Struct, gc=False):
    code: int = 0
    msg: str = ""


class _Answer(msgspec.Struct, gc=False):
    """An answer to a request of ours: `{"result":null,"id":1}` or `{"error":{…},"id":1}`."""

    id: int
    error: _RequestError | None = None


_decode = msgspec.json.Decoder(_Event, strict=False).decode
_decode_combined = msgspec.json.Decoder(_Combined, strict=False).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_void = msgspec.json.Decoder(_VoidEvent, strict=False).decode
_decode_void_combined = msgspec.json.Decoder(_VoidCombined, strict=False).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class BinanceWire:
    """The protocol of one connection to the market streams."""

    def __init__(self) -> None:
        self._trades: dict[str, str] = {}
        self._tickers: dict[str, str] = {}
        self._candles: dict[tuple[str, str], str] = {}
        self._request = 0
        self._requests: dict[int, tuple[bool, list[Key]]] = {}

    def subscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        if channel == "trades":
            self._trades.update(names)
        elif channel == "ticker":
            self._tickers.update(names)
        else:
            timeframe = channel.removeprefix("candles")
            self._candles.update({(name, timeframe): symbol for name, symbol in names.items()})
        return self._message("SUBSCRIBE", channel, names)

    def unsubscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        return self._message("UNSUBSCRIBE", channel, names)

    def forget(self, channel: Channel, names: Mapping[str, str]) -> None:
        for name in names:
            if channel == "trades":
                self._trades.pop(name, None)
            elif channel == "ticker":
                self._tickers.pop(name, None)
            else:
                self._candles.pop((name, channel.removeprefix("candles")), None)

    def ping(self, ping_id: int) -> bytes | None:
        return None

    def parse(self, frame: bytes | memoryview, latest_us: int) -> Message:
        try:
            event = _decode(frame)
        except UNREADABLE:
            event = self._unwrap(frame)
            if not isinstance(event, _Event | _VoidEvent):
                return event
        if type(event) is _AggTrade:
            return self._take_trade(event, latest_us)
        if type(event) is _VoidEvent:
            frame_of_void = self._take_trade(event, latest_us)
            return TradesFrame(frame_of_void.records, (*frame_of_void.faults, Fault("void", event.s)))
        if type(event) is _KlineEvent:
            return self._take_kline(event.s, event.k, latest_us)
        if type(event) is _TickerEvent:
            symbol = self._tickers.get(event.s)
            if symbol is None:
                return TickersFrame([], (Fault("unsubscribed", event.s),))
            return TickersFrame([Ticker(symbol, event.E * 1000, event.c, event.b, event.a, event.v)])
        return Farewell("the server announces its shutdown")

    def _take_trade(self, event: _AggTrade | _VoidEvent, latest_us: int) -> TradesFrame:
        symbol = self._trades.get(event.s)
        timestamp_us = event.T * 1000
        if symbol is None:
            return TradesFrame([], (Fault("unsubscribed", event.s),))
        if timestamp_us > latest_us:
            return TradesFrame([], (Fault("time", f"{event.s} {event.T}"),))
        return TradesFrame([Trade(symbol, timestamp_us, event.p or 0.0, event.q, SIDES[event.m], str(event.a))])

    def _take_kline(self, name: str, kline: _Kline, latest_us: int) -> CandlesFrame:
        symbol = self._candles.get((name, kline.i))
        timestamp_us = kline.t * 1000
        if symbol is None:
            return CandlesFrame([], (Fault("unsubscribed", f"{name} {kline.i}"),))
        if timestamp_us > latest_us:
            return CandlesFrame([], (Fault("time", f"{name} {kline.t}"),))
        candle = Candle(
            symbol,
            kline.i,
            timestamp_us,
            kline.o,
            kline.h,
            kline.l,
            kline.c,
            kline.v,
            kline.n,
            kline.x,
            kline.f if kline.n else None,
            kline.L if kline.n else None,
        )
        return CandlesFrame([candle])

    def _unwrap(self, frame: bytes | memoryview) -> "_Event | _VoidEvent | Message":
        """Read a wrapped event, an answer to a request, or a trade that was taken back."""
        try:
            return _decode_combined(frame).data
        except UNREADABLE:
            pass
        try:
            return self._take_answer(_decode_answer(frame))
        except UNREADABLE:
            pass
        for read in (_decode_void, lambda text: _decode_void_combined(text).data):
            try:
                return read(frame)
            except UNREADABLE:
                pass
        raise self._malformed(bytes(frame))

    def _take_answer(self, answer: _Answer) -> Message:
        subscribed, keys = self._requests.pop(answer.id, (True, []))
        if answer.error is None:
            return Acknowledged(keys, subscribed)
        return Refused(keys, f"{answer.error.code}: {answer.error.msg}", answer.error.code in _FINAL_CODES)

    def _malformed(self, frame: bytes) -> MalformedMessage:
        """Tell garbage, events nobody asked for and unreadable events apart."""
        try:
            message: Any = _decode_any(frame)
        except UNREADABLE as error:
            return MalformedMessage(str(error), exchange="binance", kind="garbage", excerpt=frame)
        event = message.get("data", message) if isinstance(message, dict) else message
        kind = event.get("e") if isinstance(event, dict) else None
        if kind in ("aggTrade", "kline", "24hrTicker"):
            return MalformedMessage("unreadable event", exchange="binance", kind="row", excerpt=frame)
        return MalformedMessage("unknown event", exchange="binance", kind="unknown", excerpt=frame)

    def _message(self, method: str, channel: Channel, names: Mapping[str, str]) -> bytes:
        self._request += 1
        keys: list[Key] = [(channel, symbol) for symbol in names.values()]
        self._requests[self._request] = (method == "SUBSCRIBE", keys)
        if len(self._requests) > _REQUESTS_MAX:
            del self._requests[next(iter(self._requests))]
        suffix = {"trades": "aggTrade", "ticker": "ticker"}.get(channel) or f"kline_{channel.removeprefix('candles')}"
        streams = [f"{name.lower()}@{suffix}" for name in names]
        return _encode({"method": method, "params": streams, "id": self._request})
