"""What the venues say on their WebSockets becomes messages; what cannot be read is named and its neighbours kept."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.binance.wire import BinanceWire
from fullon_exchange.errors import MalformedMessage
from fullon_exchange.kraken.wire import KrakenWire
from fullon_exchange.records import Candle, Ticker, Trade
from fullon_exchange.wire import (
    Acknowledged,
    CandlesFrame,
    Farewell,
    Heartbeat,
    Message,
    Pong,
    Refused,
    TickersFrame,
    TradesFrame,
)

LATEST_US = 1_800_000_000_000_000


def kraken() -> KrakenWire:
    wire = KrakenWire()
    wire.subscribe("trades", {"BTC/USD": "BTC/USD", "LUNA/USD": "LUNC/USD"})
    wire.subscribe("candles1m", {"BTC/USD": "BTC/USD"})
    wire.subscribe("ticker", {"BTC/USD": "BTC/USD"})
    return wire


def binance() -> BinanceWire:
    wire = BinanceWire()
    wire.subscribe("trades", {"BTCUSDT": "BTC/USDT"})
    wire.subscribe("candles1m", {"BTCUSDT": "BTC/USDT"})
    wire.subscribe("ticker", {"BTCUSDT": "BTC/USDT"})
    return wire


def read(wire: KrakenWire | BinanceWire, message: Any) -> Message:
    return wire.parse(json.dumps(message).encode(), LATEST_US)


KRAKEN_TRADE = {
    "symbol": "BTC/USD",
    "side": "buy",
    "price": 109601.2,
    "qty": 0.04561994,
    "ord_type": "market",
    "trade_id": 83449369,
    "timestamp": "2025-05-27T11:24:03.847761Z",
}
BINANCE_TRADE = {
    "e": "aggTrade", "E": 1672515782136, "s": "BTCUSDT", "a": 12345, "p": "0.001", "q": "100", "f": 100, "l": 105,
    "T": 1672515782136, "m": True, "M": True,
}  # fmt: skip
BINANCE_KLINE = {
    "e": "kline", "E": 1672515782136, "s": "BTCUSDT",
    "k": {"t": 1672515780000, "T": 1672515839999, "s": "BTCUSDT", "i": "1m", "f": 100, "L": 200, "o": "10", "c": "20",
          "h": "25", "l": "15", "v": "1000", "n": 101, "x": False, "q": "1", "V": "500", "Q": "0.5", "B": "1"},
}  # fmt: skip


def kraken_trades(*rows: Any) -> Any:
    return {"channel": "trade", "type": "update", "data": list(rows)}


def test_one_frame_with_trades_of_several_symbols_gives_each_its_own() -> None:
    message = read(kraken(), kraken_trades(KRAKEN_TRADE, KRAKEN_TRADE | {"symbol": "LUNA/USD", "trade_id": 2}))
    assert isinstance(message, TradesFrame)
    assert message.records == [
        Trade("BTC/USD", 1748345043847761, 109601.2, 0.04561994, "buy", "83449369", "market"),
        Trade("LUNC/USD", 1748345043847761, 109601.2, 0.04561994, "buy", "2", "market"),
    ]
    assert not message.faults


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"price": None}, "row"), ({"price": "1.5"}, "row"), ({"price": -1.0}, "row"), ({"qty": -1}, "row"),
        ({"side": "BUY"}, "row"), ({"trade_id": "7"}, "row"), ({"timestamp": 1748345043}, "row"),
        ({"timestamp": "1970-01-01T00:00:01.000000Z"}, "time"), ({"timestamp": "2036-05-27T11:24:03.847761Z"}, "time"),
        ({"timestamp": "2025-05-27T11:24:03.847761"}, "row"), ({"symbol": "ETH/USD"}, "unsubscribed"),
    ],
)  # fmt: skip
def test_kraken_a_bad_row_is_a_fault_and_its_neighbours_are_kept(change: dict[str, Any], kind: str) -> None:
    message = read(kraken(), kraken_trades(KRAKEN_TRADE, KRAKEN_TRADE | change, KRAKEN_TRADE))
    assert isinstance(message, TradesFrame)
    assert len(message.records) == 2
    assert [fault.kind for fault in message.faults] == [kind]


def test_kraken_nan_is_no_json_and_the_frame_is_garbage() -> None:
    frame = json.dumps(kraken_trades(KRAKEN_TRADE)).replace("109601.2", "NaN").encode()
    with pytest.raises(MalformedMessage) as raised:
        kraken().parse(frame, LATEST_US)
    assert raised.value.kind == "garbage"


def test_kraken_a_candle_is_stamped_with_its_open_time_and_never_closed() -> None:
    row = {
        "symbol": "BTC/USD", "open": 1.0, "high": 3.0, "low": 0.5, "close": 2.0, "trades": 12, "volume": 9.5,
        "vwap": 1.1, "interval_begin": "2023-10-04T16:25:00.000000000Z", "interval": 1,
        "timestamp": "2023-10-04T16:26:00.000000Z",
    }  # fmt: skip
    message = read(kraken(), {"channel": "ohlc", "type": "update", "timestamp": "x", "data": [row]})
    assert isinstance(message, CandlesFrame)
    assert message.records == [Candle("BTC/USD", "1m", 1696436700000000, 1, 3, 0.5, 2, 9.5, 12, closed=False)]
    other = read(kraken(), {"channel": "ohlc", "type": "update", "data": [row | {"interval": 5}, row | {"open": 0}]})
    assert isinstance(other, CandlesFrame)
    assert [fault.kind for fault in other.faults] == ["row", "unsubscribed"]


def test_kraken_tickers_heartbeats_status_and_pongs() -> None:
    ticker = read(
        kraken(),
        {"channel": "ticker", "data": [{"symbol": "BTC/USD", "bid": 1.0, "ask": 2.0, "last": 1.5, "volume": 7}]},
    )
    assert ticker == TickersFrame([Ticker("BTC/USD", LATEST_US, 1.5, 1.0, 2.0, 7)], [])
    assert read(kraken(), {"channel": "heartbeat"}) == Heartbeat()
    assert read(kraken(), {"channel": "status", "type": "update", "data": [{"system": "online"}]}) == Heartbeat()
    pong = {
        "method": "pong",
        "req_id": 5,
        "time_in": "2025-05-27T11:24:03.847761Z",
        "time_out": "2025-05-27T11:24:03.9Z",
    }
    assert read(kraken(), pong) == Pong(5, 1748345043847761)


def test_kraken_acknowledgements_come_for_each_symbol() -> None:
    wire = KrakenWire()
    request = json.loads(wire.subscribe("trades", {"BTC/USD": "BTC/USD", "LUNA/USD": "LUNC/USD"}))
    assert request["params"] == {"symbol": ["BTC/USD", "LUNA/USD"], "channel": "trade", "snapshot": False}
    answer = {"method": "subscribe", "req_id": request["req_id"], "time_in": "2025-05-27T11:24:03.8Z",
              "time_out": "2025-05-27T11:24:03.9Z"}  # fmt: skip
    granted = answer | {"success": True, "result": {"channel": "trade", "symbol": "LUNA/USD", "snapshot": False}}
    assert read(wire, granted) == Acknowledged([("trades", "LUNC/USD")], True, 1748345043900000)
    refused = answer | {"success": False, "symbol": "BTC/USD", "error": "Currency pair not supported BTC/USD"}
    assert read(wire, refused) == Refused([("trades", "BTC/USD")], "Currency pair not supported BTC/USD", True)
    again = answer | {"success": False, "symbol": "BTC/USD", "error": "Already subscribed"}
    assert read(wire, again) == Acknowledged([("trades", "BTC/USD")], True, 1748345043900000)
    paced = answer | {"success": False, "symbol": "BTC/USD", "error": "Exceeded msg rate"}
    assert read(wire, paced) == Refused([("trades", "BTC/USD")], "Exceeded msg rate", False)
    with pytest.raises(MalformedMessage):
        read(wire, granted | {"req_id": 99})


def test_kraken_unsubscribing_names_the_same_subscription() -> None:
    wire = KrakenWire()
    request = json.loads(wire.unsubscribe("candles1m", {"BTC/USD": "BTC/USD"}))
    assert request["method"] == "unsubscribe"
    assert request["params"] == {"symbol": ["BTC/USD"], "channel": "ohlc", "interval": 1}
    answer = {"method": "unsubscribe", "req_id": request["req_id"], "success": False, "symbol": "BTC/USD",
              "error": "Subscription Not Found"}  # fmt: skip
    assert read(wire, answer) == Acknowledged([("candles1m", "BTC/USD")], False)


def test_a_market_that_was_left_is_no_longer_taken() -> None:
    for wire, message in ((kraken(), kraken_trades(KRAKEN_TRADE)), (binance(), BINANCE_TRADE)):
        name = "BTC/USD" if isinstance(wire, KrakenWire) else "BTCUSDT"
        wire.forget("trades", {name: ""})
        wire.forget("ticker", {name: ""})
        wire.forget("candles1m", {name: ""})
        answer = read(wire, message)
        assert isinstance(answer, TradesFrame)
        assert not answer.records
        assert [fault.kind for fault in answer.faults] == ["unsubscribed"]


@pytest.mark.parametrize("wrap", [lambda event: event, lambda event: {"stream": "x", "data": event}])
def test_binance_events_are_read_bare_and_wrapped(wrap: Any) -> None:
    assert read(binance(), wrap(BINANCE_TRADE)) == TradesFrame(
        [Trade("BTC/USDT", 1672515782136000, 0.001, 100, "sell", "12345")]
    )
    assert read(binance(), wrap(BINANCE_KLINE)) == CandlesFrame(
        [Candle("BTC/USDT", "1m", 1672515780000000, 10, 25, 15, 20, 1000, 101, False, 100, 200)]
    )
    ticker = {"e": "24hrTicker", "E": 1672515782136, "s": "BTCUSDT", "c": "5", "b": "4", "a": "6", "v": "7"}
    assert read(binance(), wrap(ticker)) == TickersFrame([Ticker("BTC/USDT", 1672515782136000, 5, 4, 6, 7)])
    assert isinstance(read(binance(), wrap({"e": "serverShutdown", "E": 1})), Farewell)


def test_binance_a_closed_candle_says_so_and_an_empty_one_has_no_ids() -> None:
    kline = BINANCE_KLINE["k"] | {"x": True, "n": 0, "f": -1, "L": -1, "v": "0"}
    message = read(binance(), BINANCE_KLINE | {"k": kline})
    assert isinstance(message, CandlesFrame)
    (candle,) = message.records
    assert (candle.closed, candle.trades, candle.first_id, candle.last_id) == (True, 0, None, None)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (BINANCE_TRADE | {"p": "NaN"}, "row"), (BINANCE_TRADE | {"p": None}, "row"),
        (BINANCE_TRADE | {"q": "-1"}, "row"),
        (BINANCE_TRADE | {"T": 1672515782}, "row"), ({"e": "depthUpdate"}, "unknown"), ({}, "unknown"), ([], "unknown"),
        ({"stream": "x", "data": {"u": 1}}, "unknown"), ({"stream": "x", "data": BINANCE_TRADE | {"p": "-1"}}, "row"),
    ],
)  # fmt: skip
def test_binance_frames_that_cannot_be_read_are_told_apart(message: Any, kind: str) -> None:
    with pytest.raises(MalformedMessage) as raised:
        read(binance(), message)
    assert raised.value.kind == kind


def test_binance_rows_of_the_future_and_of_strangers_are_faults() -> None:
    future = read(binance(), BINANCE_TRADE | {"T": LATEST_US // 1000 + 1})
    assert isinstance(future, TradesFrame)
    assert [fault.kind for fault in future.faults] == ["time"]
    stranger = read(binance(), BINANCE_KLINE | {"s": "ETHUSDT"})
    assert isinstance(stranger, CandlesFrame)
    assert [fault.kind for fault in stranger.faults] == ["unsubscribed"]


def test_binance_answers_are_about_the_request_of_their_id() -> None:
    wire = BinanceWire()
    request = json.loads(wire.subscribe("candles1m", {"BTCUSDT": "BTC/USDT", "ETHUSDT": "ETH/USDT"}))
    assert request["params"] == ["btcusdt@kline_1m", "ethusdt@kline_1m"]
    keys = [("candles1m", "BTC/USDT"), ("candles1m", "ETH/USDT")]
    assert read(wire, {"result": None, "id": request["id"]}) == Acknowledged(keys, True)
    leave = json.loads(wire.unsubscribe("trades", {"BTCUSDT": "BTC/USDT"}))
    assert leave == {"method": "UNSUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 2}
    refused = read(wire, {"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": leave["id"]})
    assert refused == Refused([("trades", "BTC/USDT")], "2: Invalid request: invalid stream", True)


_ALMOST = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("make", [kraken, binance])
@given(frame=st.binary() | _ALMOST.map(lambda value: json.dumps(value).encode()))
def test_any_frame_raises_nothing_but_malformed(make: Any, frame: bytes) -> None:
    with suppress(MalformedMessage):
        make().parse(frame, LATEST_US)


@pytest.mark.parametrize("make", [kraken, binance])
@given(data=st.data())
def test_a_frame_with_any_value_changed_raises_nothing_but_malformed(make: Any, data: st.DataObject) -> None:
    event: dict[str, Any] = dict(KRAKEN_TRADE) if make is kraken else dict(BINANCE_TRADE)
    event[data.draw(st.sampled_from(sorted(event)))] = data.draw(_ALMOST)
    frame = json.dumps(kraken_trades(event, KRAKEN_TRADE) if make is kraken else event).encode()
    cut = data.draw(st.integers(0, len(frame)))
    for part in (frame, frame[:cut]):
        try:
            message = make().parse(part, LATEST_US)
        except MalformedMessage:
            continue
        if make is kraken and part is frame and isinstance(message, TradesFrame):
            assert message.records, "the good neighbour is kept"


def test_deeply_nested_frames_are_garbage_not_a_crash() -> None:
    for wire in (kraken(), binance()):
        with pytest.raises(MalformedMessage):
            wire.parse(b"[" * 100_000, LATEST_US)
        with pytest.raises(MalformedMessage):
            wire.parse(b'{"channel":"trade","data":[' + b"[" * 100_000, LATEST_US)
