"""Which rows are refused, and that the sentence names field and value."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fullon_ohlcv.row_checks import CandleCheck, TradeCheck, is_empty_candle
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US, Timeframe, to_us

NOW_US = to_us(datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC))
AT_US = to_us(datetime(2026, 1, 1, tzinfo=UTC))
CANDLES = CandleCheck(Timeframe.parse("1m"), NOW_US)
TRADES = TradeCheck(NOW_US)
GOOD_CANDLE = (AT_US, 2.0, 3.0, 1.0, 2.5, 10.0, 4)
GOOD_TRADE = (AT_US + 7, 2.0, 0.5, "buy", "market", "T-1")
NAN, INF = float("nan"), float("inf")


def having(row: tuple[Any, ...], field: int, value: Any) -> tuple[Any, ...]:
    return (*row[:field], value, *row[field + 1 :])


@pytest.mark.parametrize(
    "row",
    [
        GOOD_CANDLE,
        list(GOOD_CANDLE),
        having(GOOD_CANDLE, 1, 9.0),  # BitMEX opens outside [low, high]
        having(GOOD_CANDLE, 6, None),
        (AT_US, 1, 1, 1, 1, 1, 1),
        (AT_US, 1.0, 1.0, 1.0, 1.0, 0.0, None),
        (AT_US, None, None, None, None, 0, 0),  # BitMEX 2015-09-25
        having(GOOD_CANDLE, 5, Decimal("0.1")),
        having(GOOD_CANDLE, 0, NOW_US - NOW_US % MINUTE_US + DAY_US),
    ],
)
def test_good_candles(row: Any) -> None:
    assert CANDLES.fault(row) is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (having(GOOD_CANDLE, 1, NAN), "open is nan"),
        (having(GOOD_CANDLE, 2, INF), "high is inf"),
        (having(GOOD_CANDLE, 3, None), "low is None"),
        (having(GOOD_CANDLE, 4, "2.5"), "close is '2.5'"),
        (having(GOOD_CANDLE, 1, 0.0), "open is 0.0"),
        (having(GOOD_CANDLE, 3, -1.0), "low is -1.0"),
        (having(GOOD_CANDLE, 4, 10**400), "close is 1000"),
        (having(GOOD_CANDLE, 5, -0.1), "volume is -0.1"),
        (having(GOOD_CANDLE, 5, NAN), "volume is nan"),
        (having(GOOD_CANDLE, 5, Decimal("NaN")), "volume is Decimal"),
        (having(GOOD_CANDLE, 6, -1), "trades is -1"),
        (having(GOOD_CANDLE, 6, 1.5), "trades is 1.5"),
        (having(GOOD_CANDLE, 6, 2**31), "trades is 2147483648"),
        (having(GOOD_CANDLE, 6, 0), "trades is 0 and volume is 10.0"),
        ((AT_US, 2.0, 1.0, 3.0, 2.0, 1.0, 1), "high 1.0 is below low 3.0"),
        (having(GOOD_CANDLE, 0, AT_US + 1), "not the open time of a 1m candle"),
        (having(GOOD_CANDLE, 0, 0), "timestamp is 0"),
        (having(GOOD_CANDLE, 0, AT_US // 1_000_000), "allowed is from 2009-01-03"),
        (having(GOOD_CANDLE, 0, NOW_US - NOW_US % MINUTE_US + DAY_US + MINUTE_US), "allowed is from"),
        (having(GOOD_CANDLE, 0, float(AT_US)), "allowed is a whole number"),
        (having(GOOD_CANDLE, 0, None), "timestamp is None"),
        (having(GOOD_CANDLE, 0, 10**30), "timestamp is 1000"),
        (GOOD_CANDLE[:6], "allowed are 7 fields"),
        ((*GOOD_CANDLE, 1), "allowed are 7 fields"),
        (None, "the row is None"),
        ("1234567", "allowed are 7 fields"),
        ({}, "the row is {}"),
    ],
)
def test_bad_candles_are_named(row: Any, said: str) -> None:
    fault = CANDLES.fault(row)
    assert fault is not None
    assert said in fault


@pytest.mark.parametrize("timeframe", ["5m", "1h", "1d", "1w", "1M"])
def test_candles_stand_on_the_open_time_of_their_timeframe(timeframe: str) -> None:
    frame = Timeframe.parse(timeframe)
    check = CandleCheck(frame, NOW_US)
    start_us = frame.floor(AT_US)
    assert check.fault(having(GOOD_CANDLE, 0, start_us)) is None
    assert "open time" in (check.fault(having(GOOD_CANDLE, 0, start_us + MINUTE_US)) or "")


def test_a_month_candle_may_not_start_a_month_late() -> None:
    check = CandleCheck(Timeframe.parse("3M"), NOW_US)
    assert "open time" in (check.fault(having(GOOD_CANDLE, 0, to_us(datetime(2025, 11, 1, tzinfo=UTC)))) or "")


@pytest.mark.parametrize(
    ("trades", "volume", "empty"), [(0, 0, True), (None, 0.0, True), (1, 0.0, False), (None, 0.1, False)]
)
def test_what_counts_as_an_empty_minute(trades: int | None, volume: float, empty: bool) -> None:
    assert is_empty_candle((AT_US, 1, 1, 1, 1, volume, trades)) is empty


@pytest.mark.parametrize(
    "row",
    [
        GOOD_TRADE,
        list(GOOD_TRADE),
        having(GOOD_TRADE, 5, None),
        having(GOOD_TRADE, 5, ""),
        having(GOOD_TRADE, 4, ""),
        having(GOOD_TRADE, 1, 7),
        having(GOOD_TRADE, 5, "ü" * 100),
    ],
)
def test_good_trades(row: Any) -> None:
    assert TRADES.fault(row) is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (having(GOOD_TRADE, 1, 0), "price is 0"),
        (having(GOOD_TRADE, 1, NAN), "price is nan"),
        (having(GOOD_TRADE, 1, "1"), "price is '1'"),
        (having(GOOD_TRADE, 2, 0.0), "volume is 0.0"),
        (having(GOOD_TRADE, 2, INF), "volume is inf"),
        (having(GOOD_TRADE, 3, "BUY"), "side is 'BUY'"),
        (having(GOOD_TRADE, 3, None), "side is None"),
        (having(GOOD_TRADE, 3, []), "side is []"),
        (having(GOOD_TRADE, 4, None), "order type is None"),
        (having(GOOD_TRADE, 4, "m" * 33), "order type is"),
        (having(GOOD_TRADE, 4, "\0"), "order type is"),
        (having(GOOD_TRADE, 5, 17), "trade id is 17"),
        (having(GOOD_TRADE, 5, "a\0b"), "trade id is"),
        (having(GOOD_TRADE, 5, "\ud800"), "trade id is"),
        (having(GOOD_TRADE, 5, "ü" * 101), "trade id is"),
        (having(GOOD_TRADE, 0, 1), "timestamp is 1"),
        (having(GOOD_TRADE, 0, True), "timestamp is True"),
        (GOOD_TRADE[:5], "allowed are 6 fields"),
        (7, "the row is 7"),
    ],
)
def test_bad_trades_are_named(row: Any, said: str) -> None:
    fault = TRADES.fault(row)
    assert fault is not None
    assert said in fault


def test_a_row_with_a_believable_time_is_placed() -> None:
    assert CANDLES.placed((AT_US + 5, "rubbish")) == AT_US
    assert TRADES.placed([AT_US + 5]) == AT_US + 5


@pytest.mark.parametrize("row", [None, (), (None,), (17,), ("x",), 5, (NOW_US + 2 * DAY_US,), {}])
def test_a_row_without_one_is_not(row: Any) -> None:
    assert CANDLES.placed(row) is None
    assert TRADES.placed(row) is None
