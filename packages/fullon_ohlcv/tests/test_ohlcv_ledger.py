"""The coverage ledger against a set of ten-second pieces."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_ohlcv.records import (
    CandleWrite,
    CoverageRun,
    CoverageSummary,
    Interval,
    Lifecycle,
    MarketState,
    MinuteState,
    Series,
    State,
    TradeWrite,
)
from fullon_ohlcv.statements import migrations
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US, to_us

T = to_us(datetime(2025, 3, 30, 1, 0, tzinfo=UTC))
PIECE_US = 10_000_000
PIECES = 48


def at(piece: int) -> int:
    return T + piece * PIECE_US


def runs_of(pieces: Iterable[int], state: dict[int, str]) -> list[tuple[Interval, str]]:
    """Neighbouring pieces of one state, joined."""
    runs: list[tuple[Interval, str]] = []
    for piece in pieces:
        if runs and runs[-1][1] == state[piece] and runs[-1][0][1] == at(piece):
            runs[-1] = ((runs[-1][0][0], at(piece + 1)), state[piece])
        else:
            runs.append(((at(piece), at(piece + 1)), state[piece]))
    return runs


SPANS = st.tuples(st.integers(0, PIECES), st.integers(0, PIECES)).map(lambda pair: (min(pair), max(pair)))
STEPS = st.lists(
    st.tuples(st.sampled_from(["cover", "cover", "retention", "listed later", "uncover"]), SPANS), max_size=12
)


@settings(max_examples=60)
@given(steps=STEPS, asked=SPANS, traded=st.sets(st.integers(0, PIECES // 6 - 1)))
async def test_the_ledger_is_set_arithmetic(
    store: TimeseriesStore, steps: list[tuple[str, tuple[int, int]]], asked: tuple[int, int], traded: set[int]
) -> None:
    async with store.connection("count") as connection:
        number = await connection.fetchval("SELECT count(*) FROM series")
    series = await store.series("kraken", f"S{number}", "candles1m")
    rows = [(T + minute * MINUTE_US, 1.0, 1.0, 1.0, 1.0, 1.0, 1) for minute in traded]
    await store.write_candles([CandleWrite(series, rows)])
    state = dict.fromkeys(range(PIECES), "unknown")
    for step, (first, end) in steps:
        interval = (at(first), at(end))
        if step == "cover":
            await store.write_candles([CandleWrite(series, [], [interval])])
        elif step == "uncover":
            await store.uncover(series, interval)
        else:
            await store.mark_unavailable(series, interval, step)
        for piece in range(first, end):
            if step in ("cover", "uncover") or state[piece] != "cover":
                state[piece] = {"uncover": "unknown"}.get(step, step)
    first, end = asked
    interval = (at(first), at(end))
    runs = runs_of(range(first, end), state)
    assert await store.gaps({series: interval}) == {series: [span for span, kind in runs if kind == "unknown"]}
    assert await store.coverage_intervals(series, interval) == [
        CoverageRun(span, State.COVERED)
        if kind == "cover"
        else CoverageRun(span, State.UNKNOWN)
        if kind == "unknown"
        else CoverageRun(span, State.UNAVAILABLE, kind)
        for span, kind in runs
    ]
    lengths = {kind: sum(span[1] - span[0] for span, known in runs if known == kind) for _, kind in runs}
    covered_us = lengths.pop("cover", 0)
    unknown_us = lengths.pop("unknown", 0)
    last_us = T + max(traded) * MINUTE_US if traded else None
    until_us = max((span[1] for span, kind in runs if kind == "cover"), default=None)
    assert await store.summaries({series: interval}) == {
        series: CoverageSummary(interval[1] - interval[0], covered_us, sum(lengths.values()), until_us, last_us)
    }
    assert covered_us + unknown_us + sum(lengths.values()) == interval[1] - interval[0]
    assert await store.classify(series, interval) == expected_minutes(interval, state, traded)


def expected_minutes(interval: Interval, state: dict[int, str], traded: set[int]) -> list[MinuteState]:
    if interval[0] == interval[1]:
        return []
    minutes = []
    for minute in range(PIECES // 6):
        start_us = T + minute * MINUTE_US
        if start_us + MINUTE_US <= interval[0] or start_us >= interval[1]:
            continue
        kinds = [state[piece] for piece in range(minute * 6, minute * 6 + 6)]
        if "unknown" in kinds:
            minutes.append(MinuteState(start_us, State.UNKNOWN))
        elif set(kinds) == {"cover"}:
            minutes.append(MinuteState(start_us, State.TRADED if minute in traded else State.VERIFIED_EMPTY))
        else:
            reason = next(kind for kind in kinds if kind != "cover")
            minutes.append(MinuteState(start_us, State.UNAVAILABLE, reason))
    return minutes


@pytest.fixture
async def series(store: TimeseriesStore) -> Series:
    return await store.series("kraken", "BTC/USD", "candles1m")


async def test_a_longer_backtest_adds_only_the_new_part(store: TimeseriesStore, series: Series) -> None:
    await store.write_candles([CandleWrite(series, [], [(at(10), at(20))])])
    assert await store.gaps({series: (at(0), at(20))}) == {series: [(at(0), at(10))]}


async def test_a_hole_in_the_middle_is_a_gap(store: TimeseriesStore, series: Series) -> None:
    await store.write_candles([CandleWrite(series, [], [(at(0), at(10)), (at(12), at(20))])])
    assert await store.gaps({series: (at(0), at(20))}) == {series: [(at(10), at(12))]}


async def test_covered_wins_over_unavailable_in_either_order(store: TimeseriesStore, series: Series) -> None:
    await store.mark_unavailable(series, (at(0), at(20)), "retention")
    await store.write_candles([CandleWrite(series, [], [(at(5), at(10))], [((at(8), at(30)), "closed")])])
    runs = await store.coverage_intervals(series, (at(0), at(30)))
    assert [(run.interval, run.reason) for run in runs] == [
        ((at(0), at(5)), "retention"),
        ((at(5), at(10)), None),
        ((at(10), at(30)), "closed"),
    ]


async def test_a_row_in_a_minute_that_is_not_covered_is_no_proof(store: TimeseriesStore, series: Series) -> None:
    await store.write_candles([CandleWrite(series, [(T, 1.0, 1.0, 1.0, 1.0, 1.0, 1)])])
    assert (await store.classify(series, (T, T + 1)))[0].state is State.UNKNOWN


async def test_trades_are_classified_by_their_own_rows(store: TimeseriesStore) -> None:
    from fullon_ohlcv.records import TradeWrite

    trades = await store.series("kraken", "BTC/USD", "trades")
    row = (T + MINUTE_US + 5, 1.0, 1.0, "buy", "", "1")
    await store.write_trades([TradeWrite(trades, [row], [(T, T + 2 * MINUTE_US + 5)])])
    states = [minute.state for minute in await store.classify(trades, (T, T + 3 * MINUTE_US))]
    assert states == [State.VERIFIED_EMPTY, State.TRADED, State.UNKNOWN]
    summary = (await store.summaries({trades: (T, T + 3 * MINUTE_US)}))[trades]
    assert summary.last_timestamp_us == T + MINUTE_US + 5


async def test_many_series_are_asked_at_once_and_each_keeps_its_own(store: TimeseriesStore) -> None:
    many = [await store.series("kraken", f"S{number}", "candles1m") for number in range(30)]
    await store.write_candles([CandleWrite(one, [], [(at(0), at(n))]) for n, one in enumerate(many)])
    wanted = {one: (at(0), at(29)) for one in many}
    assert await store.gaps(wanted) == {one: [(at(n), at(29))] if n < 29 else [] for n, one in enumerate(many)}
    maps = await store.coverage_maps(wanted)
    assert [sum(r.interval[1] - r.interval[0] for r in maps[one] if r.state is State.COVERED) for one in many] == [
        min(n, 29) * PIECE_US for n in range(30)
    ]


async def test_wrong_intervals_and_reasons_are_refused(store: TimeseriesStore, series: Series) -> None:
    with pytest.raises(ValueError, match="interval is"):
        await store.gaps({series: (T + 1, T)})
    with pytest.raises(ValueError, match="reason is"):
        await store.mark_unavailable(series, (T, T + 1), "")
    assert await store.classify(series, (T, T)) == []
    assert await store.coverage_intervals(series, (T, T)) == []


async def test_the_start_of_what_is_wanted_is_only_moved_back(store: TimeseriesStore) -> None:
    one, other = await store.series("kraken", "BTC/USD", "trades"), await store.series("kraken", "BTC/USD", "candles1m")
    assert await store.wanted_since([one, other]) == {}
    assert await store.want({one: T, other: T}) == {one: T, other: T}
    assert await store.want({one: T + MINUTE_US, other: T - MINUTE_US}) == {one: T, other: T - MINUTE_US}
    async with TimeseriesStore.open() as another:
        assert await another.want({one: T + MINUTE_US}) == {one: T}
        assert await another.wanted_since([one, other]) == {one: T, other: T - MINUTE_US}


async def test_many_record_what_they_want_at_once_in_any_order(store: TimeseriesStore) -> None:
    every = [await store.series("kraken", f"A{number}/USD", "trades") for number in range(100)]
    states = [MarketState("kraken", one.symbol, Lifecycle.HALTED, "cancel_only", T) for one in every]
    async with TimeseriesStore.open() as another, TimeseriesStore.open() as third, asyncio.TaskGroup() as group:
        for earlier_us in range(10):
            for number, each in enumerate((store, another, third)):
                ordered = every[::-1] if number % 2 else every
                group.create_task(each.want(dict.fromkeys(ordered, T - earlier_us)))
                group.create_task(each.set_state(*(states[::-1] if number % 2 else states)))


async def test_what_an_older_database_knows_has_been_wanted(store: TimeseriesStore) -> None:
    trades, candles = await store.series("a", "B/C", "trades"), await store.series("a", "B/C", "candles1m")
    coarse, empty = await store.series("a", "B/C", "candles5m"), await store.series("a", "B/C", "candles1h")
    await store.write_candles([CandleWrite(one, (), [(T + MINUTE_US, T + 6 * MINUTE_US)]) for one in (candles, coarse)])
    await store.mark_unavailable(candles, (T - 9 * MINUTE_US, T), "retention: gone")
    await store.write_trades([TradeWrite(trades, (), [(T + 7, T + MINUTE_US)])])
    [script] = [script for script in migrations().values() if "CREATE TABLE wanted" in script]
    async with store.connection("migrate again") as connection:
        await connection.execute("DROP TABLE wanted")
        await connection.execute(script)
    since_us = await store.wanted_since([trades, candles, coarse, empty])
    assert since_us == {trades: T, candles: T - 9 * MINUTE_US}
