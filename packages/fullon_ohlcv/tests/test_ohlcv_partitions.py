"""No statement touches partitions of candles or trades that lie outside its bounds.

TimescaleDB is in no registry; this holds on plain PostgreSQL what keeps its chunks from being planned, and compressed
ones from being decompressed: conditions on parameters, at the level of the table itself.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from partitioned import Connection, partition

from fullon_ohlcv.batches import CandleBatch, TradeBatch
from fullon_ohlcv.bounds import bounds, close_together, moment
from fullon_ohlcv.connection import Target, _prepare_connection, connect
from fullon_ohlcv.edges import NEAR_US, read_newest, read_oldest
from fullon_ohlcv.ledger import Wanted, read_minutes, read_summaries
from fullon_ohlcv.reading import Window, read_candles, read_sources
from fullon_ohlcv.records import CandleWrite, Series, TradeWrite
from fullon_ohlcv.statements import statements
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US, Timeframe, to_us
from fullon_ohlcv.writing import lock_with_derived, store_candles, store_trades, uncover_span

START = datetime(2024, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
COUNT = 20
AT = 11
"""The partition that everything happens in."""
T = to_us(START + AT * WEEK + timedelta(days=3))
HOUR = (T, T + 60 * MINUTE_US)
NOW_US = T + 10 * DAY_US
_TABLE = re.compile(r"\b(?:FROM|JOIN|INTO|USING)\s+(?:public\.)?(candles|trades)\b")
_NAMED = {statement: name for name, statement in statements().items()}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


class Explained:
    """A connection whose every statement is explained by the server as it is executed."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._plans: list[dict[str, Any]] = []
        connection.add_log_listener(self._listen)

    def _listen(self, _connection: object, message: Any) -> None:
        _, found, plan = message.message.partition("plan:\n")
        if found:
            self._plans.append(json.loads(plan))

    async def take(self) -> list[dict[str, Any]]:
        """Return the plans since the last call."""
        await asyncio.sleep(0)
        plans, self._plans = self._plans, []
        return plans

    async def touched(self) -> dict[str, set[int]]:
        """Return the partitions that were executed since the last call, by the first line of the statement."""
        touched: dict[str, set[int]] = {}
        for plan in await self.take():
            name = _NAMED.get(plan["Query Text"].strip(), plan["Query Text"].strip())
            numbers = touched.setdefault(name, set())
            for node in _nodes(plan["Plan"]):
                relation = re.fullmatch(r"(?:candles|trades)_(\d{4})", node.get("Relation Name", ""))
                if relation and node["Actual Loops"] > 0 and node["Node Type"] != "ModifyTable":
                    numbers.add(int(relation[1]))
        return touched


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
async def explained(store: TimeseriesStore, request: pytest.FixtureRequest) -> AsyncIterator[Explained]:
    connection = await connect(Target.from_env())
    for table in ("candles", "trades"):
        await partition(connection, table, START, COUNT, WEEK)
    await _prepare_connection(connection)
    await connection.execute(
        f"LOAD 'auto_explain'; SET plan_cache_mode = {request.param}; SET auto_explain.log_format = json;"
        "SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; SET auto_explain.log_timing = off;"
        "SET auto_explain.log_nested_statements = on; SET client_min_messages = log"
    )
    try:
        yield Explained(connection)
    finally:
        await connection.close()


def candle(minute: int, close: float = 2.0) -> tuple[Any, ...]:
    return (T + minute * MINUTE_US, 1.5, 3.0, 1.0, close, 0.1, 3)


def trade(minute: int, number: int) -> tuple[Any, ...]:
    return (T + minute * MINUTE_US + number, 100.0, 0.1, "buy", "market", str(minute * 1000 + number))


EDGES = {f"{edge}_{table}" for edge in ("oldest", "newest") for table in ("candles", "trades")}
"""Look for a row wherever it may be; a test of their own says where."""

Work = Callable[[Connection, Series, Series, Series], Awaitable[object]]


async def _write_candles(connection: Connection, candles: Series, _trades: Series, _folded: Series) -> None:
    rows = [candle(minute) for minute in range(60)]
    async with connection.transaction():
        await store_candles(connection, CandleBatch.of([CandleWrite(candles, rows, [HOUR])], NOW_US))
    changed = [candle(minute, 2.5) for minute in range(30)]
    empty = [(T + 40 * MINUTE_US, 1.0, 1.0, 1.0, 1.0, 0.0, 0)]
    async with connection.transaction():  # corrects 30, removes the 41st, withdraws the 19 after it
        write = CandleWrite(candles, [*changed, *empty], [HOUR], confirmed=[HOUR])
        result = await store_candles(connection, CandleBatch.of([write], NOW_US))
    assert result.updated == 60


async def _write_trades(connection: Connection, _candles: Series, trades: Series, folded: Series) -> None:
    rows = [trade(minute, number) for minute in range(60) for number in range(3)]
    for part in (rows[::2], rows, [trade(5, 7)]):
        async with connection.transaction():
            write = TradeWrite(trades, part, [HOUR], folded)
            await store_trades(connection, TradeBatch.of([write], NOW_US))
    async with connection.transaction():
        candles_id = await lock_with_derived(connection, trades)
        await uncover_span(connection, trades.series_id, candles_id, T, T + 10 * MINUTE_US)
    assert await connection.fetchval("SELECT count(*) FROM candles WHERE series_id = $1", folded.series_id) == 50


async def _read(connection: Connection, candles: Series, trades: Series, folded: Series) -> None:
    await _write_candles(connection, candles, trades, folded)
    await _write_trades(connection, candles, trades, folded)
    minute, hour = Timeframe(1, "minute"), Timeframe(1, "hour")
    for series in (candles, trades):
        await read_minutes(connection, series, HOUR)
    named = statements()
    span = [moment(at_us) for at_us in HOUR]
    await connection.fetch(named["candles_between"], candles.series_id, *span)
    await connection.fetch(named["trades_between"], trades.series_id, *span)
    await connection.fetch(named["trades"], trades.series_id, *span, 100)
    [group] = close_together([(candles.series_id, *HOUR), (folded.series_id, *HOUR)])
    await connection.fetch(named["closed_minutes"], *map(list, zip(*group, strict=True)), *bounds(group))
    await connection.execute("UPDATE coverage SET covered = '{}' WHERE series_id = $1", folded.series_id)
    await connection.execute("UPDATE series SET candles_id = NULL")
    for symbol in ("A/B", "C/D"):
        sources = await read_sources(connection, "kraken", symbol, minute)
        for timeframe in (minute, hour):
            rows = await read_candles(connection, sources, Window(timeframe, *HOUR))
            assert rows


@pytest.mark.parametrize("work", [_write_candles, _write_trades, _read])
async def test_partitions_outside_the_bounds_are_never_executed(
    store: TimeseriesStore, explained: Explained, work: Work
) -> None:
    candles = await store.series("kraken", "A/B", "candles1m")
    trades = await store.series("kraken", "C/D", "trades")
    folded = await store.series("kraken", "C/D", "candles1m")
    await work(explained.connection, candles, trades, folded)
    touched = await explained.touched()
    ours = {name: numbers for name, numbers in touched.items() if name in _NAMED.values() and name not in EDGES}
    assert any(ours.values())
    assert {name: numbers for name, numbers in ours.items() if numbers - {AT}} == {}


def partitions_near(at_us: int) -> set[int]:
    first, last = ((at_us + by - to_us(START)) // (7 * DAY_US) for by in (-NEAR_US, NEAR_US))
    return set(range(first, last + 1))


async def test_the_first_and_last_rows_are_looked_for_where_the_ledger_begins_and_ends(
    store: TimeseriesStore, explained: Explained
) -> None:
    connection = explained.connection
    candles = await store.series("kraken", "A/B", "candles1m")
    trades = await store.series("kraken", "C/D", "trades")
    folded = await store.series("kraken", "C/D", "candles1m")
    halted = await store.series("kraken", "E/F", "candles1m")
    await _write_candles(connection, candles, trades, folded)
    await _write_trades(connection, candles, trades, folded)
    early_us = to_us(START + timedelta(days=1))
    rows: list[Any] = [(early_us, 1.0, 1.0, 1.0, 1.0, 1.0, 1)]
    written = CandleWrite(halted, rows, [(early_us, early_us + MINUTE_US)])
    async with connection.transaction():
        await store_candles(connection, CandleBatch.of([written], NOW_US))
    await explained.take()
    assert await read_newest(connection, [candles]) == {candles: T + 29 * MINUTE_US}
    assert set().union(*(await explained.touched()).values()) <= {*partitions_near(T), *range(AT, COUNT)}
    assert await read_oldest(connection, [candles, trades]) == {candles: T, trades: T}
    assert set().union(*(await explained.touched()).values()) <= {*partitions_near(T), *range(AT)}
    summaries = await read_summaries(connection, Wanted(dict.fromkeys([candles, halted], (early_us, HOUR[1]))))
    assert [one.last_timestamp_us for one in summaries.values()] == [T + 29 * MINUTE_US, early_us]
    touched = (await explained.touched())["newest_candles"]
    assert touched <= {*partitions_near(early_us), *partitions_near(T), *range(AT, COUNT)}


async def test_a_row_far_from_its_ledger_is_found_and_one_of_a_series_without_a_ledger(
    store: TimeseriesStore,
) -> None:
    candles = await store.series("kraken", "A/B", "candles1m")
    trades = await store.series("kraken", "C/D", "trades")
    nothing = await store.series("kraken", "E/F", "trades")
    far_us = T - 3 * NEAR_US
    await store.write_candles([CandleWrite(candles, [(far_us, 1.0, 1.0, 1.0, 1.0, 1.0, 1)], [HOUR])])
    await store.write_trades([TradeWrite(trades, [trade(0, 1), trade(3, 2)])])
    async with store.connection("look") as connection:
        wanted = [candles, trades, nothing]
        assert await read_newest(connection, wanted) == {candles: far_us, trades: T + 3 * MINUTE_US + 2}
        assert await read_oldest(connection, wanted) == {candles: far_us, trades: T + 1}


def test_every_reference_to_candles_and_trades_bounds_the_time_by_parameters() -> None:
    unbounded = {}
    for name, body in statements().items():
        references = _TABLE.findall(re.sub(r"INSERT INTO \w+", "", body))
        lower = re.findall(r"timestamp >= \$\d", body)
        upper = re.findall(r"timestamp <=? \$\d", body)
        if min(len(lower), len(upper)) < len(references):
            unbounded[name] = references
    assert unbounded == {}


def test_every_delete_and_update_of_rows_names_its_series_and_its_bounds_by_parameters_and_joins_nothing() -> None:
    changing = {
        name: body
        for name, body in statements().items()
        if re.search(r"\b(DELETE FROM|UPDATE)\s+(candles|trades)\b", body)
    }
    assert changing
    for name, body in changing.items():
        for change in re.findall(r"(?:DELETE FROM|UPDATE)\s+(?:candles|trades)\b[^()]*(?:\([^()]*\)[^()]*)*", body):
            assert re.search(r"series_id = (\$\d|ANY\(\$\d::int\[\]\))", change), name
            assert re.search(r"timestamp >= \$\d", change), name
            assert re.search(r"timestamp <=? \$\d", change), name


def test_spans_that_lie_far_apart_are_not_bounded_together() -> None:
    spans = [(1, 0, 10), (2, 5, 20), (3, 2 * DAY_US, 2 * DAY_US + 1), (4, 0, 5 * DAY_US), (5, 9 * DAY_US, 9 * DAY_US)]
    groups = close_together(spans)
    assert sorted(span for group in groups for span in group) == sorted(spans)
    assert [sorted(span[0] for span in group) for group in groups] == [[1, 2, 3, 4], [5]]
    scattered = [(1, day * DAY_US, day * DAY_US + MINUTE_US) for day in range(0, 100, 7)]
    assert close_together(scattered) == [[span] for span in scattered]
    live = [(series_id, T, T + MINUTE_US) for series_id in range(2000)]
    assert len(close_together(live)) == 1


async def test_removals_years_apart_are_exact_and_each_within_its_own_partition(
    store: TimeseriesStore, explained: Explained
) -> None:
    candles = await store.series("kraken", "A/B", "candles1m")
    far_us = to_us(START + 2 * WEEK)
    rows: list[Any] = [(at_us, 1.0, 1.0, 1.0, 1.0, 1.0, 1) for at_us in (far_us, far_us + MINUTE_US, T, T + MINUTE_US)]
    empty: list[Any] = [(at_us, 1.0, 1.0, 1.0, 1.0, 0.0, 0) for at_us in (far_us, T)]
    async with explained.connection.transaction():
        await store_candles(explained.connection, CandleBatch.of([CandleWrite(candles, rows)], NOW_US))
    await explained.take()
    async with explained.connection.transaction():
        result = await store_candles(explained.connection, CandleBatch.of([CandleWrite(candles, empty)], NOW_US))
    assert result.updated == 2
    assert (await explained.touched())["remove_candles"] == {2, AT}
    left = await store.read_candles(candles, (0, NOW_US))
    assert [row[0] for row in left] == [far_us + MINUTE_US, T + MINUTE_US]
