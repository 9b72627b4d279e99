"""What ccxt reads from a frame is taken while it is read: nothing overflows, is overwritten or stale."""

import json
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType

from fullon_exchange.ccxt_adapter import library
from fullon_exchange.ccxt_adapter.dialects import dialect_of
from fullon_exchange.ccxt_adapter.streams import Frame, Seen, Streams
from fullon_exchange.wire import CandlesFrame

NOON_MS = 1_767_225_600_000
LATEST_US = (NOON_MS + 3_600_000) * 1000


class Host:
    """A socket without a network: frames in, records out."""

    def __init__(self, name: str, *symbols: str) -> None:
        self.raw, self.dialect = library.create(name), dialect_of(name)
        self.dialect.prepare(self.raw)
        self.raw.set_markets([self._market(symbol) for symbol in symbols])
        self.seen = Seen()
        self.streams = Streams(self.raw, self.dialect, self.seen)
        self.frames: list[Frame] = []
        self.refused: list[str] = []
        self.socket = self.raw.new_socket("wss://ws.kraken.com/v2", self)

    def _market(self, symbol: str) -> Any:
        base, quote = symbol.split("/")
        names = {"symbol": symbol, "id": base + quote, "base": base, "quote": quote, "baseId": base, "quoteId": quote}
        kind = {"type": "spot", "spot": True, "swap": False, "future": False, "option": False, "contract": False}
        return self.raw.safe_market_structure(
            {**names, **kind, "active": True, "precision": {}, "limits": {}, "info": {"wsname": symbol}}
        )

    def feed(self, message: Any) -> list[Frame]:
        self.frames.clear()
        self.socket.handle_message(WSMessage(WSMsgType.TEXT, json.dumps(message), None))
        return list(self.frames)

    def take_answer(self, message: Any) -> bool:
        return self.dialect.answer(message, []) is not None

    def parts_of(self, message: Any) -> Sequence[Any]:
        return self.dialect.parts(message)

    def take_rows(self, result: Any, message_hash: str) -> None:
        self.frames += self.streams.read(result, LATEST_US)

    def take_refusal(self, error: Any, message_hash: str | None) -> None:
        self.refused.append(f"{message_hash} {error}")

    def end(self, reason: str) -> None:
        raise AssertionError(reason)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()


@pytest.fixture
async def kraken() -> Host:
    return Host("kraken", "BTC/USD", "ETH/USD")


def trades(*numbers: int, symbol: str = "BTC/USD", **odd: Any) -> dict[str, Any]:
    rows = [
        {
            "symbol": symbol,
            "side": "sell",
            "price": 10.5,
            "qty": 0.25,
            "ord_type": "limit",
            "trade_id": number,
            "timestamp": f"2026-01-01T00:00:{number % 60:02d}.123456Z",
            **odd,
        }
        for number in numbers
    ]
    return {"channel": "trade", "type": "update", "data": rows}


def candle(minute: int, close: float, symbol: str = "BTC/USD", interval: int = 1) -> dict[str, Any]:
    row = {"symbol": symbol, "open": 1.0, "high": 9.9, "low": 1.0, "close": close, "trades": 1, "volume": 2.0}
    begin = f"2026-01-01T00:{minute:02d}:00.000000000Z"
    return {"channel": "ohlc", "type": "update", "data": [{**row, "interval_begin": begin, "interval": interval}]}


async def test_a_frame_with_more_trades_than_ccxt_keeps_loses_none(kraken: Host) -> None:
    ((key, frame),) = kraken.feed(trades(*range(2500)))
    assert key == ("trades", "BTC/USD")
    assert {row.trade_id for row in frame.records} == {str(number) for number in range(2500)}
    assert len(kraken.raw.trades["BTC/USD"]) == 0, "nothing is kept for watchers who never come"


async def test_times_are_those_of_the_wire_to_the_microsecond(kraken: Host) -> None:
    ((_, frame),) = kraken.feed(trades(7))
    (row,) = frame.records
    assert row.timestamp_us == NOON_MS * 1000 + 7_123_456
    assert (row.price, row.volume, row.side, row.order_type, row.trade_id) == (10.5, 0.25, "sell", "limit", "7")


async def test_a_frame_of_several_markets_is_told_under_each_ones_name(kraken: Host) -> None:
    mixed = trades(1)
    mixed["data"] += trades(2, symbol="ETH/USD")["data"] + trades(3)["data"]
    told = {key[1]: [row.trade_id for row in frame.records] for key, frame in kraken.feed(mixed)}
    assert told == {"BTC/USD": ["1", "3"], "ETH/USD": ["2"]}


async def test_repeated_trades_are_told_once_across_connections(kraken: Host) -> None:
    kraken.feed(trades(1, 2, 3))
    kraken.streams = Streams(kraken.raw, kraken.dialect, kraken.seen)
    ((_, frame),) = kraken.feed(trades(2, 3, 4))
    assert [row.trade_id for row in frame.records] == ["4"]
    ((_, frame),) = kraken.feed(trades(4, symbol="ETH/USD"))
    assert [row.trade_id for row in frame.records] == ["4"], "an id is one market's"


@pytest.mark.parametrize("odd", [{"price": None}, {"qty": -1}, {"side": "?"}, {"timestamp": "1970-01-01T00:00:01.0Z"}])
async def test_a_row_out_of_range_is_a_fault_and_its_neighbours_are_told(kraken: Host, odd: dict[str, Any]) -> None:
    frame = trades(1)
    frame["data"] += trades(2, **odd)["data"] + trades(3)["data"]
    ((_, told),) = kraken.feed(frame)
    assert [row.trade_id for row in told.records] == ["1", "3"]
    assert [fault.kind for fault in told.faults] == ["row"]


async def test_a_trade_of_the_future_is_a_fault(kraken: Host) -> None:
    ((_, told),) = kraken.feed(trades(1, timestamp="2026-01-01T02:00:00.000000Z"))
    assert not told.records
    assert [fault.kind for fault in told.faults] == ["time"]


async def test_candles_are_told_when_they_change_and_are_not_overwritten_afterwards(kraken: Host) -> None:
    told = [frame.records for _, frame in kraken.feed(candle(0, 1.1))]
    kraken.feed(candle(0, 9.9))
    assert [[row.close for row in records] for records in told] == [[1.1]]
    ((key, frame),) = kraken.feed(candle(1, 5.0))
    assert key == ("candles1m", "BTC/USD")
    assert isinstance(frame, CandlesFrame)
    assert [(row.timestamp_us, row.close, row.closed) for row in frame.records] == [
        ((NOON_MS + 60_000) * 1000, 5.0, False)
    ]
    ((_, frame),) = kraken.feed(candle(0, 9.5))
    assert [row.close for row in frame.records] == [9.5], "a late update of the minute before"


async def test_two_timeframes_of_a_market_are_told_apart(kraken: Host) -> None:
    kraken.feed(candle(0, 1.1))
    ((key, frame),) = kraken.feed(candle(0, 2.2, interval=5))
    assert key == ("candles5m", "BTC/USD")
    assert [row.timeframe for row in frame.records] == ["5m"]


async def test_after_a_reconnect_the_half_candle_from_before_is_not_told_again(kraken: Host) -> None:
    kraken.feed(candle(3, 1.1))
    kraken.streams = Streams(kraken.raw, kraken.dialect, kraken.seen)
    kraken.streams.forget(("candles1m", "BTC/USD"))
    ((_, frame),) = kraken.feed(candle(6, 2.2))
    assert [row.close for row in frame.records] == [2.2]


async def test_a_refusal_is_told_under_the_number_of_its_request(kraken: Host) -> None:
    kraken.feed({"error": "Currency pair not supported X", "method": "other", "success": False, "req_id": 5})
    assert kraken.refused == ["5 Currency pair not supported X"]
