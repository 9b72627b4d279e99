"""Rolled-up candles against the same done in Python."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from fixed_clock import wall_now
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_ohlcv.records import CandleRow, CandleWrite, TradeWrite
from fullon_ohlcv.repositories.ohlcv import TimeseriesRepository
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import DAY_US, HOUR_US, MINUTE_US, Timeframe, from_us, to_us

Row = tuple[datetime, float, float, float, float, float]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rolled(candles: list[CandleRow], wanted: Timeframe, start: datetime, end: datetime) -> list[Row]:
    """What fetch_ohlcv promises, in Python."""
    buckets: dict[int, list[CandleRow]] = {}
    for row in sorted(candles):
        if row[0] < to_us(end):
            buckets.setdefault(wanted.floor(row[0]), []).append(row)
    return [
        (
            from_us(bucket_us),
            rows[0][1],
            max(row[2] for row in rows),
            min(row[3] for row in rows),
            rows[-1][4],
            float(sum(Decimal(repr(row[5])) for row in rows)),
        )
        for bucket_us, rows in sorted(buckets.items())
        if bucket_us >= to_us(start)
    ]


def random_candles(seed: int, start: datetime, count: int, step_us: int) -> list[CandleRow]:
    chance = random.Random(seed)
    rows: list[CandleRow] = []
    for number in range(count):
        if chance.random() < 0.8:
            low, high = sorted((chance.randrange(1, 900) / 8, chance.randrange(1, 900) / 8))
            open_ = chance.randrange(1, 900) / 8  # may lie outside, as BitMEX's does
            volume = chance.randrange(1, 10**6) / 1000
            rows.append((to_us(start) + number * step_us, open_, high, low, chance.choice([low, high]), volume, 1))
    return rows


@pytest.fixture
async def repository(store: TimeseriesStore) -> TimeseriesRepository:
    repository = TimeseriesRepository("binance", "BTC/USDT")
    repository._store = store
    return repository


async def save(store: TimeseriesStore, channel: str, rows: list[CandleRow], *covered: tuple[int, int]) -> None:
    series = await store.series("binance", "BTC/USDT", channel)
    await store.write_candles([CandleWrite(series, rows, covered)])


@pytest.mark.parametrize(
    ("compression", "period"),
    [(1, "minute"), (5, "minutes"), (7, "minutes"), (1, "hour"), (4, "hours"), (1, "day"), (3, "days"), (1, "week"),
     (2, "weeks"), (1, "month"), (3, "months"), (12, "months")],
)  # fmt: skip
async def test_any_compression_is_the_roll_up_of_minutes(
    store: TimeseriesStore, repository: TimeseriesRepository, compression: int, period: str
) -> None:
    """Across a leap day, DST days, a year's end: every 7 hours for two years, and a day of minutes."""
    sparse = random_candles(1, utc("2023-12-01"), 2400, 7 * HOUR_US)
    dense = random_candles(2, utc("2025-12-31"), 1440, MINUTE_US)
    await save(store, "candles1m", sparse + dense)
    wanted = Timeframe.of_period(compression, period)
    for start, end in (
        ("2023-01-01", "2027-01-01"),
        ("2024-02-28T13:00", "2024-03-11T07:30"),
        ("2025-12-31", "2026-01-02"),
    ):
        got = await repository.fetch_ohlcv(compression, period, utc(start), utc(end), incomplete="keep")
        assert got == rolled(sparse + dense, wanted, utc(start), utc(end))
        assert all(type(row) is tuple and row[0].tzinfo is not None for row in got)


async def test_weeks_begin_on_monday_and_months_by_the_calendar(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    rows: list[CandleRow] = [
        (to_us(utc(day)), 1.0, 1.0, 1.0, 1.0, 1.0, 1)
        for day in ("2024-02-29", "2024-03-03", "2024-03-04", "2024-03-31")
    ]
    await save(store, "candles1m", rows)
    weeks = await repository.fetch_ohlcv(1, "weeks", utc("2024-01-01"), utc("2025-01-01"))
    assert [row[0] for row in weeks] == [utc("2024-02-26"), utc("2024-03-04"), utc("2024-03-25")]
    months = await repository.fetch_ohlcv(1, "months", utc("2024-01-01"), utc("2025-01-01"))
    assert [(row[0], row[5]) for row in months] == [(utc("2024-02-01"), 1.0), (utc("2024-03-01"), 3.0)]


async def test_an_unknown_symbol_is_an_empty_list(repository: TimeseriesRepository) -> None:
    assert await repository.fetch_ohlcv(1, "minute", utc("2024-01-01"), utc("2025-01-01")) == []
    assert await repository.fetch_ohlcv(1, "minute", utc("2024-01-01"), utc("2025-01-01"), fill="flat") == []
    assert await repository.store.find_series("binance", "BTC/USDT", "candles1m") is None


async def test_an_empty_range_is_an_empty_list(store: TimeseriesStore, repository: TimeseriesRepository) -> None:
    await save(store, "candles1m", [(to_us(utc("2024-01-01")), 1.0, 1.0, 1.0, 1.0, 1.0, 1)])
    assert await repository.fetch_ohlcv(1, "minute", utc("2024-01-01"), utc("2024-01-01")) == []
    assert await repository.fetch_ohlcv(1, "minute", utc("2024-01-02"), utc("2024-01-01")) == []


@pytest.mark.parametrize(
    ("compression", "period", "fill"),
    [(0, "minutes", None), (1, "years", None), (1.5, "days", None), (1, "day", "zero")],
)
async def test_wrong_arguments_are_refused_by_value(
    repository: TimeseriesRepository, compression: int, period: str, fill: str | None
) -> None:
    with pytest.raises(ValueError, match="allowed"):
        await repository.fetch_ohlcv(compression, period, utc("2024-01-01"), utc("2024-01-02"), fill=fill)  # type: ignore[arg-type]


async def test_a_bucket_that_todate_cuts_holds_what_had_happened_by_then(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    rows = random_candles(3, utc("2024-01-01"), 240, MINUTE_US)
    await save(store, "candles1m", rows)
    asked = 1, "hour", utc("2024-01-01T00:30"), utc("2024-01-01T02:30")
    got = await repository.fetch_ohlcv(*asked, incomplete="keep")
    assert [row[0] for row in got] == [utc("2024-01-01T01:00"), utc("2024-01-01T02:00")]
    assert got == rolled(rows, Timeframe.parse("1h"), utc("2024-01-01T00:30"), utc("2024-01-01T02:30"))
    assert await repository.fetch_ohlcv(*asked) == got[:1], "the one that is cut is not complete"


async def test_coarser_candles_serve_the_part_that_minutes_do_not_reach(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    day = utc("2024-01-10")
    minutes = random_candles(4, day + timedelta(minutes=30), 600, MINUTE_US)
    hours = random_candles(5, day - timedelta(days=3), 24 * 4, HOUR_US)
    days = random_candles(6, day - timedelta(days=60), 61, DAY_US)
    first_us = to_us(day + timedelta(minutes=30))
    await save(store, "candles1m", minutes, (first_us, first_us + 600 * MINUTE_US))
    begun_us = to_us(day)
    await save(store, "candles1h", hours, (begun_us - 3 * DAY_US, begun_us + DAY_US))
    await save(store, "candles1d", days, (begun_us - 60 * DAY_US, begun_us + DAY_US))
    end = day + timedelta(minutes=30 + 600)

    got = await repository.fetch_ohlcv(1, "hour", day - timedelta(days=90), end, incomplete="keep")
    own_us = to_us(day + timedelta(hours=1))
    first_hour = rolled(minutes, Timeframe.parse("1h"), day, end)[:1]
    stored_first_hour = [row for row in hours if row[0] == to_us(day)]
    expected = (
        rolled([row for row in hours if row[0] <= to_us(day)], Timeframe.parse("1h"), day - timedelta(90), end)
        + ([] if stored_first_hour else first_hour)
        + rolled([row for row in minutes if row[0] >= own_us], Timeframe.parse("1h"), day, end)
    )
    assert got == expected

    assert await repository.fetch_ohlcv(1, "hour", day - timedelta(days=90), end) == got[:-1]
    assert await repository.fetch_ohlcv(5, "minutes", day - timedelta(days=90), end) == rolled(
        minutes, Timeframe.parse("5m"), day - timedelta(days=90), end
    )
    daily = await repository.fetch_ohlcv(1, "days", day - timedelta(days=90), end)
    hours_from = min(row[0] for row in hours)
    assert [row for row in daily if to_us(row[0]) < hours_from - DAY_US] == rolled(
        [row for row in days if row[0] < hours_from - DAY_US], Timeframe.parse("1d"), day - timedelta(days=90), end
    )


@pytest.mark.parametrize("is_there", [True, False], ids=["the coarser has it", "nobody has it"])
async def test_a_bucket_in_which_the_finer_candles_begin_is_made_of_both(
    store: TimeseriesStore, repository: TimeseriesRepository, is_there: bool
) -> None:
    """15m from 00:20 on, hours up to there: the day's second bucket of 4 hours loses neither part."""
    day = utc("2024-01-10")
    start_us, quarter_us = to_us(day), 15 * MINUTE_US
    whole: list[CandleRow] = [
        (start_us + at * quarter_us, 10.0 + at, 12.0 + at, 9.0 + at, 11.0 + at, 1.0, 1) for at in range(96)
    ]
    begun_us = start_us + 4 * HOUR_US + quarter_us
    hours = [
        (
            start_us + at * HOUR_US,
            whole[4 * at][1],
            whole[4 * at + 3][2],
            whole[4 * at][3],
            whole[4 * at + 3][4],
            4.0,
            4,
        )
        for at in range(5 if is_there else 4)
    ]
    fine = [row for row in whole if row[0] >= begun_us]
    await save(store, "candles15m", fine, (begun_us, start_us + DAY_US))
    await save(store, "candles1h", hours, (start_us, start_us + len(hours) * HOUR_US))
    known = whole if is_there else [row for row in whole if row in fine or row[0] < start_us + 4 * HOUR_US]
    for timeframe in ("1h", "4h", "1d"):
        wanted = Timeframe.parse(timeframe)
        asked = wanted.count, wanted.unit, day, day + timedelta(days=1)
        got = await repository.fetch_ohlcv(*asked, incomplete="keep")
        assert got == rolled(known, wanted, day, day + timedelta(days=1)), timeframe
        whole_only = [row for row in got if is_there or wanted.next(to_us(row[0])) <= start_us + 4 * HOUR_US]
        whole_only += [row for row in got if not is_there and to_us(row[0]) >= start_us + 5 * HOUR_US]
        assert await repository.fetch_ohlcv(*asked) == whole_only, timeframe


async def test_flat_rows_stand_where_the_ledger_says_empty_and_nowhere_else(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    start = utc("2024-01-01")

    def at(minute: int) -> int:
        return to_us(start) + minute * MINUTE_US

    rows: list[CandleRow] = [(at(minute), 1.0, 9.0, 1.0, 2.0 + minute, 1.0, 1) for minute in (0, 3, 7)]
    await save(store, "candles1m", rows, (at(0), at(5)), (at(6), at(9)))
    got = await repository.fetch_ohlcv(1, "minute", start, start + timedelta(minutes=20), fill="flat")
    assert [((to_us(row[0]) - at(0)) // MINUTE_US, row[4], row[5]) for row in got] == [
        (0, 2.0, 1.0), (1, 2.0, 0.0), (2, 2.0, 0.0), (3, 5.0, 1.0), (4, 5.0, 0.0), (7, 9.0, 1.0), (8, 9.0, 0.0),
    ]  # fmt: skip
    assert got[1] == (from_us(at(1)), 2.0, 2.0, 2.0, 2.0, 0.0)
    later = await repository.fetch_ohlcv(1, "minute", from_us(at(2)), from_us(at(4)), fill="flat")
    assert [row[4] for row in later] == [2.0, 5.0]
    after_gap = await repository.fetch_ohlcv(1, "minute", from_us(at(6)), from_us(at(9)), fill="flat")
    assert [row[4] for row in after_gap] == [9.0, 9.0]
    pairs = await repository.fetch_ohlcv(2, "minutes", start, from_us(at(9)), fill="flat", incomplete="keep")
    shown = [(row[0].minute, row[4], row[5]) for row in pairs]
    assert shown == [(0, 2.0, 1.0), (2, 5.0, 1.0), (6, 9.0, 1.0), (8, 9.0, 0.0)]
    pairs = await repository.fetch_ohlcv(2, "minutes", start, from_us(at(9)), fill="flat")
    assert [(row[0].minute, row[4], row[5]) for row in pairs] == shown[:-1], "the last one is cut"


async def test_without_any_ledger_flat_rows_fill_every_hole_up_to_now(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    start = wall_now().replace(second=0, microsecond=0) - timedelta(minutes=5)
    rows: list[CandleRow] = [(to_us(start) + n * MINUTE_US, 1.0, 1.0, 1.0, 1.0 * n + 1, 1.0, None) for n in (0, 3)]
    await save(store, "candles1m", rows)
    got = await repository.fetch_ohlcv(
        1, "minute", start - timedelta(minutes=2), start + timedelta(days=2), fill="flat"
    )
    assert [row[4] for row in got][:5] == [1.0, 1.0, 1.0, 4.0, 4.0]
    assert got[0][0] == start
    assert got[-1][0] <= wall_now()


async def test_a_data_frame_has_an_aware_index(store: TimeseriesStore, repository: TimeseriesRepository) -> None:
    rows = random_candles(8, utc("2024-01-01"), 50, MINUTE_US)
    await save(store, "candles1m", rows)
    frame = await repository.fetch_ohlcv_df(5, "minutes", utc("2024-01-01"), utc("2024-01-02"))
    assert list(frame.columns) == ["open", "high", "low", "close", "volume", "known_minutes", "complete"]
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert str(frame.index.tz) == "UTC"
    assert frame.index.name == "timestamp"
    listed = await repository.fetch_ohlcv(5, "minutes", utc("2024-01-01"), utc("2024-01-02"))
    assert list(frame.itertuples(name=None)) == [(*row, 5, True) for row in listed]
    empty = await repository.fetch_ohlcv_df(5, "minutes", utc("2020-01-01"), utc("2020-01-02"))
    assert empty.empty
    assert str(empty.index.tz) == "UTC"  # type: ignore[attr-defined]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 45),
    unit=st.sampled_from(["minute", "hour"]),
    start=st.integers(-30, 150),
    length=st.integers(0, 200),
)
async def test_roll_up_property(
    store: TimeseriesStore, seed: int, count: int, unit: str, start: int, length: int
) -> None:
    repository = TimeseriesRepository("binance", f"S{seed}")
    repository._store = store
    first = utc("2024-02-28T22:30")
    rows = random_candles(seed, first, 150, MINUTE_US)
    series = await store.series("binance", f"S{seed}", "candles1m")
    await store.write_candles([CandleWrite(series, rows)])
    begin, end = first + timedelta(minutes=start, seconds=30), first + timedelta(minutes=start + length)
    wanted = Timeframe.of_period(count, unit)
    got = await repository.fetch_ohlcv(count, unit, begin, end, incomplete="keep")
    assert got == rolled(rows, wanted, begin, end)
    whole = [row for row in got if wanted.next(to_us(row[0])) <= to_us(end)]
    assert await repository.fetch_ohlcv(count, unit, begin, end) == whole


async def test_trades_with_a_ledger_speak_only_through_stored_candles(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    start_us = to_us(utc("2024-01-01"))
    trades = await store.series("binance", "BTC/USDT", "trades")
    candles = await store.series("binance", "BTC/USDT", "candles1m")
    rows = [(start_us + n * 30_000_000, 1.0 + n, 1.0, "buy", "", str(n)) for n in range(6)]
    await store.write_trades([TradeWrite(trades, rows, [(start_us, start_us + 2 * MINUTE_US)], candles)])
    got = await repository.fetch_ohlcv(1, "minute", utc("2024-01-01"), utc("2024-01-02"))
    assert [row[4] for row in got] == [2.0, 4.0]


async def test_proven_trades_that_nobody_derived_candles_from_are_folded_when_read(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    start_us = to_us(utc("2024-01-01"))
    trades = await store.series("binance", "BTC/USDT", "trades")
    rows = [(start_us + n * 30_000_000, 1.0 + n, 1.0, "buy", "", str(n)) for n in range(6)]
    await store.write_trades([TradeWrite(trades, rows, [(start_us, start_us + 2 * MINUTE_US + 5)])])
    assert await repository.init_symbol()
    got = await repository.fetch_ohlcv(1, "minute", utc("2024-01-01"), utc("2024-01-02"))
    assert [row[4] for row in got] == [2.0, 4.0]
    async with store.connection("look") as connection:
        viewed = await connection.fetch("SELECT close FROM binance.btc_usdt_ohlcv ORDER BY timestamp")
    assert [row["close"] for row in viewed] == [2.0, 4.0]


async def test_flat_rows_begin_with_the_first_candle_however_far_back_is_asked(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    await save(store, "candles1m", [(to_us(utc("2024-01-01")), 1.0, 1.0, 1.0, 1.0, 1.0, 1)])
    got = await repository.fetch_ohlcv(1, "minute", utc("0001-01-02"), utc("2024-01-01T00:03"), fill="flat")
    assert [row[0].minute for row in got] == [0, 1, 2]
