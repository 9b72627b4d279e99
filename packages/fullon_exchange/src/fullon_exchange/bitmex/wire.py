"""BitMEX's realtime WebSocket: messages to send, frames to records, pure.

https://www.bitmex.com/app/wsAPI (read 2021-07, as the recorded sessions). A subscription is acknowledged topic by
topic; then comes `partial`, the last trade or bucket of before, then `insert`. Buckets are pushed when they have
closed, stamped with their end. Ping and pong are bare words; a pong answers the oldest ping.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeVar, cast

import msgspec

from fullon_exchange.answers import decode_row
from fullon_exchange.bitmex.mapper import (
    EXCHANGE,
    TIMEFRAMES,
    BucketRow,
    TradeRow,
    VoidTradeRow,
    candle_of,
    decode_void_trade,
    open_us_of,
    trade_of,
)
from fullon_exchange.errors import UNREADABLE, MalformedMessage, excerpt_of
from fullon_exchange.records import Candle, Channel, Trade
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

_PONG = b"pong"
_PINGS_MAX = 64
_TRADES = "trade"
_BINS = {f"tradeBin{timeframe}": timeframe for timeframe in TIMEFRAMES}
_TOO_FAST = 429

_Action = Literal["partial", "insert"]


class _TradeTable(msgspec.Struct, gc=False, tag_field="table", tag="trade"):
    action: _Action
    data: list[TradeRow]


class _Bins(msgspec.Struct, gc=False):
    action: _Action
    data: list[BucketRow]


class _Bins1m(_Bins, gc=False, tag_field="table", tag="tradeBin1m"):
    pass


class _Bins5m(_Bins, gc=False, tag_field="table", tag="tradeBin5m"):
    pass


class _Bins1h(_Bins, gc=False, tag_field="table", tag="tradeBin1h"):
    pass


class _Bins1d(_Bins, gc=False, tag_field="table", tag="tradeBin1d"):
    pass


_Table = _TradeTable | _Bins1m | _Bins5m | _Bins1h | _Bins1d
_TIMEFRAMES = {_Bins1m: "1m", _Bins5m: "5m", _Bins1h: "1h", _Bins1d: "1d"}


class _Request(msgspec.Struct, gc=False):
    """A request of ours, as the venue repeats it."""

    op: str = ""
    args: list[str] | str = ""


class _Answer(msgspec.Struct, gc=False):
    """What is no table: the welcome, an acknowledgement of one topic, a refusal of a request."""

    info: str = ""
    success: bool = False
    subscribe: str = ""
    unsubscribe: str = ""
    error: str = ""
    status: int = 0
    request: _Request = msgspec.field(default_factory=_Request)
    table: str = ""


class _Envelope(msgspec.Struct, gc=False):
    """A table of which a row cannot be read."""

    table: str
    action: _Action
    data: list[msgspec.Raw]


_decode = msgspec.json.Decoder(_Table).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_trade = msgspec.json.Decoder(TradeRow).decode
_decode_bucket = msgspec.json.Decoder(BucketRow).decode
_encode = msgspec.json.Encoder().encode

Row = TypeVar("Row")


class BitmexWire:
    """The protocol of one connection."""

    def __init__(self) -> None:
        self._trades: dict[str, str] = {}
        self._candles: dict[tuple[str, str], str] = {}
        self._pings: deque[int] = deque(maxlen=_PINGS_MAX)

    def subscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        if channel == "trades":
            self._trades.update(names)
        else:
            timeframe = channel.removeprefix("candles")
            self._candles.update({(name, timeframe): symbol for name, symbol in names.items()})
        return _message("subscribe", channel, names)

    def unsubscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        return _message("unsubscribe", channel, names)

    def forget(self, channel: Channel, names: Mapping[str, str]) -> None:
        for name in names:
            if channel == "trades":
                self._trades.pop(name, None)
            else:
                self._candles.pop((name, channel.removeprefix("candles")), None)

    def ping(self, ping_id: int) -> bytes | None:
        self._pings.append(ping_id)
        return b"ping"

    def parse(self, frame: bytes | memoryview, latest_us: int) -> Message:
        try:
            table = _decode(frame)
        except UNREADABLE:
            return self._parse_slowly(bytes(frame), latest_us)
        if type(table) is _TradeTable:
            return self._take_trades(table.data, table.action, latest_us, [])
        return self._take_candles(cast(_Bins, table).data, _TIMEFRAMES[type(table)], latest_us, [])

    def _take_trades(
        self, rows: Sequence[TradeRow | VoidTradeRow], action: _Action, latest_us: int, faults: list[Fault]
    ) -> TradesFrame:
        records: list[Trade] = []
        for row in rows:
            symbol = self._trades.get(row.symbol)
            if symbol is None:
                faults.append(Fault("unsubscribed", row.symbol))
            elif (trade := trade_of(row, symbol)) is None or trade.timestamp_us > latest_us:
                faults.append(Fault("time", f"{row.symbol} {row.timestamp}"))
            else:
                records.append(trade)
        return TradesFrame(records, faults, snapshot=action == "partial")

    def _take_candles(
        self, rows: list[BucketRow], timeframe_name: str, latest_us: int, faults: list[Fault]
    ) -> CandlesFrame:
        timeframe = TIMEFRAMES[timeframe_name]
        records: list[Candle] = []
        for row in rows:
            symbol = self._candles.get((row.symbol, timeframe_name))
            open_us = open_us_of(row, timeframe)
            if symbol is None:
                faults.append(Fault("unsubscribed", f"{row.symbol} {timeframe_name}"))
            elif open_us is None or open_us > latest_us:
                faults.append(Fault("time", f"{row.symbol} {row.timestamp}"))
            elif (candle := candle_of(row, open_us, symbol, timeframe)) is not None:
                records.append(candle)
            elif row.trades:
                faults.append(Fault("row", f"{row.symbol} {row.timestamp}: {row.trades} trades without a price"))
        return CandlesFrame(records, faults)

    def _parse_slowly(self, frame: bytes, latest_us: int) -> Message:
        """Read a pong, an answer to a request, or a table row by row."""
        if frame == _PONG:
            return Pong(self._pings.popleft()) if self._pings else Heartbeat()
        try:
            answer = _decode_answer(frame)
        except msgspec.ValidationError as error:
            raise _malformed(str(error), "unknown", frame) from error
        except UNREADABLE as error:
            raise _malformed(str(error), "garbage", frame) from error
        if answer.table:
            return self._take_singly(answer.table, frame, latest_us)
        if answer.error:
            return self._take_refusal(answer, frame)
        if answer.success:
            return self._take_acknowledgement(answer, frame)
        if answer.info:
            return Heartbeat()
        raise _malformed("unknown message", "unknown", frame)

    def _take_singly(self, table: str, frame: bytes, latest_us: int) -> Message:
        """Read the rows that can be read."""
        if table != _TRADES and table not in _BINS:
            raise _malformed("unknown table", "unknown", frame)
        try:
            envelope = _decode_envelope(frame)
        except UNREADABLE as error:
            raise _malformed(str(error), "row", frame) from error
        faults: list[Fault] = []
        if table == _TRADES:
            read = partial(decode_row, decode=_decode_trade, decode_void=decode_void_trade)
            rows = _rows(envelope, read, faults)
            faults += [Fault("void", row.symbol) for row in rows if isinstance(row, VoidTradeRow)]
            return self._take_trades(rows, envelope.action, latest_us, faults)
        return self._take_candles(_rows(envelope, _decode_bucket, faults), _BINS[table], latest_us, faults)

    def _take_acknowledgement(self, answer: _Answer, frame: bytes) -> Acknowledged:
        key = self._key_of(answer.subscribe or answer.unsubscribe)
        if key is None:
            raise _malformed("answer to nothing we asked", "unknown", frame)
        return Acknowledged([key], subscribed=bool(answer.subscribe))

    def _take_refusal(self, answer: _Answer, frame: bytes) -> Message:
        """Read a refusal; it repeats the whole request and names what it refuses at the end of its sentence."""
        args = [answer.request.args] if isinstance(answer.request.args, str) else answer.request.args
        named = (answer.error.split() or [""])[-1]
        refused = [topic for topic in args if named in (topic, topic.partition(":")[2])] or args
        keys = [key for topic in refused if (key := self._key_of(topic)) is not None]
        if not keys:
            raise _malformed("refusal of nothing we asked", "unknown", frame)
        if "already subscribed" in answer.error.lower():
            return Acknowledged(keys, subscribed=True)
        if answer.request.op == "unsubscribe":
            return Acknowledged(keys, subscribed=False)
        return Refused(keys, answer.error, final=answer.status != _TOO_FAST and answer.status < 500)

    def _key_of(self, topic: str) -> Key | None:
        """Return the subscription a topic means: `tradeBin1m:XBTUSD`."""
        table, _, name = topic.partition(":")
        if table == _TRADES and name in self._trades:
            return "trades", self._trades[name]
        timeframe = _BINS.get(table, "")
        if (name, timeframe) in self._candles:
            return cast(Channel, f"candles{timeframe}"), self._candles[name, timeframe]
        return None


def _message(op: str, channel: Channel, names: Mapping[str, str]) -> bytes:
    table = _TRADES if channel == "trades" else f"tradeBin{channel.removeprefix('candles')}"
    return _encode({"op": op, "args": [f"{table}:{name}" for name in names]})


def _rows(envelope: _Envelope, decode: Callable[[msgspec.Raw], Row], faults: list[Fault]) -> list[Row]:
    """Return the rows that can be read; the others become faults."""
    rows: list[Row] = []
    for raw in envelope.data:
        try:
            rows.append(decode(raw))
        except UNREADABLE:
            faults.append(Fault("row", excerpt_of(bytes(raw))))
    return rows


def _malformed(message: str, kind: str, frame: bytes) -> MalformedMessage:
    return MalformedMessage(message, exchange=EXCHANGE, kind=kind, excerpt=frame)
