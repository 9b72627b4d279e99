"""Frames that nobody should send: nothing but the documented rejection, bad rows named, their neighbours kept.

The same seed gives the same frames, on every machine.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from fullon_exchange.answers import CandleAnswer, TradeAnswer
from fullon_exchange.binance import mapper as binance
from fullon_exchange.binance.wire import BinanceWire
from fullon_exchange.bitmex import mapper as bitmex
from fullon_exchange.bitmex.wire import BitmexWire
from fullon_exchange.errors import ExchangeError, MalformedMessage
from fullon_exchange.hyperliquid import mapper as hyperliquid
from fullon_exchange.hyperliquid.wire import HyperliquidWire
from fullon_exchange.kraken import mapper as kraken
from fullon_exchange.kraken.wire import KrakenWire
from fullon_exchange.records import EARLIEST_US, Candle, Trade
from fullon_exchange.timeframes import parse_timeframe
from fullon_exchange.wire import CandlesFrame, Message, TickersFrame, TradesFrame, Wire

FRAMES = 100_000
LATEST_US = 1_800_000_000_000_000
FAR_US = 253_402_300_800_000_000
"""The year 10000: what a page says of the future is cut by whoever has asked for it."""
KINDS = {"garbage", "unknown", "row", "time", "unsubscribed", "void"}
ROWS = 4
NAMES = {"BTC": "BTC/USD", "ETH": "ETH/USD"}


@dataclass(frozen=True)
class Speech:
    """How a venue speaks: trades and candles as names and JSON values, and how a frame is made of them."""

    make: Callable[[], Wire]
    trade: Mapping[str, Any]
    frame_of: Callable[[str], str]
    """Makes a frame of trades of rows that are JSON already, joined by commas; of a single row where that is all."""
    rows: int
    others: Sequence[Any]
    """Other frames: candles, tickers, answers."""


KRAKEN_CANDLE = {
    "symbol": "BTC", "open": 1.5, "high": 2.5, "low": 1.0, "close": 2.0, "trades": 3, "volume": 7.5, "vwap": 1.7,
    "interval_begin": "2025-05-27T11:24:00.000000Z", "interval": 1, "timestamp": "2025-05-27T11:25:00.000000Z",
}  # fmt: skip
BITMEX_BUCKET = {
    "timestamp": "2021-07-20T00:01:00.000Z", "symbol": "BTC", "open": 30816.5, "high": 30811.0, "low": 30802.5,
    "close": 30810, "trades": 158, "volume": 1047300,
}  # fmt: skip
BINANCE_KLINE = {
    "t": 1672515780000, "T": 1672515839999, "s": "BTC", "i": "1m", "f": 100, "L": 200, "o": "10", "c": "20",
    "h": "25", "l": "15", "v": "1000", "n": 101, "x": False,
}  # fmt: skip
SPEECHES = {
    "kraken": Speech(
        KrakenWire,
        {
            "symbol": "BTC", "side": "buy", "price": 109601.2, "qty": 0.04561994, "ord_type": "market",
            "trade_id": 83449369, "timestamp": "2025-05-27T11:24:03.847761Z",
        },
        lambda rows: f'{{"channel":"trade","type":"update","data":[{rows}]}}',
        ROWS,
        [
            {"channel": "ohlc", "type": "update", "data": [KRAKEN_CANDLE] * 3},
            {"channel": "ticker", "data": [{"symbol": "BTC", "last": 1.5, "bid": 1, "ask": 2, "volume": 7}]},
            {"channel": "heartbeat"},
            {"method": "subscribe", "success": True, "result": {"channel": "trade", "symbol": "BTC"}, "req_id": 1},
            {"method": "pong", "req_id": 7, "time_in": "2025-05-27T11:24:03.847761Z"},
        ],
    ),
    "binance": Speech(
        BinanceWire,
        {
            "e": "aggTrade", "E": 1672515782136, "s": "BTC", "a": 12345, "p": "0.001", "q": "100", "f": 100, "l": 105,
            "T": 1672515782136, "m": True, "M": True,
        },
        lambda rows: f'{{"stream":"btc@aggTrade","data":{rows}}}',
        1,
        [
            {"e": "kline", "E": 1672515782136, "s": "BTC", "k": BINANCE_KLINE},
            {"e": "24hrTicker", "E": 1672515782136, "s": "BTC", "c": "1", "b": "1", "a": "1", "v": "1"},
            {"result": None, "id": 1},
            {"error": {"code": 2, "msg": "Invalid request"}, "id": 1},
            {"e": "serverShutdown"},
        ],
    ),
    "hyperliquid": Speech(
        HyperliquidWire,
        {
            "coin": "BTC", "side": "A", "px": "68517.0", "sz": "0.005", "time": 1_710_125_266_669, "hash": "0xc8",
            "tid": 981_894_269_203_506, "users": ["0x1", "0x2"],
        },
        lambda rows: f'{{"channel":"trades","data":[{rows}]}}',
        ROWS,
        [
            {"channel": "candle", "data": {
                "t": 1_753_315_200_000, "T": 1_753_315_259_999, "s": "BTC", "i": "1m", "o": "290.64", "c": "290.18",
                "h": "290.7", "l": "290.1", "v": "69.61", "n": 12,
            }},
            {"channel": "pong"},
            {"channel": "error", "data": 'Invalid subscription {"type":"trades","coin":"BTC"}'},
            {"channel": "subscriptionResponse", "data": {
                "method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"},
            }},
        ],
    ),
    "bitmex": Speech(
        BitmexWire,
        {
            "timestamp": "2021-04-05T18:41:01.899Z", "symbol": "BTC", "side": "Buy", "size": 100, "price": 67701,
            "tickDirection": "ZeroPlusTick", "trdMatchID": "673ce60a-3736-b4d9-c70b-f9901427ef00",
        },
        lambda rows: f'{{"table":"trade","action":"insert","data":[{rows}]}}',
        ROWS,
        [
            {"table": "tradeBin1m", "action": "insert", "data": [BITMEX_BUCKET] * 3},
            {"success": True, "subscribe": "trade:BTC", "request": {"op": "subscribe", "args": ["trade:BTC"]}},
            {"status": 400, "error": "Unknown table: quot", "request": {"op": "subscribe", "args": ["quot:BTC"]}},
            {"info": "Welcome", "version": "1"},
        ],
    ),
}  # fmt: skip

VALUES = [
    "null", "true", "false", "0", "-1", "-0.0", "0.5", "1e308", "1e17", "1e18", "1e-400", "[]", "{}", "[[[]]]",
    '""', '"x"', '"NaN"', '"nan"', '"inf"', '"-inf"', '"Infinity"', '"1e999"', '"-1"', '"0"', '"0x10"', '"1_000"',
    '"\\u0000"', '"💥"', '"１２"', '"buy "', '"BUY"', '"BTC\'; DROP TABLE candles; --"', '"../../etc/passwd"',
    "9" * 30, "-" + "9" * 30, "9" * 400, "0." + "1" * 400, '"' + "9" * 400 + '"', '"' + "A" * 5000 + '"',
    "1700000000", "1700000000000", "1700000000000000", "1700000000000000000", '"1700000000000"', "9223372036854775808",
    '"1970-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', '"2025-13-45T99:99:99Z"', '"0001-01-01T00:00:00+23:59"',
    '"9999-12-31T23:59:59-23:59"', '"2025-05-27T11:24:03"', '"2025-05-27 11:24:03Z"', '"2025-05-27T11:24:60Z"',
]  # fmt: skip
"""JSON that is right in itself and wrong in a place."""
NO_JSON = ["NaN", "Infinity", "-Infinity", "undefined", "01", "+1", ".5", "1.", "'a'", '"\\x"', "", '"', "1e999"]
BYTES = [
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\",
    b"-",
    b"e999",
    b"null",
    b"\n",
]


def wire_of(venue: str) -> Wire:
    wire = SPEECHES[venue].make()
    for channel in ("trades", "candles1m", "ticker"):
        for name, symbol in NAMES.items():
            if channel != "ticker" or venue in ("kraken", "binance"):
                wire.subscribe(channel, {name: symbol})
    return wire


def render(row: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in row.items()) + "}"


def mutate_bytes(draw: random.Random, frame: bytes) -> bytes:
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(frame) + 1)
        until = at + draw.randint(0, 12)
        match draw.randrange(6):
            case 0:
                frame = frame[:at]
            case 1 if at < len(frame):
                frame = frame[:at] + bytes((frame[at] ^ (1 << draw.randrange(8)),)) + frame[at + 1 :]
            case 2:
                frame = frame[:at] + draw.choice(BYTES) + frame[at:]
            case 3:
                frame = frame[:at] + frame[until:]
            case 4:
                frame = frame[:until] + frame[at:]
            case _:
                frame = frame[:at] + draw.randbytes(draw.randint(1, 4)) + frame[until:]
    return frame


def require_sane(message: Message, latest_us: int = LATEST_US) -> None:
    """Whatever is let through is a record that may be stored; whatever is not has a name."""
    if not isinstance(message, (TradesFrame, CandlesFrame, TickersFrame)):
        return
    for record in message.records:
        assert record.symbol in NAMES.values()
        if isinstance(record, Trade):
            assert EARLIEST_US <= record.timestamp_us <= latest_us
            assert 0 < record.price < math.inf or record.volume == 0
            assert 0 <= record.volume < math.inf
            assert record.side in ("buy", "sell", "")
        elif isinstance(record, Candle):
            assert EARLIEST_US <= record.timestamp_us <= latest_us
            assert all(0 < price < math.inf for price in (record.open, record.high, record.low, record.close))
            assert 0 <= record.volume < math.inf
            assert record.trades is None or record.trades >= 0
    assert {fault.kind for fault in message.faults} <= KINDS


def parse(wire: Wire, frame: bytes) -> Message | str:
    """Return the message, or the kind under which the frame is rejected."""
    try:
        return wire.parse(frame, LATEST_US)
    except MalformedMessage as refused:
        return refused.kind


@pytest.mark.parametrize("venue", SPEECHES)
def test_mutated_frames_raise_nothing_but_the_documented_rejection(venue: str) -> None:
    """Half of them bytes that went wrong, half one value of one row of a frame."""
    draw = random.Random(f"hostile {venue}")
    speech = SPEECHES[venue]
    row = {key: json.dumps(value) for key, value in speech.trade.items()}
    whole = speech.frame_of(",".join([render(row)] * speech.rows)).encode()
    frames = [whole, *(json.dumps(other, separators=(",", ":")).encode() for other in speech.others)]
    wire = wire_of(venue)
    (good, *_) = expected = wire.parse(whole, LATEST_US).records
    assert len(expected) == speech.rows
    met: Counter[str] = Counter()
    for number in range(FRAMES):
        if number % 1000 == 0:
            wire = wire_of(venue)
        if number % 2:
            message = parse(wire, mutate_bytes(draw, draw.choice(frames)))
        else:
            bad = dict(row)
            at = draw.randrange(speech.rows)
            match draw.randrange(8):
                case 0:
                    del bad[draw.choice(list(bad))]
                case 1:
                    bad[draw.choice(list(bad))] = draw.choice(NO_JSON)
                case _:
                    bad[draw.choice(list(bad))] = draw.choice(VALUES)
            rows = [render(bad if place == at else row) for place in range(speech.rows)]
            message = parse(wire, speech.frame_of(",".join(rows)).encode())
            if speech.rows > 1 and message != "garbage":
                assert isinstance(message, TradesFrame), "a row is told from its neighbours"
                void = sum(not record.volume for record in message.records)
                assert len(message.records) + len(message.faults) == speech.rows + void, "every row is read or named"
                kept = [record for record in message.records if record == good]
                assert len(kept) >= speech.rows - 1, "neighbours are kept"
        if isinstance(message, str):
            assert message in KINDS
            met[message] += 1
            continue
        require_sane(message)
        met[type(message).__name__] += 1
        met.update(fault.kind for fault in getattr(message, "faults", ()))
    assert met["garbage"] > FRAMES / 20
    assert met["TradesFrame"] > FRAMES / 20
    assert min(met["row"], met["time"] + met["unsubscribed"]) > 0, met


KRAKEN_ROW = ["105433.6", "0.00027625", 1762795433.9717445, "b", "l", "", 10218208]
BINANCE_ROW = [1672515780000, "10", "25", "15", "20", "1000", 1672515839999, "1", 101, "500", "0.5", "0"]
ANSWERS: dict[str, list[tuple[Any, Callable[[bytes], TradeAnswer | CandleAnswer]]]] = {
    "kraken": [
        (
            {"error": [], "result": {"XBTUSD": [KRAKEN_ROW] * ROWS, "last": "1762795433971744500"}},
            lambda body: kraken.parse_trades(body, "BTC/USD", 0),
        ),
        (
            {
                "error": [],
                "result": {"XBTUSD": [[1762795380, "1", "3", "1", "2", "1.5", "4.5", 7]] * ROWS, "last": 1762795320},
            },
            lambda body: kraken.parse_candles(body, "BTC/USD", "1m"),
        ),
    ],
    "binance": [
        (
            [{key: value for key, value in SPEECHES["binance"].trade.items() if key not in "eEs"}] * ROWS,
            lambda body: binance.parse_trades(body, "BTC/USD", first_id=0, start_us=0, cursor=0),
        ),
        ([BINANCE_ROW] * ROWS, lambda body: binance.parse_candles(body, "BTC/USD", "1m")),
    ],
    "hyperliquid": [
        (
            [SPEECHES["hyperliquid"].others[0]["data"]] * ROWS,
            lambda body: hyperliquid.parse_candles(body, "BTC/USD", parse_timeframe("1m")),
        ),
    ],
    "bitmex": [
        ([SPEECHES["bitmex"].trade] * ROWS, lambda body: bitmex.parse_trades(body, "BTC/USD", 0)),
        ([BITMEX_BUCKET] * ROWS, lambda body: bitmex.parse_candles(body, "BTC/USD", bitmex.TIMEFRAMES["1m"])),
    ],
}


@pytest.mark.parametrize("venue", ANSWERS)
def test_mutated_answers_of_rest_raise_nothing_but_an_error_of_this_package(venue: str) -> None:
    draw = random.Random(f"hostile answers {venue}")
    for whole, read in ANSWERS[venue]:
        body = json.dumps(whole, separators=(",", ":")).encode()
        assert len(read(body).rows) == ROWS
        understood = 0
        for _ in range(FRAMES // 10):
            try:
                answer = read(mutate_bytes(draw, body))
            except ExchangeError:
                continue
            understood += 1
            rows = list(answer.rows)
            frame = TradesFrame(rows) if isinstance(answer, TradeAnswer) else CandlesFrame(rows)
            require_sane(frame, latest_us=FAR_US)
        assert understood > FRAMES / 500
