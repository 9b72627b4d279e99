"""Fixtures of the contract's tests: one pair of databases for a module, and small markets without any."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from demo_data import create_dual_test_databases, drop_dual_test_databases, name_test_database
from fixed_clock import set_market_clock

from fullon_cache import ConnectionPool
from fullon_exchange.queue import ExchangeQueue
from fullon_log import configure_logger
from fullon_orm.database import DatabaseManager
from fullon_simulator import SimulatedMarket, SymbolSpec

SPEED = 30.0


@pytest.fixture(scope="module")
def databases(servers: object) -> Iterator[tuple[str, str]]:
    """A pair of dual test databases for all tests of a module, each of which uses names of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("DB_NAME", "DB_OHLCV_NAME"):
            patch.setenv(variable, "")  # so that what is set from here on is taken back
        names = asyncio.run(create_dual_test_databases(f"{name_test_database()}_contract"))
        patch.setenv("DB_TEST_NAME", f"{names[0]}_test")
        yield names
        asyncio.run(drop_dual_test_databases(*names))
        asyncio.run(DatabaseManager().drop_database(f"{names[0]}_test"))


@pytest.fixture
async def redis(servers: object, monkeypatch: pytest.MonkeyPatch) -> ConnectionPool:
    """An empty Redis database that no other worker uses."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    monkeypatch.setenv("REDIS_DB", str(8 + int(worker) % 8))
    pool = await ConnectionPool.shared()
    await pool.run("FLUSHDB")
    return pool


@pytest.fixture
async def venues(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedMarket]:
    """A market of each of the four venues, minutes of two seconds; the environment points at them."""
    set_market_clock(monkeypatch, SPEED)
    symbols = {"kraken": "BTC/USD", "binance": "BTC/USDT", "bitmex": "BTC/USD:BTC", "hyperliquid": "BTC/USDC:USDC"}
    market = SimulatedMarket({name: [SymbolSpec(each, kind="busy")] for name, each in symbols.items()}, seed=5)
    async with market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        yield market
        await ExchangeQueue.shutdown_factory()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged meanwhile, as rendered; the test configures the logger with `sink=lines.append`."""
    yield []
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("LOG_")]:
            patch.delenv(variable)
        configure_logger()
