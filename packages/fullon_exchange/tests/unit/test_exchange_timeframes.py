"""Timeframes are cut in UTC, whatever the machine's zone."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.timeframes import parse_timeframe

NAMES = ["1s", "1m", "5m", "1h", "4h", "1d", "3d", "1w", "1M"]


def us(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000


@given(name=st.sampled_from(NAMES), timestamp_us=st.integers(0, 4_102_444_800_000_000))
def test_a_timestamp_lies_in_the_candle_that_floor_names(name: str, timestamp_us: int) -> None:
    timeframe = parse_timeframe(name)
    start_us = timeframe.floor_us(timestamp_us)
    end_us = timeframe.next_us(start_us)
    assert start_us <= timestamp_us < end_us
    assert timeframe.floor_us(start_us) == start_us
    assert timeframe.floor_us(end_us) == end_us


@given(name=st.sampled_from(NAMES), candles=st.integers(0, 30), left_out=st.integers(0, 30))
def test_candles_are_consecutive_unless_one_is_left_out(name: str, candles: int, left_out: int) -> None:
    timeframe = parse_timeframe(name)
    starts_us = [timeframe.floor_us(us(2024, 1, 15))]
    for _ in range(candles):
        starts_us.append(timeframe.next_us(starts_us[-1]))
    assert timeframe.are_consecutive(starts_us)
    assert timeframe.are_consecutive([])
    if 0 < left_out < candles:
        assert not timeframe.are_consecutive(starts_us[:left_out] + starts_us[left_out + 1 :])
        assert not timeframe.are_consecutive(starts_us[: left_out + 1] + starts_us[left_out:])


def test_months_are_calendar_months_and_weeks_start_on_monday() -> None:
    month = parse_timeframe("1M")
    assert month.floor_us(us(2024, 2, 29, 23, 59)) == us(2024, 2, 1)
    assert month.next_us(us(2024, 2, 1)) == us(2024, 3, 1)
    assert month.next_us(us(2024, 12, 1)) == us(2025, 1, 1)
    assert parse_timeframe("1w").floor_us(us(2026, 11, 22)) == us(2026, 11, 16)


def test_days_do_not_follow_daylight_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    day = parse_timeframe("1d")
    assert day.next_us(day.floor_us(us(2026, 3, 8, 12))) == us(2026, 3, 9)


@pytest.mark.parametrize("name", ["", "m", "0m", "1x", "-1m", "1.5m", "2M", "１m", "1mm"])
def test_what_is_no_timeframe_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="timeframe is"):
        parse_timeframe(name)
