"""The mappers against what the exchanges really sent; read in place, skipped where the recordings are not there."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from fullon_exchange.binance import mapper as binance_mapper
from fullon_exchange.binance.wire import BinanceWire
from fullon_exchange.errors import MalformedMessage
from fullon_exchange.kraken import mapper as kraken_mapper
from fullon_exchange.kraken.symbols import websocket_name
from fullon_exchange.kraken.wire import KrakenWire
from fullon_exchange.records import Candle, Trade
from fullon_exchange.wire import Acknowledged, CandlesFrame, Heartbeat, Message, TradesFrame

Read = Callable[[str], str]
MINUTE_US = 60_000_000
LATEST_US = 4_000_000_000_000_000

BINANCE_SESSIONS = [
    "binance/cryptofeed/2021-04-04_BINANCE-ee25be.0.gz",
    "binance/cryptofeed/2021-08-14_BINANCE.ws.1.0.gz",
]
BINANCE_TRADE_STREAMS = [
    "binance/hftbacktest/dev_btcusdt_20240808_trade_stream.jsonl.gz",
    "binance/hftbacktest/dev_btcusdt_20240809_trade_stream.jsonl.gz",
    "binance/hftbacktest/dev_btcusdt_20240808_full.gz",
]


def frames_of(text: str) -> Iterator[str]:
    """Yield the raw messages of a cryptofeed session: lines of `<receive time>: <message>`."""
    for line in text.splitlines():
        start, _, message = line.partition(": ")
        if start.replace(".", "", 1).isdigit():
            yield message


def fold(symbol: str, trades: Sequence[Trade]) -> tuple[str, int, float, float, float, float, float, int]:
    prices = [trade.price for trade in trades]
    volume = float(sum(Decimal(repr(trade.volume)) for trade in trades))
    minute_us = trades[0].timestamp_us - trades[0].timestamp_us % MINUTE_US
    return (symbol, minute_us, prices[0], max(prices), min(prices), prices[-1], volume, len(trades))


def shape(candle: Candle) -> tuple[Any, ...]:
    return (candle.symbol, candle.timestamp_us, candle.open, candle.high, candle.low, candle.close, candle.volume)


# --- Kraken -----------------------------------------------------------------------------------------------------


def test_kraken_trades_folded_are_krakens_own_candles(recorded: Read) -> None:
    """604 trades of 4 h 35 min of XBTUSDT against OHLC of the same hours, every field of every minute."""
    body = recorded("kraken/nautilus_pair/dev_trades_XBTUSDT.json.gz").encode()
    trades = list(kraken_mapper.parse_trades(body, "BTC/USDT", 0).rows)
    answer = kraken_mapper.parse_candles(
        recorded("kraken/nautilus_pair/dev_ohlc_XBTUSDT_1m.json.gz").encode(), "BTC/USDT", "1m"
    )
    candles = {candle.timestamp_us: candle for candle in answer.rows}
    minutes: dict[int, list[Trade]] = defaultdict(list)
    for trade in trades:
        minutes[trade.timestamp_us - trade.timestamp_us % MINUTE_US].append(trade)
    whole = range(min(minutes) + MINUTE_US, max(minutes), MINUTE_US)
    assert len(trades) > 600
    assert not answer.unreadable
    compared = 0
    for minute_us in whole:
        candle = candles[minute_us]
        assert candle.trades == len(minutes.get(minute_us, []))
        if minute_us in minutes:
            assert fold("BTC/USDT", minutes[minute_us])[:7] == pytest.approx(shape(candle))
            compared += 1
        else:
            assert (candle.volume, candle.open) == (0, candle.close)
    assert compared > 150
    assert [int(trade.trade_id) for trade in trades] == list(
        range(int(trades[0].trade_id), int(trades[-1].trade_id) + 1)
    )


def version_2(frame: Any, number: Iterator[int]) -> Any:
    """Convert a frame of WebSocket version 1 to the version 2 that production reads."""
    if isinstance(frame, dict):
        if frame.get("event") == "heartbeat":
            return {"channel": "heartbeat"}
        if frame.get("event") == "systemStatus":
            return {"channel": "status", "type": "update", "data": [{"system": frame["status"]}]}
        name = websocket_name(frame["pair"])
        return {"method": "subscribe", "req_id": 1, "success": True, "result": {"channel": "trade", "symbol": name}}
    _, rows, channel, pair = frame
    assert channel == "trade"
    data = []
    for price, volume, moment, side, order_type, _misc in rows:
        seconds, _, micros = moment.partition(".")
        stamp = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        data.append(
            {
                "symbol": websocket_name(pair),
                "side": {"b": "buy", "s": "sell"}[side],
                "price": float(price),
                "qty": float(volume),
                "ord_type": {"m": "market", "l": "limit"}[order_type],
                "trade_id": next(number),
                "timestamp": f"{stamp}.{micros}Z",
            }
        )
    return {"channel": "trade", "type": "update", "data": data}


def test_a_recorded_kraken_session_is_read_without_an_unexplained_frame(recorded: Read) -> None:
    text = recorded("kraken/cryptofeed/2021-04-05_KRAKEN-82ac16.0")
    pairs = next(json.loads(line.split(": ", 1)[1])["pair"] for line in text.splitlines() if '"subscribe"' in line)
    wire = KrakenWire()
    wire.subscribe("trades", {websocket_name(pair): websocket_name(pair) for pair in pairs})
    number = iter(range(10**6))
    read: Counter[type] = Counter()
    trades: list[Trade] = []
    wanted: list[tuple[str, float, float]] = []
    for raw in frames_of(text):
        frame = json.loads(raw)
        message = wire.parse(json.dumps(version_2(frame, number)).encode(), LATEST_US)
        read[type(message)] += 1
        if isinstance(message, TradesFrame):
            assert not message.faults
            trades += message.records
            wanted += [(websocket_name(frame[3]), float(row[0]), float(row[1])) for row in frame[1]]
    assert set(read) == {Heartbeat, Acknowledged, TradesFrame}
    assert read[Acknowledged] == len(pairs) == 10
    assert [(trade.symbol, trade.price, trade.volume) for trade in trades] == wanted
    assert "BTC/USD" in {trade.symbol for trade in trades}


def test_kraken_market_names_on_the_websocket_are_those_of_a_recorded_instrument_snapshot(recorded: Read) -> None:
    """AssetPairs of 2021 and the v2 `instrument` channel of 2024: markets of both are called the same."""
    snapshot = json.loads(recorded("kraken/kdr/ws_v2_instrument_snapshot.json.gz"))
    names = {pair["symbol"] for pair in snapshot["data"]["pairs"]}
    text = recorded("kraken/cryptofeed/2021-04-17_KRAKEN.0.gz").splitlines()[0]
    listings = kraken_mapper.parse_listings(text.split(": ", 1)[1].encode())
    ours = {listing.wire["ws"] for listing in listings.values()}
    assert len(ours & names) > 200
    assert {"BTC/USD", "DOGE/BTC", "REPV2/USD"} <= ours & names
    assert not any("XBT" in name or "XDG" in name for name in ours)


# --- Binance ----------------------------------------------------------------------------------------------------


def subscribed(frames: Iterable[str]) -> BinanceWire:
    """Return a wire that has subscribed every market that occurs in a recording."""
    names = {json.loads(frame).get("data", {}).get("s") for frame in frames} - {None}
    wire = BinanceWire()
    wire.subscribe("trades", {name: name for name in names})
    wire.subscribe("candles1m", {name: name for name in names})
    return wire


def read_binance(wire: BinanceWire, frame: str) -> Message | str:
    """Return what a frame says, or the kind of event it carries where nobody subscribed to that kind."""
    try:
        return wire.parse(frame.encode(), LATEST_US)
    except MalformedMessage as error:
        event = json.loads(frame).get("data", {})
        if error.kind != "unknown":
            return f"{error.kind}: {frame}"
        return str(event.get("e", "bookTicker" if event.keys() >= {"u", "b", "B"} else frame))


@pytest.mark.parametrize("name", BINANCE_SESSIONS)
def test_recorded_binance_sessions_are_read_without_an_unexplained_frame(recorded: Read, name: str) -> None:
    frames = list(frames_of(recorded(name)))
    wire = subscribed(frames)
    read = [read_binance(wire, frame) for frame in frames]
    assert {one for one in read if isinstance(one, str)} <= {"depthUpdate", "bookTicker"}
    trades = [row for one in read if isinstance(one, TradesFrame) for row in one.records]
    candles = [row for one in read if isinstance(one, CandlesFrame) for row in one.records]
    assert not [one for one in read if isinstance(one, TradesFrame | CandlesFrame) and one.faults]
    assert len(trades) == sum('"e":"aggTrade"' in frame for frame in frames) > 0
    assert len(candles) == sum('"e":"kline"' in frame for frame in frames) > 0
    by_symbol: dict[str, list[int]] = defaultdict(list)
    for trade in trades:
        by_symbol[trade.symbol].append(int(trade.trade_id))
    assert all(ids == list(range(ids[0], ids[-1] + 1)) for ids in by_symbol.values())


@pytest.mark.parametrize("name", BINANCE_TRADE_STREAMS)
def test_recorded_binance_trade_streams_are_read_without_an_unexplained_frame(recorded: Read, name: str) -> None:
    """These streams carry single trades; each is read as an aggregate of one."""
    lines = [line.partition(" ")[2] for line in recorded(name).splitlines()]
    frames = [line for line in lines if '"lastUpdateId"' not in line]
    assert len(lines) - len(frames) <= 1, "one answer of REST stands among the frames"
    wire = subscribed(frames)
    read: list[Message | str] = []
    for frame in frames:
        event = json.loads(frame)["data"]
        if event.get("e") == "trade":
            event |= {"e": "aggTrade", "a": event["t"], "f": event["t"], "l": event["t"]}
            frame = json.dumps({"stream": "btcusdt@aggTrade", "data": event})  # noqa: PLW2901
        read.append(read_binance(wire, frame))
    assert {one for one in read if isinstance(one, str)} <= {"depthUpdate", "bookTicker"}
    trades = [row for one in read if isinstance(one, TradesFrame) for row in one.records]
    ids = [int(trade.trade_id) for trade in trades]
    assert len(trades) > 9000
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert all(trade.timestamp_us <= later.timestamp_us for trade, later in pairwise(trades))


@pytest.mark.parametrize("name", BINANCE_SESSIONS)
def test_binance_candle_updates_agree_with_the_trades_they_count(recorded: Read, name: str) -> None:
    """Wherever the recorded aggregates make up exactly the ids of a candle update, they fold to it."""
    frames = [frame for frame in frames_of(recorded(name)) if '"aggTrade"' in frame or '"kline"' in frame]
    wire = subscribed(frames)
    spans: dict[str, list[tuple[int, int, Trade]]] = defaultdict(list)
    candles: list[Candle] = []
    for frame in frames:
        message = wire.parse(frame.encode(), LATEST_US)
        if isinstance(message, TradesFrame):
            event = json.loads(frame)["data"]
            spans[event["s"]].append((event["f"], event["l"], message.records[0]))
        elif isinstance(message, CandlesFrame):
            candles += message.records
    compared = 0
    for candle in candles:
        if not candle.trades or candle.first_id is None or candle.last_id is None:
            continue
        inside = [
            (first, last, trade)
            for first, last, trade in spans[candle.symbol]
            if candle.first_id <= first and last <= candle.last_id
        ]
        if sum(last - first + 1 for first, last, _ in inside) != candle.trades:
            continue
        assert fold(candle.symbol, [trade for _, _, trade in inside])[:7] == pytest.approx(shape(candle))
        compared += 1
    assert compared >= (30 if "2021-04-04" in name else 1)


def test_recorded_binance_rest_answers_are_read(recorded: Read) -> None:
    routes = json.loads(recorded("binance/gocryptotrader/http_mock.json.gz"))["routes"]
    candles = 0
    for answer in routes["/api/v3/klines"]["GET"]:
        if isinstance(answer["data"], list):
            read = binance_mapper.parse_candles(json.dumps(answer["data"]).encode(), "BTC/USDT", "1m")
            assert len(read.rows) == len(answer["data"])
            assert not read.unreadable
            candles += len(read.rows)
    assert candles > 400
    (first, *_) = routes["/api/v3/aggTrades"]["GET"]
    trades = binance_mapper.parse_trades(
        json.dumps(first["data"]).encode(), "BTC/USDT", first_id=None, start_us=0, cursor=-1
    )
    assert [int(row.trade_id) for row in trades.rows] == [row["a"] for row in first["data"]]


def test_recorded_binance_markets_are_listed_by_unified_symbol(recorded: Read) -> None:
    text = recorded("binance/cryptofeed/2021-10-12_BINANCE.0.gz").splitlines()[0]
    listings = binance_mapper.parse_listings(text.split(": ", 1)[1].encode())
    assert len(listings) == 1695
    assert listings["BTC/USDT"].wire == {"rest": "BTCUSDT", "ws": "BTCUSDT"}
    assert 0 < sum(listing.active for listing in listings.values()) < len(listings)
