"""Hyperliquid's WebSocket: messages to send, frames to records, pure.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket (read 2026-11). One market for each
request. Neither answers nor pongs carry an id: both come in the order of what they answer. The first trades of a
market after its subscription are a snapshot of the last ones, possibly minutes old; candles come only when trades
do and carry no closed flag.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import msgspec

from fullon_exchange.answers import decode_row
from fullon_exchange.errors import UNREADABLE, MalformedMessage, excerpt_of
from fullon_exchange.hyperliquid.mapper import EXCHANGE, CandleRow, Count, Millis, candle_of
from fullon_exchange.records import Channel, Price, Side, Trade, VoidPrice, Volume, Zero
from fullon_exchange.wire import (
    Acknowledged,
    CandlesFrame,
    Fault,
    Heartbeat,
    Key,
    Message,
    Pong,
    Refused,
    TradesFrame,
)

_GREETING = b"Websocket connection established."
"""The one frame that is no JSON."""
_OPEN_MAX = 1000
_PINGS_MAX = 64
_TEMPORARY = ("rate limit", "too many requests", "try again", "unavailable", "internal", "timeout")
"""Words of refusals that say nothing about the market."""
_SIDES: dict[str | None, Side] = {"B": "buy", "A": "sell", "": "", None: ""}


class _Trade(msgspec.Struct, gc=False):
    coin: str
    px: Price
    sz: Volume
    time: Millis
    tid: Count
    side: Literal["A", "B", ""] | None = None


class _VoidTrade(msgspec.Struct, gc=False):
    """A trade in which nothing was traded."""

    coin: str
    sz: Zero
    time: Millis
    tid: Count
    px: VoidPrice = None
    side: Literal["A", "B", ""] | None = None


class _TradesFrame(msgspec.Struct, gc=False, tag_field="channel", tag="trades"):
    data: list[_Trade]


class _CandleFrame(msgspec.Struct, gc=False, tag_field="channel", tag="candle"):
    data: CandleRow


class _PongFrame(msgspec.Struct, gc=False, tag_field="channel", tag="pong"):
    pass


class _Subscription(msgspec.Struct, gc=False):
    type: str = ""
    coin: str = ""
    interval: str = ""


class _Request(msgspec.Struct, gc=False):
    """A request of ours, as the venue repeats it."""

    subscription: _Subscription
    method: str = ""


class _Repeated(_Subscription, gc=False):
    """What a refusal repeats: a subscription, or a request with one in it."""

    subscription: _Subscription | None = None


class _AnswerFrame(msgspec.Struct, gc=False, tag_field="channel", tag="subscriptionResponse"):
    data: _Request


class _ErrorFrame(msgspec.Struct, gc=False, tag_field="channel", tag="error"):
    data: str


_Frame = _TradesFrame | _CandleFrame | _PongFrame | _AnswerFrame | _ErrorFrame


class _Envelope(msgspec.Struct, gc=False):
    """A frame that cannot be read whole."""

    channel: str
    data: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Frame, strict=False).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_trade = msgspec.json.Decoder(_Trade, strict=False).decode
_decode_void = msgspec.json.Decoder(_VoidTrade, strict=False).decode
_decode_repeated = msgspec.json.Decoder(_Repeated).decode
_encode = msgspec.json.Encoder().encode


class HyperliquidWire:
    """The protocol of one connection."""

    def __init__(self) -> None:
        self._trades: dict[str, str] = {}
        self._candles: dict[tuple[str, str], str] = {}
        self._without_trades: set[str] = set()
        """Coins whose first frame of trades has not come."""
        self._open: deque[Key] = deque(maxlen=_OPEN_MAX)
        """What has been asked and not answered, oldest first."""
        self._pings: deque[int] = deque(maxlen=_PINGS_MAX)

    def subscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        if channel == "trades":
            self._trades.update(names)
            self._without_trades.update(names)
        else:
            timeframe = channel.removeprefix("candles")
            self._candles.update({(name, timeframe): symbol for name, symbol in names.items()})
        return self._message("subscribe", channel, names)

    def unsubscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        return self._message("unsubscribe", channel, names)

    def forget(self, channel: Channel, names: Mapping[str, str]) -> None:
        for name in names:
            if channel == "trades":
                self._trades.pop(name, None)
                self._without_trades.discard(name)
            else:
                self._candles.pop((name, channel.removeprefix("candles")), None)

    def ping(self, ping_id: int) -> bytes | None:
        self._pings.append(ping_id)
        return b'{"method":"ping"}'

    def parse(self, frame: bytes | memoryview, latest_us: int) -> Message:
        try:
            message = _decode(frame)
        except UNREADABLE:
            return self._parse_slowly(bytes(frame), latest_us)
        if type(message) is _TradesFrame:
            return self._take_trades(message.data, latest_us, [])
        if type(message) is _CandleFrame:
            return self._take_candle(message.data, latest_us)
        if type(message) is _PongFrame:
            return Pong(self._pings.popleft()) if self._pings else Heartbeat()
        if type(message) is _AnswerFrame:
            return self._take_answer(message.data, frame)
        return self._take_error(cast(_ErrorFrame, message).data, frame)

    def _take_trades(self, rows: Sequence[_Trade | _VoidTrade], latest_us: int, faults: list[Fault]) -> TradesFrame:
        records: list[Trade] = []
        for row in rows:
            symbol = self._trades.get(row.coin)
            timestamp_us = row.time * 1000
            if symbol is None:
                faults.append(Fault("unsubscribed", row.coin))
            elif timestamp_us > latest_us:
                faults.append(Fault("time", f"{row.coin} {row.time}"))
            else:
                records.append(Trade(symbol, timestamp_us, row.px or 0.0, row.sz, _SIDES[row.side], str(row.tid)))
        snapshot = bool(rows) and rows[0].coin in self._without_trades
        if snapshot:
            self._without_trades.discard(rows[0].coin)
        return TradesFrame(records, faults, snapshot)

    def _take_candle(self, row: CandleRow, latest_us: int) -> CandlesFrame:
        symbol = self._candles.get((row.s, row.i))
        if symbol is None:
            return CandlesFrame([], (Fault("unsubscribed", f"{row.s} {row.i}"),))
        if row.t * 1000 > latest_us:
            return CandlesFrame([], (Fault("time", f"{row.s} {row.t}"),))
        return CandlesFrame([candle_of(row, symbol, closed=False)])

    def _take_answer(self, request: _Request, frame: bytes | memoryview) -> Message:
        key = self._key_of(request.subscription)
        if key is None or request.method not in ("subscribe", "unsubscribe"):
            raise _malformed("answer to nothing we asked", "unknown", frame)
        self._close(key)
        return Acknowledged([key], request.method == "subscribe")

    def _take_error(self, sentence: str, frame: bytes | memoryview) -> Message:
        """Read a refusal; most repeat the subscription they refuse, the others answer the oldest request."""
        key = self._key_of(_subscription_in(sentence))
        if key is None and self._open:
            key = self._open[0]
        if key is None:
            raise _malformed("refusal of nothing we asked", "unknown", frame)
        self._close(key)
        lower = sentence.lower()
        if "already subscribed" in lower:
            return Acknowledged([key], subscribed=True)
        if "already unsubscribed" in lower:
            return Acknowledged([key], subscribed=False)
        return Refused([key], sentence, final=not any(word in lower for word in _TEMPORARY))

    def _key_of(self, subscription: _Subscription) -> Key | None:
        if subscription.type == "trades" and subscription.coin in self._trades:
            return "trades", self._trades[subscription.coin]
        symbol = self._candles.get((subscription.coin, subscription.interval))
        if subscription.type == "candle" and symbol is not None:
            return cast(Channel, f"candles{subscription.interval}"), symbol
        return None

    def _close(self, key: Key) -> None:
        if key in self._open:
            self._open.remove(key)

    def _parse_slowly(self, frame: bytes, latest_us: int) -> Message:
        """Read the greeting, or a frame of trades row by row."""
        if frame == _GREETING:
            return Heartbeat()
        try:
            envelope = _decode_envelope(frame)
        except msgspec.ValidationError as error:
            raise _malformed(str(error), "unknown", frame) from error
        except UNREADABLE as error:
            raise _malformed(str(error), "garbage", frame) from error
        if envelope.channel == "trades":
            faults: list[Fault] = []
            return self._take_trades(_trades_singly(envelope.data, frame, faults), latest_us, faults)
        if envelope.channel == "candle":
            raise _malformed("unreadable row", "row", frame)
        raise _malformed("unknown channel", "unknown", frame)

    def _message(self, method: str, channel: Channel, names: Mapping[str, str]) -> bytes:
        ((coin, symbol),) = names.items()
        self._open.append((channel, symbol))
        subscription = {"type": "trades", "coin": coin}
        if channel != "trades":
            subscription = {"type": "candle", "coin": coin, "interval": channel.removeprefix("candles")}
        return _encode({"method": method, "subscription": subscription})


def _subscription_in(sentence: str) -> _Subscription:
    """Return the subscription a refusal repeats, bare or as our whole request; an empty one where there is none."""
    _, brace, rest = sentence.partition("{")
    try:
        repeated = _decode_repeated(brace + rest)
    except UNREADABLE:
        return _Subscription()
    return repeated.subscription or repeated


def _trades_singly(rows: msgspec.Raw, frame: bytes, faults: list[Fault]) -> list[_Trade | _VoidTrade]:
    """Return the rows that can be read; the others become faults."""
    trades: list[_Trade | _VoidTrade] = []
    try:
        raw_rows = _decode_rows(rows)
    except UNREADABLE as error:
        raise _malformed(str(error), "row", frame) from error
    for raw in raw_rows:
        try:
            trades.append(decode_row(raw, _decode_trade, _decode_void))
        except UNREADABLE:
            faults.append(Fault("row", excerpt_of(bytes(raw))))
            continue
        if isinstance(trades[-1], _VoidTrade):
            faults.append(Fault("void", trades[-1].coin))
    return trades


def _malformed(message: str, kind: str, frame: bytes | memoryview) -> MalformedMessage:
    return MalformedMessage(message, exchange=EXCHANGE, kind=kind, excerpt=bytes(frame))
