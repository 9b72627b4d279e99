"""How long rows are kept, and what becomes of those that something else removes, against a simulated market."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fixed_clock import unix_now_s

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.records import CandleWrite, Series, State
from fullon_ohlcv.tallies import REMOVED, RETENTION
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US
from fullon_ohlcv_service.cli import main
from fullon_ohlcv_service.config.database_config import load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.ohlcv.coarse_history import CoarseHistory
from fullon_ohlcv_service.retention import Retention
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.store_check import StoreCheck
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector
from fullon_orm import DatabaseContext, init_db
from fullon_simulator import SimulatedMarket, SymbolSpec

EPOCH_S = 1_740_960_000 + 600
"""2025-03-03, ten minutes after midnight."""
TODAY_US = 1_740_960_000_000_000
VENUES = {
    "kraken": [SymbolSpec("BTC/USD", kind="quiet")],
    "binance": [SymbolSpec("BTC/USDT", kind="quiet")],
    "hyperliquid": [SymbolSpec("BTC/USDC:USDC", kind="quiet")],
}


@pytest.fixture
async def market(fresh_databases: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedMarket]:
    monkeypatch.setenv("FULLON_CLOCK", f"{EPOCH_S}@{unix_now_s()}x1")
    async with SimulatedMarket(VENUES, seed=5) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        await init_db()
        await seed_database(running, backtest_days=1)
        yield running


@pytest.fixture
async def runtime(market: SimulatedMarket) -> AsyncIterator[Runtime]:
    async with open_runtime() as opened:
        opened.board.want(await load_wanted_symbols(OhlcvServiceConfig.from_env()))
        for exchange, symbol, kind in (("kraken", "BTC/USD", "trades"), ("binance", "BTC/USDT", "candles")):
            opened.board.set_kind(exchange, symbol, kind)
        yield opened


async def ten_days(runtime: Runtime, exchange: str, symbol: str) -> Series:
    """Ten days of candles before today, all covered."""
    series = await runtime.store.series(exchange, symbol, "candles1m")
    first_us = TODAY_US - 10 * DAY_US
    rows: list[Any] = [(first_us + n * MINUTE_US, 1.0, 2.0, 0.5, 1.5, 3.0, 4) for n in range(0, 10 * 1440, 10)]
    await runtime.store.write_candles([CandleWrite(series, rows, [(first_us, TODAY_US)])])
    return series


async def first_covered_day(runtime: Runtime, series: Series) -> int:
    """How many days before today the coverage begins, everything before being removed by retention."""
    runs = await runtime.store.coverage_intervals(series, (TODAY_US - 10 * DAY_US, TODAY_US))
    if len(runs) == 2:
        assert (runs[0].state, runs[0].reason) == (State.UNAVAILABLE, RETENTION)
    assert runs[-1].state is State.COVERED
    return (TODAY_US - runs[-1].interval[0]) // DAY_US


async def keep(exchange: str, **days: int | None) -> None:
    async with DatabaseContext() as db:
        for one in await db.symbols.get_by_exchange(exchange):
            for name, value in days.items():
                setattr(one, name, value)
        await db.commit()


async def in_store(command: str) -> None:
    connection = await connect(Target.from_env())
    try:
        await connection.execute(command)
    finally:
        await connection.close()


async def test_rows_are_kept_as_long_as_their_symbol_or_the_setting_says(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    binance = await ten_days(runtime, "binance", "BTC/USDT")
    hyperliquid = await ten_days(runtime, "hyperliquid", "BTC/USDC:USDC")
    gone = await ten_days(runtime, "binance", "GONE/USDT")
    retention = Retention(runtime)
    assert await retention.apply() == 0
    await keep("binance", keep_candles_days=3)
    assert await retention.apply() == 7 * 144
    assert [await first_covered_day(runtime, one) for one in (binance, hyperliquid, gone)] == [3, 10, 10]
    monkeypatch.setenv("OHLCV_KEEP_CANDLES_DAYS", "5")
    runtime.config = OhlcvServiceConfig.from_env()
    assert await retention.apply() == 2 * 5 * 144
    assert [await first_covered_day(runtime, one) for one in (binance, hyperliquid, gone)] == [3, 5, 5]
    # What was never fetched and is too old is not wanted either; what is to be kept for longer is.
    wanted = {binance: (TODAY_US - 100 * DAY_US, TODAY_US)}
    assert await runtime.store.gaps(wanted) == {binance: []}
    await keep("binance", keep_candles_days=4)
    await retention.apply()
    assert await runtime.store.gaps(wanted) == {binance: [(TODAY_US - 4 * DAY_US, TODAY_US - 3 * DAY_US)]}
    assert await StoreCheck(runtime).look(pause_s=0) == []


async def test_trades_that_are_kept_briefly_are_fetched_for_their_candles_and_not_again(runtime: Runtime) -> None:
    collector = HistoricTradeCollector(runtime=runtime)
    exchange = await runtime.exchanges.get("kraken")
    trades = await runtime.store.series("kraken", "BTC/USD", "trades")
    candles = await runtime.store.series("kraken", "BTC/USD", "candles1m")
    yesterday = (TODAY_US - 2 * DAY_US, TODAY_US - 2 * DAY_US + 12 * 60 * MINUTE_US)
    await keep("kraken", keep_trades_days=1)
    retention = Retention(runtime)
    await retention.apply()
    assert await runtime.store.gaps({trades: yesterday}) == {trades: [yesterday]}
    await collector._fill(exchange, trades, [yesterday])
    made = await runtime.store.read_candles(candles, yesterday)
    assert made
    assert await retention.apply() > 0
    assert await runtime.store.gaps({trades: yesterday}) == {trades: []}
    assert await runtime.store.read_trades(trades, yesterday) == []
    assert await runtime.store.read_candles(candles, yesterday) == made
    assert {one.state for one in await runtime.store.classify(candles, yesterday)} <= {
        State.TRADED,
        State.VERIFIED_EMPTY,
    }


async def test_what_something_else_removed_is_found_and_fetched_again(runtime: Runtime) -> None:
    collector = HistoricTradeCollector(runtime=runtime)
    exchange = await runtime.exchanges.get("kraken")
    trades = await runtime.store.series("kraken", "BTC/USD", "trades")
    span = (TODAY_US - 4 * 60 * MINUTE_US, TODAY_US)
    await collector._fill(exchange, trades, [span])
    before = await runtime.store.read_trades(trades, span)
    woken: list[str] = []
    check = StoreCheck(runtime, woken.append)
    assert before
    assert await check.look(pause_s=0) == []
    await in_store("DELETE FROM trades")
    [found] = await check.look(pause_s=0)
    assert (found.state, found.written, found.stored, woken) == (State.UNKNOWN, len(before), 0, ["kraken"])
    gaps = await runtime.store.gaps({trades: span})
    await collector._fill(exchange, trades, gaps[trades])
    assert await runtime.store.read_trades(trades, span) == before
    assert await runtime.store.gaps({trades: span}) == {trades: []}
    assert await check.look(pause_s=0) == []


async def test_what_an_exchange_no_longer_serves_is_unavailable_and_coarser_candles_take_its_place(
    runtime: Runtime,
) -> None:
    series = await ten_days(runtime, "hyperliquid", "BTC/USDC:USDC")
    exchange = await runtime.exchanges.get("hyperliquid")
    await in_store("DELETE FROM candles")
    found = await StoreCheck(runtime).look(pause_s=0)
    assert len(found) == 10
    runs = await runtime.store.coverage_intervals(series, (TODAY_US - 10 * DAY_US, TODAY_US))
    lost, unknown = runs[0], runs[-1]
    assert all(run.state is State.UNAVAILABLE and (run.reason or "").startswith(REMOVED) for run in runs[:-1])
    assert unknown.state is State.UNKNOWN
    [one] = [one for one in await load_wanted_symbols(runtime.config) if one.exchange == "hyperliquid"]
    gaps = await CoarseHistory(runtime).find_gaps(exchange, {one: (series, (lost.interval[0], TODAY_US))})
    assert "candles5m" in {coarse.channel for coarse in gaps}


async def test_verify_store_says_what_it_found_and_makes_it_unknown(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ask(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(main, ["verify", "--store", *arguments])
        return code, capsys.readouterr().out

    series = await ten_days(runtime, "binance", "BTC/USDT")
    assert await ask() == (0, "10 days compared: every row that was written is stored\n")
    await in_store("DELETE FROM candles WHERE timestamp < '2025-02-22'")
    code, out = await ask("binance:BTC/USDT", "--json", "--from", "2025-02-21", "--to", "2025-02-22")
    assert (code, json.loads(out)) == (
        1,
        {
            "days_compared": 1,
            "days": [
                {
                    "exchange": "binance",
                    "symbol": "BTC/USDT",
                    "channel": "candles1m",
                    "day": "2025-02-21",
                    "written": 144,
                    "stored": 0,
                    "now": "unknown",
                }
            ],
        },
    )
    gaps = await runtime.store.gaps({series: (TODAY_US - 10 * DAY_US, TODAY_US)})
    assert gaps == {series: [(TODAY_US - 10 * DAY_US, TODAY_US - 9 * DAY_US)]}
    assert (await ask())[0] == 0


async def test_symbols_set_says_how_long_rows_are_kept(
    market: SimulatedMarket, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ask(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(main, ["symbols", *arguments])
        return code, "".join(capsys.readouterr())

    changed = await ask("set", "kraken:BTC/USD", "--keep-trades", "30", "--keep-candles", "all")
    assert changed == (0, "kraken:BTC/USD: trades kept: 30 d, candles kept: all\n")
    _, out = await ask("list", "-x", "kraken", "--json")
    [listed] = json.loads(out)["symbols"]
    assert (listed["keep_trades_days"], listed["keep_candles_days"]) == (30, 0)
    assert (await ask("set", "kraken:BTC/USD", "--keep-trades", "default"))[0] == 0
    code, out = await ask("set", "kraken:BTC/USD", "--keep-trades", "-3")
    assert code == 2
    code, out = await ask("set", "kraken:BTC/USD", "--keep-candles", "0")
    assert (code, "allowed is a number of days from 1 to 36500" in out) == (2, True)
