"""Timeframes: parsing and calendar arithmetic, in UTC always."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_ohlcv.timeframe import MINUTE_US, Timeframe, from_us, timeframe_of_channel, to_us

TIMES = st.integers(to_us(datetime(2009, 1, 3, tzinfo=UTC)), to_us(datetime(2100, 1, 1, tzinfo=UTC)))
TIMEFRAMES = st.sampled_from(
    ["1m", "5m", "7m", "15m", "1h", "4h", "1d", "3d", "1w", "2w", "1M", "3M", "5M", "12M"]
).map(Timeframe.parse)


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(text + "+00:00"))


@given(TIMEFRAMES, TIMES)
def test_every_instant_lies_in_exactly_one_bucket(timeframe: Timeframe, at_us: int) -> None:
    start_us = timeframe.floor(at_us)
    assert start_us <= at_us < timeframe.next(start_us)
    assert timeframe.floor(start_us) == start_us
    assert timeframe.floor(timeframe.next(start_us) - 1) == start_us
    assert timeframe.ceil(at_us) == (start_us if start_us == at_us else timeframe.next(start_us))


@given(TIMEFRAMES, TIMEFRAMES, TIMES)
def test_a_timeframe_that_divides_another_has_its_bucket_starts(fine: Timeframe, coarse: Timeframe, at_us: int) -> None:
    if fine.divides(coarse):
        start_us = coarse.floor(at_us)
        assert fine.floor(start_us) == start_us


@pytest.mark.parametrize(
    ("fine", "coarse", "whole"),
    [
        ("1m", "1M", True), ("7m", "1d", False), ("7m", "7h", True), ("1h", "1d", True), ("1d", "1w", True),
        ("3d", "1w", False), ("1w", "1M", False), ("1d", "1M", True), ("1M", "3M", True), ("2M", "3M", False),
        ("1M", "1d", False), ("1w", "2w", True), ("5m", "1m", False), ("3d", "3w", False), ("1m", "1m", True),
    ],
)  # fmt: skip
def test_which_timeframe_is_made_of_which(fine: str, coarse: str, whole: bool) -> None:
    assert Timeframe.parse(fine).divides(Timeframe.parse(coarse)) is whole


@pytest.mark.parametrize(
    ("timeframe", "at", "start"),
    [
        ("1w", "2024-12-31T23:59:59", "2024-12-30T00:00:00"),
        ("1w", "1970-01-01T00:00:00", "1969-12-29T00:00:00"),
        ("1M", "2024-02-29T23:59:59.999999", "2024-02-01T00:00:00"),
        ("3M", "2023-12-31T23:59:59", "2023-10-01T00:00:00"),
        ("12M", "2023-12-31T23:59:59", "2023-01-01T00:00:00"),
        ("1d", "2024-03-10T07:30:00", "2024-03-10T00:00:00"),
        ("4h", "2024-03-10T07:30:00", "2024-03-10T04:00:00"),
    ],
)
def test_buckets_are_cut_by_the_utc_calendar(timeframe: str, at: str, start: str) -> None:
    assert from_us(Timeframe.parse(timeframe).floor(us(at))) == datetime.fromisoformat(start + "+00:00")


@pytest.mark.parametrize("text", ["1m", "15m", "1h", "1d", "1w", "1M"])
def test_the_short_form_survives_parsing(text: str) -> None:
    assert str(Timeframe.parse(text)) == text
    assert timeframe_of_channel(f"candles{text}") == Timeframe.parse(text)


def test_a_month_is_not_a_minute() -> None:
    assert Timeframe.parse("1M").unit == "month"
    assert Timeframe.parse("1m").unit == "minute"


@pytest.mark.parametrize("text", ["", "m", "0m", "-1m", "1", "1s", "1y", "01m", "1.5h", "1 m", "١m", "100000m"])
def test_other_texts_are_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        Timeframe.parse(text)


@pytest.mark.parametrize("channel", ["", "trade", "candles", "candles1", "Candles1m", "ticker"])
def test_unknown_channels_are_refused(channel: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        timeframe_of_channel(channel)


def test_trades_have_no_timeframe() -> None:
    assert timeframe_of_channel("trades") is None


@pytest.mark.parametrize("period", ["minute", "minutes", "hours", "Days", "WEEK", "months"])
def test_periods_are_singular_or_plural_in_any_case(period: str) -> None:
    assert Timeframe.of_period(2, period).unit == period.lower().removesuffix("s")


@pytest.mark.parametrize(("compression", "period"), [(0, "minutes"), (-1, "days"), (1, "year"), (1, ""), (True, "day")])
def test_unknown_periods_and_compressions_are_refused(compression: int, period: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        Timeframe.of_period(compression, period)


def test_datetimes_are_turned_exactly_and_in_any_zone() -> None:
    at = datetime(2024, 7, 1, 12, 0, 0, 123457, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert from_us(to_us(at)) == at
    assert to_us(datetime(1970, 1, 1, 0, 1, tzinfo=UTC)) == MINUTE_US
    with pytest.raises(ValueError, match="time zone"):
        to_us(datetime(2024, 7, 1))  # noqa: DTZ001
