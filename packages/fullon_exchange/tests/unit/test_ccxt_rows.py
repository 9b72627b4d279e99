"""ccxt's rows become records, or are refused with a reason; the conventions of an untested exchange are judged."""

import math
from typing import Any

import ccxt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.ccxt_adapter.conventions import shift_of
from fullon_exchange.ccxt_adapter.dialects import KrakenDialect, Sent, dialect_of, exact_micros
from fullon_exchange.ccxt_adapter.failures import translate
from fullon_exchange.ccxt_adapter.rows import Quiet, Unreadable, candle_of, in_order, trade_of
from fullon_exchange.ccxt_adapter.traits import derive, timeframes_of
from fullon_exchange.errors import (
    ExchangeUnavailable,
    MalformedMessage,
    NotSupported,
    RateLimited,
    RequestRefused,
    UnknownSymbol,
)
from fullon_exchange.records import EARLIEST_US, Candle, Trade
from fullon_exchange.timeframes import parse_timeframe
from fullon_exchange.wire import Acknowledged, Refused

MINUTE = parse_timeframe("1m")
MINUTE_US = 60_000_000
NOON_MS = 1_767_225_600_000

anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(NOON_MS), st.lists(st.none())
)


@given(st.lists(anything, max_size=8))
def test_a_candle_is_whole_and_in_range_or_no_candle(row: list[Any]) -> None:
    try:
        candle = candle_of(row, "BTC/USD", MINUTE, closed=True)
    except (Quiet, Unreadable):
        return
    assert candle.timestamp_us >= EARLIEST_US
    assert candle.timestamp_us % MINUTE_US == 0
    assert all(0 < price < 1e18 for price in (candle.open, candle.high, candle.low, candle.close))
    assert 0 <= candle.volume < 1e18


@given(st.fixed_dictionaries(dict.fromkeys(("timestamp", "price", "amount", "side", "id", "type"), anything)))
def test_a_trade_is_whole_and_in_range_or_no_trade(row: dict[str, Any]) -> None:
    for side in (row["side"], "buy"):
        try:
            trade = trade_of(row | {"side": side}, "BTC/USD")
        except Unreadable:
            continue
        assert trade.timestamp_us >= EARLIEST_US
        assert 0 < trade.price < 1e18 or trade.volume == 0
        assert 0 <= trade.volume < 1e18
        assert trade.side in ("buy", "")
        assert trade.order_type in ("", "market", "limit")


@pytest.mark.parametrize(
    "row",
    [
        [None] * 6,
        ["<", None, None, None, None, None],
        [NOON_MS, 1.0, 1.0, 1.0, 1.0, None],
        [NOON_MS, 1.0, math.nan, 1.0, 1.0, 1.0],
        [NOON_MS, 1.0, -1.0, 1.0, 1.0, 1.0],
        [NOON_MS // 1000, 1.0, 1.0, 1.0, 1.0, 1.0],
        [NOON_MS + 59_999, 1.0, 1.0, 1.0, 1.0, 1.0],
        [NOON_MS, 1.0, 1.0, 1.0, 1.0],
    ],
)
def test_rows_that_ccxt_lets_through_are_refused(row: list[Any]) -> None:
    with pytest.raises(Unreadable):
        candle_of(row, "BTC/USD", MINUTE, closed=True)


def trade(timestamp_us: int, trade_id: str, price: float = 1.0) -> Trade:
    return Trade("BTC/USD", timestamp_us, price, 1.0, "buy", trade_id)


def test_trades_of_one_instant_are_in_the_order_of_their_numbers_not_of_their_text() -> None:
    at_us = NOON_MS * 1000
    rows = [trade(at_us, "1000"), trade(at_us, "999"), trade(at_us - 1, "5000")]
    assert [one.trade_id for one in in_order(rows)] == ["5000", "999", "1000"]


def test_trades_without_ids_are_told_apart_by_content_and_number() -> None:
    at_us = NOON_MS * 1000
    rows = [trade(at_us, ""), trade(at_us, ""), trade(at_us, "", 2.0)]
    named = [one.trade_id for one in in_order(rows)]
    assert len(set(named)) == 3
    assert sorted(named) == sorted(one.trade_id for one in in_order(list(reversed(rows))))


def test_an_exact_time_is_cut_and_not_rounded() -> None:
    assert exact_micros("1767225659.9999999") == 1_767_225_659_999_999
    assert exact_micros("no time") is None


def minute_candle(minute: int, trades: list[Trade], shift: int) -> Candle:
    prices = [one.price for one in trades]
    open_us = (NOON_MS * 1000) + (minute + shift) * MINUTE_US
    return Candle("BTC/USD", "1m", open_us, prices[0], max(prices), min(prices), prices[-1], 1.0, None, closed=True)


@pytest.mark.parametrize("shift", [0, 1])
def test_trades_tell_whether_candles_are_stamped_with_their_open_time(shift: int) -> None:
    trades, candles = [], []
    for minute in range(6):
        rows = [
            trade(
                NOON_MS * 1000 + (minute * 60 + second) * 1_000_000, f"{minute}-{second}", 100.0 + minute * 7 + second
            )
            for second in (1, 20, 59)
        ]
        trades += rows
        candles.append(minute_candle(minute, rows, shift))
    assert shift_of(candles, trades) == shift
    assert shift_of(candles, trades[:4]) is None
    assert shift_of([], trades) is None


def test_traits_say_what_can_be_had() -> None:
    has = {"fetchOHLCV": True, "fetchTrades": True, "watchTrades": None}
    traits = derive("x", has, {"1m": "1", "1h": "60", "1y": "y", "1d": "D"}, rate_limit_ms=100.0)
    assert traits.timeframes == ("1m", "1h", "1d")
    assert not traits.candles_from_trades
    assert not traits.candle_closed_flag
    assert traits.trade_history
    assert not traits.tested
    assert derive("x", has, {"1h": "60"}, rate_limit_ms=100.0).candles_from_trades
    assert derive("x", {"watchTrades": True}, None, rate_limit_ms=100.0).candles_from_trades
    assert timeframes_of({"fetchOHLCV": "emulated"}, {"1m": "1"}) == ()
    with pytest.raises(NotSupported, match="x: ccxt gets neither candles nor public trades from it"):
        derive("x", {"fetchOHLCV": "emulated", "fetchTrades": None}, {"1m": "1"}, rate_limit_ms=100.0)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (ccxt.RateLimitExceeded("slow down"), RateLimited),
        (ccxt.DDoSProtection("slow down"), RateLimited),
        (ccxt.RequestTimeout("no answer"), ExchangeUnavailable),
        (ccxt.ExchangeNotAvailable("502"), ExchangeUnavailable),
        (ccxt.OnMaintenance("back soon"), ExchangeUnavailable),
        (ccxt.NullResponse("nothing"), ExchangeUnavailable),
        (ccxt.BadSymbol("which?"), UnknownSymbol),
        (ccxt.AuthenticationError("apiKey"), NotSupported),
        (ccxt.ArgumentsRequired("wallet"), NotSupported),
        (ccxt.BadRequest("no"), RequestRefused),
        (KeyError("result"), MalformedMessage),
        (TypeError("None"), MalformedMessage),
    ],
)
def test_ccxts_errors_become_ours(theirs: Exception, ours: type[Exception]) -> None:
    error = translate(theirs, exchange="x", symbol="BTC/USD", retry_after_s=7.0)
    assert type(error) is ours
    assert error.exchange == "x"
    if isinstance(error, RateLimited):
        assert error.retry_after_s == 7.0


KEYS = (("trades", "BTC/USD"), ("trades", "DOGE/USD"))


def test_krakens_answers_are_read_symbol_by_symbol() -> None:
    dialect, sent = dialect_of("kraken"), [Sent(KEYS, {"req_id": 3, "method": "subscribe"}, subscribe=True)]
    told = {"method": "subscribe", "req_id": 3, "success": True, "result": {"symbol": "BTC/USD"}}
    assert dialect.answer(told, sent) == Acknowledged([KEYS[0]], subscribed=True)
    no = {"method": "subscribe", "req_id": 3, "success": False, "symbol": "DOGE/USD"}
    assert dialect.answer(no | {"error": "Currency pair not supported"}, sent) == Refused(
        [KEYS[1]], "Currency pair not supported", final=True
    )
    assert dialect.answer(no | {"error": "Already subscribed"}, sent) == Acknowledged([KEYS[1]], subscribed=True)
    rate = {"method": "subscribe", "req_id": 3, "success": False, "error": "Exceeded msg rate"}
    assert dialect.answer(rate, sent) == Refused(list(KEYS), "Exceeded msg rate", final=False)
    assert dialect.answer({"channel": "heartbeat"}, sent) is None


def test_binances_and_hyperliquids_answers_are_read() -> None:
    sent = [Sent(KEYS, {"id": 3}, subscribe=True)]
    assert dialect_of("binance").answer({"result": None, "id": 3}, sent) == Acknowledged(KEYS, subscribed=True)
    refused = {"error": {"code": 2, "msg": "invalid stream"}, "id": 3}
    assert dialect_of("binance").answer(refused, sent) == Refused(KEYS, "invalid stream", final=True)
    asked = {"type": "trades", "coin": "BTC"}
    sent = [Sent(KEYS[:1], {"method": "subscribe", "subscription": asked}, subscribe=True)]
    told = {"channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": asked}}
    assert dialect_of("hyperliquid").answer(told, sent) == Acknowledged(KEYS[:1], subscribed=True)
    error = {"channel": "error", "data": 'Already subscribed: {"type":"trades","coin":"BTC"}'}
    assert dialect_of("hyperliquid").answer(error, sent) == Acknowledged(KEYS[:1], subscribed=True)
    error = {"channel": "error", "data": 'Invalid subscription {"coin":"BTC","type":"trades"}'}
    assert isinstance(dialect_of("hyperliquid").answer(error, sent), Refused)
    assert dialect_of("bitvavo").answer(told, sent) is None


def test_kraken_is_not_streamed_under_the_name_of_another_market() -> None:
    dialect = KrakenDialect()
    assert dialect.why_not_streamed("BTC/USD", {"info": {"wsname": "XBT/USD"}}) == ""
    assert dialect.why_not_streamed("DOGE/USD", {"info": {"wsname": "XDG/USD"}}) == ""
    assert "LUNA2/USD" in dialect.why_not_streamed("LUNA/USD", {"info": {"wsname": "LUNA2/USD"}})


def test_a_frame_of_several_markets_is_cut_into_frames_of_one() -> None:
    frame = {"channel": "trade", "data": [{"symbol": "A"}, {"symbol": "B"}, {"symbol": "A"}]}
    parts = KrakenDialect().parts(frame)
    assert [[row["symbol"] for row in part["data"]] for part in parts] == [["A", "A"], ["B"]]
