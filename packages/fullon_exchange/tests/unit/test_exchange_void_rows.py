"""Rows that say nothing cost nothing but themselves: void trades, trades without a side, candles without prices."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from fullon_exchange.answers import TradeAnswer, VenueFacts
from fullon_exchange.binance import mapper as binance
from fullon_exchange.binance.wire import BinanceWire
from fullon_exchange.bitmex import mapper as bitmex
from fullon_exchange.bitmex.wire import BitmexWire
from fullon_exchange.ccxt_adapter.rows import Quiet, Unreadable, candle_of, trade_of
from fullon_exchange.clock import MINUTE_US, Clock
from fullon_exchange.history.reasons import Settle
from fullon_exchange.history.trades import trade_pages
from fullon_exchange.hyperliquid import mapper as hyperliquid
from fullon_exchange.hyperliquid.wire import HyperliquidWire
from fullon_exchange.kraken import mapper as kraken
from fullon_exchange.kraken.wire import KrakenWire
from fullon_exchange.records import Trade
from fullon_exchange.timeframes import parse_timeframe
from fullon_exchange.wire import TradesFrame, Wire

S = 1_700_000_040
US = S * 1_000_000
MS = S * 1000
ISO = "2023-11-14T22:14:00.000000Z"
LATEST_US = US + 10 * MINUTE_US
SYMBOL = "A/B"


def rows_like(row: dict[str, Any], volume: str, prices: list[str], side: str, number: str) -> list[dict[str, Any]]:
    """A good trade, two void ones, one without a side."""
    zero = type(row[volume])(0)
    void = {**row, volume: zero, **dict.fromkeys(prices, zero)}
    nulls = {**row, volume: zero, **dict.fromkeys(prices), side: None}
    numbered = [row, void, nulls, {**row, side: None}]
    names = [type(row[number])(at) if isinstance(row[number], int) else f"t{at}" for at in range(7, 11)]
    return [{**one, number: name} for one, name in zip(numbered, names, strict=True)]


KRAKEN_LIVE = {"symbol": "A/B", "side": "buy", "price": 5.0, "qty": 1.0, "trade_id": 1, "timestamp": ISO}
BINANCE = {"a": 1, "p": "5.0", "q": "1.0", "f": 1, "l": 1, "T": MS, "m": False, "M": True}
BITMEX = {"timestamp": ISO, "symbol": "A/B", "side": "Buy", "size": 1, "price": 5.0, "trdMatchID": "t"}
HYPERLIQUID = {"coin": "A/B", "side": "B", "px": "5.0", "sz": "1.0", "time": MS, "tid": 1}


def kraken_page() -> TradeAnswer:
    tail: list[Any] = ["l", ""]
    rows: list[list[Any]] = [
        ["5.0", "1.0", S, "b", *tail, 7],
        ["0", "0", S, "b", *tail, 8],
        [None, "0", S, "", *tail, 9],
        ["5.0", "1.0", S, "", "", "", 10],
    ]
    body = json.dumps({"error": [], "result": {"AB": rows, "last": str(S * 10**9)}})
    return kraken.parse_trades(body.encode(), SYMBOL, 0)


def binance_page() -> TradeAnswer:
    rows = rows_like(BINANCE, "q", ["p"], "m", "a")
    rows[1] |= {"f": -1, "l": -1}
    return binance.parse_trades(json.dumps(rows).encode(), SYMBOL, first_id=7, start_us=0, cursor=7)


def bitmex_page() -> TradeAnswer:
    rows = rows_like(BITMEX, "size", ["price"], "side", "trdMatchID")
    return bitmex.parse_trades(json.dumps(rows).encode(), SYMBOL, 0)


@pytest.mark.parametrize("page", [kraken_page, binance_page, bitmex_page])
def test_a_page_keeps_its_trades_and_the_ids_of_void_rows(page: Callable[[], TradeAnswer]) -> None:
    answer = page()
    assert answer.unreadable == []
    assert [(row.volume, row.side) for row in answer.rows] == [(1.0, "buy"), (0.0, "buy"), (0.0, ""), (1.0, "")]
    assert len({row.trade_id for row in answer.rows}) == 4


def frames_of(frame: dict[str, Any], rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps({**frame, "data": rows}).encode()]


@pytest.mark.parametrize(
    ("wire", "frames"),
    [
        (KrakenWire(), frames_of({"channel": "trade"}, rows_like(KRAKEN_LIVE, "qty", ["price"], "side", "trade_id"))),
        (
            BinanceWire(),
            [
                json.dumps({"e": "aggTrade", "E": MS, "s": "A/B", **row}).encode()
                for row in rows_like(BINANCE, "q", ["p"], "m", "a")
            ],
        ),
        (
            BitmexWire(),
            frames_of(
                {"table": "trade", "action": "insert"}, rows_like(BITMEX, "size", ["price"], "side", "trdMatchID")
            ),
        ),
        (HyperliquidWire(), frames_of({"channel": "trades"}, rows_like(HYPERLIQUID, "sz", ["px"], "side", "tid"))),
    ],
    ids=["kraken", "binance", "bitmex", "hyperliquid"],
)
def test_a_stream_keeps_its_trades_and_counts_void_rows(wire: Wire, frames: list[bytes]) -> None:
    wire.subscribe("trades", {"A/B": SYMBOL})
    messages = [wire.parse(frame, LATEST_US) for frame in frames]
    assert all(isinstance(message, TradesFrame) for message in messages)
    records = [record for message in messages for record in message.records]  # type: ignore[union-attr]
    faults = [fault.kind for message in messages for fault in message.faults]  # type: ignore[union-attr]
    assert [bool(record.volume) for record in records] == [True, False, False, True]
    assert [record.side for record in records][::3] == ["buy", ""]
    assert faults == ["void", "void"]


def test_a_combined_frame_of_a_void_aggregate_is_read_too() -> None:
    wire = BinanceWire()
    wire.subscribe("trades", {"A/B": SYMBOL})
    event = {"e": "aggTrade", "E": MS, "s": "A/B", **BINANCE, "p": "0", "q": "0", "f": -1, "l": -1}
    message = wire.parse(json.dumps({"stream": "x", "data": event}).encode(), LATEST_US)
    assert isinstance(message, TradesFrame)
    assert [(record.trade_id, record.volume) for record in message.records] == [("1", 0.0)]


def test_candles_without_prices_are_minutes_in_which_nothing_was_traded() -> None:
    minute = parse_timeframe("1m")
    rows = [[S, "5", "5", "5", "5", "5", "1.0", 3], [S + 60, None, None, None, None, None, "0", 0]]
    answer = kraken.parse_candles(json.dumps({"error": [], "result": {"AB": rows, "last": S}}).encode(), SYMBOL, "1m")
    assert (len(answer.rows), answer.quiet, answer.unreadable) == (1, [US + MINUTE_US], [])
    klines = [[MS, "5", "5", "5", "5", "1", MS, "1", 3, "0", "0", "0"], [MS + 60_000, *[None] * 4, "0", MS, "0", 0]]
    answer = binance.parse_candles(json.dumps(klines).encode(), SYMBOL, "1m")
    assert (len(answer.rows), answer.quiet, answer.unreadable) == (1, [US + MINUTE_US], [])
    one = {"t": MS, "s": "A", "i": "1m", "o": "5", "c": "5", "h": "5", "l": "5", "v": "1", "n": 3}
    void = {**one, "t": MS + 60_000, **dict.fromkeys("ochl"), "v": "0", "n": 0}
    answer = hyperliquid.parse_candles(json.dumps([one, void]).encode(), SYMBOL, minute)
    assert (len(answer.rows), answer.quiet, answer.unreadable) == (1, [US + MINUTE_US], [])
    with pytest.raises(Quiet) as quiet:
        candle_of([MS, None, None, None, None, 0], SYMBOL, minute, closed=True)
    assert quiet.value.timestamp_us == US
    with pytest.raises(Unreadable):
        candle_of([MS, None, None, None, None, 2.0], SYMBOL, minute, closed=True)


def test_through_ccxt_a_trade_may_be_void_or_without_a_side() -> None:
    row = {"timestamp": MS, "price": 5.0, "amount": 1.0, "side": None, "id": "7"}
    assert trade_of(row, SYMBOL) == Trade(SYMBOL, US, 5.0, 1.0, "", "7")
    assert trade_of({**row, "price": None, "amount": 0.0, "side": "buy"}, SYMBOL).volume == 0
    for wrong in ({"amount": -1.0}, {"amount": None}, {"price": 0.0}, {"side": "both"}):
        with pytest.raises(Unreadable):
            trade_of({**row, **wrong}, SYMBOL)


class OnePage:
    """Trades 1, 2 (void) and 3."""

    exchange, symbol, sequential = "kraken", SYMBOL, True

    def __init__(self) -> None:
        self.facts = VenueFacts(honours_cursor=True)

    def first_cursor(self, start_us: int) -> int:
        return 0

    async def fetch(self, cursor: int) -> TradeAnswer:
        rows = [
            Trade(SYMBOL, US + at, 5.0 if at != 2 else 0.0, 1.0 if at != 2 else 0.0, "buy", str(at)) for at in (1, 2, 3)
        ]
        return TradeAnswer(rows, 3)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        return None


async def test_a_void_trade_is_left_out_of_pages_and_its_id_is_not_missing() -> None:
    source = OnePage()
    clock, settle = Clock.from_env(), Settle(0)
    pages = [page async for page in trade_pages(source, US, US + MINUTE_US, clock=clock, settle=settle)]
    assert [row.trade_id for page in pages for row in page.records] == ["1", "3"]
    assert not any(page.doubtful or page.unavailable for page in pages)
    assert (pages[0].interval[0], pages[-1].interval[1]) == (US, US + MINUTE_US)
    assert source.facts.void_rows == 1
