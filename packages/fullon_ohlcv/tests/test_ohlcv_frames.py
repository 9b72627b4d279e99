"""Frames and coverage say the same as fetch_ohlcv and the ledger, in pandas and in Polars."""

import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from fullon_ohlcv.records import CandleRow, CandleWrite, Interval, State, TradeWrite
from fullon_ohlcv.repositories.ohlcv import TimeseriesRepository
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import DAY_US, HOUR_US, MINUTE_US, Timeframe, from_us, to_us

START_US = to_us(datetime.fromisoformat("2024-02-29T00:00+00:00"))
"""A Thursday, a leap day, the end of a month."""
NUMBERS = ["open", "high", "low", "close", "volume"]
MARKS = ["known_minutes", "complete"]


def at(minute: int) -> int:
    return START_US + minute * MINUTE_US


def when(minute: int) -> datetime:
    return from_us(at(minute))


def candle(minute: int, close: float = 2.0) -> CandleRow:
    return at(minute), 1.0, 9.0, 1.0, close, 1.0, 1


@pytest.fixture
async def repository(store: TimeseriesStore) -> TimeseriesRepository:
    repository = TimeseriesRepository("binance", "BTC/USDT")
    repository._store = store
    return repository


def without_na(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"reason": "object"}).replace({"reason": {pd.NA: None}})


async def save(
    store: TimeseriesStore,
    rows: Sequence[CandleRow],
    covered: Sequence[Interval],
    unavailable: Sequence[tuple[Interval, str]] = (),
    channel: str = "candles1m",
) -> None:
    series = await store.series("binance", "BTC/USDT", channel)
    await store.write_candles([CandleWrite(series, rows, covered, unavailable)])


@pytest.fixture
async def with_gaps(store: TimeseriesStore) -> None:
    """Minutes 0 and 3 traded, 4 empty, 5 and 6 unknown, 7 empty, 8 traded, 9 empty, 10 and 11 lost, 12 empty."""
    covered = [(at(0), at(5)), (at(7), at(10)), (at(12), at(13))]
    await save(store, [candle(0), candle(3, 5.0), candle(8, 4.0)], covered, [((at(10), at(12)), "the venue was down")])


@pytest.mark.usefixtures("with_gaps")
async def test_flat_rows_are_marked_and_no_gap_is_filled(repository: TimeseriesRepository) -> None:
    frame = await repository.fetch_ohlcv_df(1, "minutes", when(0), when(20), fill="flat")
    minutes = [(to_us(one.to_pydatetime()) - START_US) // MINUTE_US for one in frame.index]
    assert list(zip(minutes, frame["close"], frame["filled"], strict=True)) == [
        (0, 2.0, False), (1, 2.0, True), (2, 2.0, True), (3, 5.0, False), (4, 5.0, True),
        (8, 4.0, False), (9, 4.0, True),
    ]  # fmt: skip
    assert frame["filled"].dtype == bool
    assert (frame.loc[frame["filled"], "volume"] == 0).all()


@pytest.mark.usefixtures("with_gaps")
async def test_a_bucket_with_one_minute_unknown_or_unavailable_is_not_filled(repository: TimeseriesRepository) -> None:
    rows = await repository.fetch_ohlcv(2, "minutes", when(0), when(14), fill="flat")
    assert [(to_us(row[0]) - START_US) // MINUTE_US for row in rows] == [0, 2, 8]


@settings(max_examples=40)
@given(
    states=st.lists(st.sampled_from("tteeeeu?"), min_size=1, max_size=40),
    count=st.sampled_from([1, 2, 5]),
    skipped=st.integers(0, 10),
)
async def test_flat_stands_wherever_the_price_is_known_and_nowhere_else(
    store: TimeseriesStore, states: list[str], count: int, skipped: int
) -> None:
    """Of every minute: traded, verified empty, unavailable or unknown; asked from some minute on, in buckets."""
    async with store.connection("count") as connection:
        name = f"S{await connection.fetchval('SELECT count(*) FROM series')}"
    series = await store.series("binance", name, "candles1m")
    minutes = list(enumerate(states))
    rows = [candle(minute, minute + 2.0) for minute, state in minutes if state == "t"]
    covered = [(at(minute), at(minute + 1)) for minute, state in minutes if state in "te"]
    lost = [((at(minute), at(minute + 1)), "lost") for minute, state in minutes if state == "u"]
    await store.write_candles([CandleWrite(series, rows, covered, lost)])
    repository = TimeseriesRepository("binance", name)
    repository._store = store
    asked = count, "minutes", when(skipped), when(len(states))
    got = await repository.fetch_ohlcv_df(*asked, fill="flat", incomplete="keep")

    beginning = -(-skipped // count) * count
    before = [minute for minute in range(min(beginning, len(states))) if states[minute] == "t"]
    is_known = bool(before) and set(states[before[-1] : beginning]) <= set("te")
    price = before[-1] + 2.0 if is_known else None
    expected = []
    for first in range(beginning, len(states), count):
        bucket = states[first : first + count]
        if "t" in bucket:
            close = first + max(number for number, state in enumerate(bucket) if state == "t") + 2.0
            expected.append((first, close, False))
            price = close if set(bucket) <= set("te") else None
        elif set(bucket) != {"e"}:
            price = None
        elif price is not None:
            expected.append((first, price, True))
    starts = [(to_us(one.to_pydatetime()) - START_US) // MINUTE_US for one in got.index]
    assert list(zip(starts, got["close"], got["filled"], strict=True)) == expected
    buckets = {first: states[first : first + count] for first in starts}
    assert list(got["known_minutes"]) == [sum(state in "te" for state in buckets[first]) for first in starts]
    assert list(got["complete"]) == [known == count for known in got["known_minutes"]]
    dropped = await repository.fetch_ohlcv_df(*asked, fill="flat")
    assert_frame_equal(dropped, got[got["complete"]])
    if set(states[beginning:]) <= set("te") and len(states) % count == 0:
        assert len(await repository.fetch_ohlcv(*asked, fill="flat", incomplete="raise")) == len(got)


@pytest.mark.usefixtures("with_gaps")
async def test_none_fills_nothing_and_has_no_mark(repository: TimeseriesRepository) -> None:
    plain = await repository.fetch_ohlcv(1, "minutes", when(0), when(20))
    assert await repository.fetch_ohlcv(1, "minutes", when(0), when(20), fill="none") == plain
    frame = await repository.fetch_ohlcv_df(1, "minutes", when(0), when(20), fill="none")
    assert list(frame.columns) == [*NUMBERS, *MARKS]
    assert list(frame[NUMBERS].itertuples(name=None)) == plain


async def test_minutes_that_are_only_known_to_be_unavailable_are_not_filled(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    await save(store, [candle(0), candle(3)], [], [((at(1), at(3)), "never served")])
    assert len(await repository.fetch_ohlcv(1, "minutes", when(0), when(9), fill="flat", incomplete="keep")) == 2
    assert await repository.fetch_ohlcv(1, "minutes", when(0), when(9), fill="flat") == []


async def test_the_price_before_the_range_is_that_of_the_last_trade_where_trades_are_folded_when_read(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    await save(store, [candle(0)], [(at(0), at(1))])
    trades = await store.series("binance", "BTC/USDT", "trades")
    rows = [(at(2) + n, 7.0 + n, 1.0, "buy", "", str(9 + n)) for n in range(3)]
    await store.write_trades([TradeWrite(trades, rows, [(at(1), at(6))])])
    flat = await repository.fetch_ohlcv(1, "minutes", when(4), when(9), fill="flat")
    assert [row[4] for row in flat] == [9.0, 9.0], "minutes 4 and 5"
    states = await repository.coverage(when(0), when(7), per="minute")
    assert [one.state for one in states] == [
        State.TRADED, State.VERIFIED_EMPTY, State.TRADED, *[State.VERIFIED_EMPTY] * 3, State.UNKNOWN,
    ]  # fmt: skip


async def test_both_frames_hold_the_same_as_fetch_ohlcv_in_every_timeframe(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    chance = random.Random(1)
    minutes = sorted(chance.sample(range(-90 * 1440, 90 * 1440), 400))
    await save(store, [candle(minute, chance.uniform(1, 9)) for minute in minutes], [(at(-90 * 1440), at(90 * 1440))])
    for name in ("1m", "7m", "1h", "1d", "1w", "1M", "3M"):
        step = Timeframe.parse(name)
        width = timedelta(minutes=400 if step.unit == "minute" else 90 * 1440)
        asked = step.count, step.unit, when(minutes[0]) - width, when(minutes[0]) + width
        rows = await repository.fetch_ohlcv(*asked, fill="flat", incomplete="keep")
        plain = await repository.fetch_ohlcv(*asked, incomplete="keep")
        frame = await repository.fetch_ohlcv_df(*asked, fill="flat", incomplete="keep")
        other = await repository.fetch_ohlcv_df(*asked, fill="flat", incomplete="keep", library="polars")
        assert list(frame[NUMBERS].itertuples(name=None)) == rows
        assert list(frame.loc[~frame["filled"], NUMBERS].itertuples(name=None)) == plain
        assert frame["filled"].any() == (len(rows) > len(plain))
        assert other.select("timestamp", *NUMBERS).rows() == rows
        for mark in (*MARKS, "filled"):
            assert other[mark].to_list() == frame[mark].to_list()
        starts = [to_us(row[0]) for row in rows]
        assert all(step.floor(start) == start for start in starts)
        assert [step.next(start) for start in starts[:-1]] == starts[1:], "nothing was missing from the ledger"


async def test_frames_keep_their_types_when_nothing_is_in_them(repository: TimeseriesRepository) -> None:
    frame = await repository.fetch_ohlcv_df(1, "minute", when(0), when(5), fill="flat")
    other = await repository.fetch_ohlcv_df(1, "minute", when(0), when(5), fill="flat", library="polars")
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert str(frame.index.tz) == "UTC"
    assert [str(kind) for kind in frame.dtypes] == ["float64"] * 5 + ["int64", "bool", "bool"]
    assert list(other.schema.items()) == [
        ("timestamp", pl.Datetime("us", "UTC")), *((name, pl.Float64()) for name in NUMBERS),
        ("known_minutes", pl.Int64()), ("complete", pl.Boolean()), ("filled", pl.Boolean()),
    ]  # fmt: skip


@pytest.mark.usefixtures("with_gaps")
async def test_coverage_tells_intervals_and_minutes_with_state_and_reason(repository: TimeseriesRepository) -> None:
    intervals = await repository.coverage(when(-1), when(13))
    assert [(one.timestamp, one.end, one.state.value, one.reason) for one in intervals] == [
        (when(-1), when(0), "unknown", None),
        (when(0), when(5), "covered", None),
        (when(5), when(7), "unknown", None),
        (when(7), when(10), "covered", None),
        (when(10), when(12), "unavailable", "the venue was down"),
        (when(12), when(13), "covered", None),
    ]
    minutes = await repository.coverage(when(2), when(13), per="minute")
    assert [one.state.value for one in minutes] == [
        "verified_empty", "traded", "verified_empty", "unknown", "unknown", "verified_empty", "traded",
        "verified_empty", "unavailable", "unavailable", "verified_empty",
    ]  # fmt: skip
    assert [one.reason for one in minutes if one.reason] == ["the venue was down"] * 2
    assert [one.end - one.timestamp for one in minutes] == [timedelta(minutes=1)] * 11


@pytest.mark.usefixtures("with_gaps")
async def test_coverage_frames_join_the_candles(repository: TimeseriesRepository) -> None:
    span = when(0), when(13)
    candles = await repository.fetch_ohlcv_df(1, "minutes", *span)
    coverage = await repository.coverage_df(*span, per="minute")
    joined = coverage.join(candles)
    assert list(joined.loc[joined["close"].notna(), "state"].unique()) == ["traded"]
    other = await repository.coverage_df(*span, per="minute", library="polars")
    assert other.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert other["state"].to_list() == list(coverage["state"])
    assert other["reason"].to_list() == without_na(coverage)["reason"].to_list()
    runs = await repository.coverage_df(*span)
    assert list(without_na(runs).itertuples(name=None)) == await repository.coverage(*span)
    nothing = await repository.coverage_df(when(0), when(0))
    assert_frame_equal(nothing, runs.head(0))


async def test_of_an_unknown_symbol_everything_is_unknown(repository: TimeseriesRepository) -> None:
    assert [one.state for one in await repository.coverage(when(0), when(5))] == [State.UNKNOWN]
    assert len(await repository.coverage(when(0), when(5), per="minute")) == 5
    assert await repository.store.find_series("binance", "BTC/USDT", "candles1m") is None


async def test_coarser_candles_leave_their_minutes_unavailable(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    day = (START_US, START_US + DAY_US)
    await save(store, [], [], [(day, "beyond retention")])
    await save(store, [(START_US + HOUR_US, 1.0, 2.0, 1.0, 2.0, 5.0, 7)], [day], channel="candles1h")
    hours = await repository.fetch_ohlcv_df(1, "hour", from_us(day[0]), from_us(day[1]), fill="flat")
    assert (len(hours), int(hours["filled"].sum())) == (23, 22)
    [only] = await repository.coverage(from_us(day[0]), from_us(day[1]))
    assert (only.state, only.reason) == (State.UNAVAILABLE, "beyond retention")


async def test_wrong_arguments_are_named_with_what_is_allowed(repository: TimeseriesRepository) -> None:
    minute: Any = (1, "minutes", when(0), when(1))
    naive = when(0).replace(tzinfo=None)
    for call, arguments, options, named in (
        (repository.fetch_ohlcv_df, minute, {"library": "dask"}, "dask"),
        (repository.fetch_ohlcv_df, minute, {"fill": "zero"}, "zero"),
        (repository.fetch_ohlcv, minute, {"incomplete": "hide"}, "hide"),
        (repository.coverage, (when(0), when(1)), {"per": "hour"}, "hour"),
        (repository.coverage, (when(1), when(0)), {}, "interval"),
        (repository.coverage, (naive, when(1)), {}, "time zone"),
    ):
        with pytest.raises(ValueError, match=f"{named}.*allowed"):
            await call(*arguments, **options)


def test_a_missing_polars_is_one_sentence_with_the_remedy() -> None:
    program = (
        "import sys; sys.modules['polars'] = None\n"
        "import fullon_ohlcv.repositories.ohlcv\n"
        "from fullon_ohlcv.frames import checked_library\n"
        "checked_library('pandas')\n"
        "try: checked_library('polars')\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert "pip install 'fullon-ohlcv[polars]'" in done.stdout
