"""A real database, really hurt: whatever happens, rows and coverage stay together and the next call works."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fullon_embedded.servers import EmbeddedServers
from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.errors import StorageError, StorageMisconfigured, StorageUnavailable, TransientStorageError
from fullon_ohlcv.records import CandleWrite, Series, State, TradeWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US, to_us

T = to_us(datetime(2025, 3, 30, 1, 0, tzinfo=UTC))


def candles_of(series: Series, first: int, count: int) -> CandleWrite:
    """Candles of minutes that are covered by the same write."""
    rows = [(T + minute * MINUTE_US, 1.0, 1.0, 1.0, 1.0, 1.0, 1) for minute in range(first, first + count)]
    return CandleWrite(series, rows, [(T + first * MINUTE_US, T + (first + count) * MINUTE_US)])


def trades_of(trades: Series, candles: Series, first: int, count: int) -> TradeWrite:
    """One trade in every minute, the minutes covered by the same write."""
    rows = [(T + minute * MINUTE_US + 7, 1.0, 1.0, "buy", "", str(minute)) for minute in range(first, first + count)]
    return TradeWrite(trades, rows, [(T + first * MINUTE_US, T + (first + count) * MINUTE_US)], candles)


async def traded_minutes(store: TimeseriesStore, series: Series, count: int) -> set[int]:
    """The minutes that are traded; fails if rows and coverage disagree anywhere."""
    states = await store.classify(series, (T, T + count * MINUTE_US))
    assert {state.state for state in states} <= {State.TRADED, State.UNKNOWN}
    if series.channel == "trades":
        rows: list[Any] = await store.read_trades(series, (T, T + count * MINUTE_US))
    else:
        rows = await store.read_candles(series, (T, T + count * MINUTE_US))
    traded = {(state.timestamp_us - T) // MINUTE_US for state in states if state.state is State.TRADED}
    assert traded == {(row[0] - T) // MINUTE_US for row in rows}
    return traded


@contextlib.asynccontextmanager
async def held_before_coverage() -> AsyncIterator[Callable[[], Any]]:
    """Hold every write after its rows and before its coverage; yields a way to wait for the one that is held."""
    holder, watcher = await connect(Target.from_env()), await connect(Target.from_env())

    async def waiting() -> int:
        """Return the process id of the backend that waits."""
        while True:
            pid = await watcher.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '(freed|linked) AS'"
                " AND datname = current_database()"
            )
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.005)

    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE unavailable IN ACCESS EXCLUSIVE MODE")
            yield waiting
    finally:
        await holder.close()
        await watcher.close()


@pytest.mark.parametrize("harm", ["cancelled", "backend terminated", "statement cancelled"])
@pytest.mark.parametrize("kind", ["candles", "trades"])
async def test_a_write_stopped_between_rows_and_coverage_leaves_neither(
    store: TimeseriesStore, harm: str, kind: str
) -> None:
    candles = await store.series("kraken", "BTC/USD", "candles1m")
    trades = await store.series("kraken", "BTC/USD", "trades")

    async def write() -> None:
        if kind == "candles":
            await store.write_candles([candles_of(candles, 0, 10)])
        else:
            await store.write_trades([trades_of(trades, candles, 0, 10)])

    async with asyncio.timeout(20):
        async with held_before_coverage() as waiting:
            task = asyncio.ensure_future(write())
            pid = await waiting()
            if harm == "cancelled":
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                function = "pg_terminate_backend" if harm == "backend terminated" else "pg_cancel_backend"
                killer = await connect(Target.from_env())
                await killer.execute(f"SELECT {function}({pid})")
                await killer.close()
                with pytest.raises(TransientStorageError) as failed:
                    await task
                assert failed.value.kind == ("away" if harm == "backend terminated" else "contention")
        assert await traded_minutes(store, candles, 10) == set()
        assert await traded_minutes(store, trades, 10) == set()
        await write()
        assert await traded_minutes(store, candles, 10) == set(range(10))


async def test_writes_cancelled_anywhere_are_whole_or_nothing(store: TimeseriesStore) -> None:
    candles = await store.series("kraken", "BTC/USD", "candles1m")
    trades = await store.series("kraken", "BTC/USD", "trades")
    chance = random.Random(7)
    finished = set()
    for number in range(40):
        write = store.write_trades([trades_of(trades, candles, number * 10, 10)])
        try:
            async with asyncio.timeout(chance.uniform(0, 0.02)):
                await write
        except TimeoutError:
            continue
        finished.add(number)
    traded = await traded_minutes(store, trades, 400)
    assert await traded_minutes(store, candles, 400) == traded
    for number in range(40):
        part = traded & set(range(number * 10, number * 10 + 10))
        assert len(part) in (0, 10)
        assert number not in finished or part
    assert await store.write_trades([trades_of(trades, candles, 0, 400)])
    assert await traded_minutes(store, candles, 400) == set(range(400))


async def test_backends_killed_during_writes_cost_only_a_retry(store: TimeseriesStore) -> None:
    candles = await store.series("kraken", "BTC/USD", "candles1m")
    trades = await store.series("kraken", "BTC/USD", "trades")
    killer = await connect(Target.from_env())
    numbers = itertools.count()
    done = asyncio.Event()
    failures = 0

    async def kill() -> None:
        for _ in range(12):
            await asyncio.sleep(0.06)
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        done.set()

    async def write() -> None:
        nonlocal failures
        while not done.is_set():
            number = next(numbers)
            while True:
                try:
                    await store.write_trades([trades_of(trades, candles, number * 10, 10)])
                    break
                except StorageUnavailable:
                    failures += 1
                    await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(kill())
            for _ in range(8):
                tasks.create_task(write())
        await killer.close()
        count = next(numbers) * 10
        assert await traded_minutes(store, candles, count) == set(range(count))
        assert await traded_minutes(store, trades, count) == set(range(count))
    assert failures > 0


async def test_concurrent_writers_of_the_same_series_in_any_order_do_not_deadlock(store: TimeseriesStore) -> None:
    many = [await store.series("binance", f"S{number}", "candles1m") for number in range(20)]
    chance = random.Random(11)

    async def writer(number: int) -> int:
        inserted = 0
        for minute in range(10):
            shuffled = chance.sample(many, len(many))
            result = await store.write_candles([candles_of(series, minute, 1) for series in shuffled])
            inserted += result.inserted
        return inserted

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(writer(number)) for number in range(8)]
    assert sum(task.result() for task in writers) == 20 * 10
    assert set(await traded_minutes(store, many[3], 10)) == set(range(10))


async def test_one_call_waits_for_a_connection_when_all_are_in_use(database: str) -> None:
    async with TimeseriesStore.open(pool_max=2) as store, asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(store.series("kraken", f"S{number}", "trades"))


async def test_a_pool_that_stays_exhausted_says_so(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with TimeseriesStore.open(pool_max=1) as store:
        async with store.connection("hold the only one"):
            with monkeypatch.context() as patch:
                patch.setattr("fullon_ohlcv.store.ACQUIRE_TIMEOUT_S", 0.05)
                with pytest.raises(StorageUnavailable, match="none of 1 connections became free"):
                    await store.series("kraken", "BTC/USD", "trades")
        assert await store.series("kraken", "BTC/USD", "trades")


async def test_a_server_that_does_not_answer_is_given_up_and_tried_again(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullon_ohlcv.connection.COMMAND_TIMEOUT_S", 1.0)
    async with asyncio.timeout(20), TimeseriesStore.open() as store:
        candles = await store.series("kraken", "BTC/USD", "candles1m")
        async with held_before_coverage():
            with pytest.raises(StorageUnavailable, match="no answer in time"):
                await store.write_candles([candles_of(candles, 0, 10)])
        assert await traded_minutes(store, candles, 10) == set()
        await store.write_candles([candles_of(candles, 0, 10)])
        assert await traded_minutes(store, candles, 10) == set(range(10))


async def test_the_same_series_asked_by_many_at_once_is_one(store: TimeseriesStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(store.series("kraken", "NEW/USD", "trades")) for _ in range(20)]
    assert len({task.result() for task in asked}) == 1


async def test_many_processes_opening_at_once_make_one_database(missing_database: str) -> None:
    async def opened() -> int:
        async with TimeseriesStore.open(pool_max=1) as store:
            return (await store.series("kraken", "BTC/USD", "trades")).series_id

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(opened()) for _ in range(8)]
    assert len({task.result() for task in asked}) == 1


@pytest.fixture
def private_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedServers]:
    """A PostgreSQL of this test alone, to be hurt."""
    with EmbeddedServers(tmp_path / "servers", redis=False) as servers:
        for name, value in servers.environment().items():
            monkeypatch.setenv(name, value)
        yield servers


async def test_after_a_killed_server_the_next_call_works(private_server: EmbeddedServers) -> None:
    async with TimeseriesStore.open() as store:
        candles = await store.series("kraken", "BTC/USD", "candles1m")
        await store.write_candles([candles_of(candles, 0, 3)])
        pid = private_server.pids()["PostgreSQL"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        async def write_until_it_fails() -> None:
            async with asyncio.timeout(20):
                while True:  # the first calls may still find the old backends alive
                    await store.write_candles([candles_of(candles, 3, 3)])

        with pytest.raises(StorageUnavailable, match="is the server running"):
            await write_until_it_fails()
        await asyncio.to_thread(private_server.ensure_running)
        async with asyncio.timeout(20):
            while True:
                try:
                    await store.write_candles([candles_of(candles, 6, 3)])
                except StorageUnavailable:
                    await asyncio.sleep(0.05)
                else:
                    break
        assert await traded_minutes(store, candles, 9) >= {0, 1, 2, 6, 7, 8}


async def test_a_store_closes_although_its_server_is_gone(private_server: EmbeddedServers) -> None:
    async with asyncio.timeout(20), TimeseriesStore.open() as store:
        await store.series("kraken", "BTC/USD", "candles1m")
        pid = private_server.pids()["PostgreSQL"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


async def test_a_wrong_password_is_one_sentence_without_the_password(
    private_server: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await connect(Target.from_env().of("postgres"))
    try:
        await owner.execute("CREATE ROLE collector LOGIN CREATEDB PASSWORD 'right'")
        [rules] = private_server.data_dir.rglob("pg_hba.conf")
        rules.write_text("local all collector scram-sha-256\n" + rules.read_text())
        await owner.execute("SELECT pg_reload_conf()")
    finally:
        await owner.close()
    monkeypatch.setenv("DB_USER", "collector")
    monkeypatch.setenv("DB_PASSWORD", "hunter2")
    with pytest.raises(StorageMisconfigured) as refused:
        async with TimeseriesStore.open():
            pass
    sentence = str(refused.value)
    assert "check DB_USER and DB_PASSWORD" in sentence
    assert "collector" in sentence
    assert "hunter2" not in sentence + repr(Target.from_env())
    assert not refused.value.retryable
    monkeypatch.setenv("DB_PASSWORD", "right")
    async with TimeseriesStore.open() as store:
        assert (await store.series("kraken", "BTC/USD", "trades")).series_id == 1


async def test_a_missing_server_is_one_sentence_and_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for host in (str(tmp_path), "127.0.0.1"):
        monkeypatch.setenv("DB_HOST", host)
        monkeypatch.setenv("DB_PORT", "1")
        with pytest.raises(StorageUnavailable) as refused:
            async with TimeseriesStore.open():
                pass
        assert f"at {host}:1" in str(refused.value)
        assert "is the server running" in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value"), [("DB_HOST", ""), ("DB_PORT", "x"), ("DB_PORT", "70000"), ("DB_OHLCV_NAME", "x" * 64)]
)
async def test_an_environment_that_cannot_be_meant_is_refused_by_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    monkeypatch.setenv("DB_PORT", "5432")
    monkeypatch.setenv(variable, value)
    with pytest.raises(StorageMisconfigured, match=variable):
        async with TimeseriesStore.open():
            pass


async def test_the_environment_is_read_when_a_store_is_opened(
    database: str, missing_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_OHLCV_NAME", database)
    async with TimeseriesStore.open() as first:
        monkeypatch.setenv("DB_TEST_NAME", missing_database)
        async with TimeseriesStore.open(test=True) as second:
            assert (first.target.database, second.target.database) == (database, missing_database)


async def test_errors_of_ours_are_no_errors_of_the_connection(store: TimeseriesStore) -> None:
    with pytest.raises(StorageError) as wrong:
        async with store.connection("divide"):
            raise asyncpg.DivisionByZeroError("division by zero")
    assert not wrong.value.retryable
    assert "cannot divide" in str(wrong.value)
    with pytest.raises(KeyError):
        async with store.connection("fail"):
            raise KeyError("not the database's")
    with pytest.raises(ValueError, match="pool_max is 0"):
        async with TimeseriesStore.open(pool_max=0):
            pass
