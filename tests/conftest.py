"""Fixtures of the service's tests: fresh databases, a simulated market with an accelerated clock, a daemon on it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from demo_data import create_dual_test_databases, drop_dual_test_databases
from fixed_clock import set_market_clock

from fullon_cache import ConnectionPool
from fullon_exchange.clock import Clock
from fullon_log import configure_logger
from fullon_ohlcv_service.demo import seed_database
from fullon_orm import init_db
from fullon_orm.database import DatabaseManager
from fullon_simulator import SimulatedMarket, SymbolSpec

SPEED = 20.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal out the files with long tests, so that each of several workers begins with some and ends with short ones.

    A worker's share is a stretch of the list, and the last tests of a share stay with it. Long are those that say how
    long they may take, and whatever runs a daemon.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    shares: list[list[pytest.Item]] = [[] for _ in range(workers)]
    loads = [0.0] * workers
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    short: list[pytest.Item] = []
    for ours in sorted(files.values(), key=_load, reverse=True):
        if not _load(ours):
            short += ours
            continue
        least = loads.index(min(loads))
        loads[least] += _load(ours)
        shares[least] += ours
    for left, share in zip(range(workers, 0, -1), shares, strict=True):
        size = max(0, (len(short) + sum(map(len, shares[workers - left :]))) // left - len(share))
        share.extend(short[:size])
        del short[:size]
    items[:] = [item for share in shares for item in share] + short


def _load(file: list[pytest.Item]) -> float:
    """Guess how long the tests of a file take, in some unit; 0 of short ones."""
    marks = [item.get_closest_marker("timeout") for item in file]
    weight = sum(mark.args[0] for mark in marks if mark is not None)
    return float(weight or 20 * len(file) * ("integration" in file[0].path.parts))


@pytest.fixture(autouse=True)
def heard() -> None:
    """What is logged goes to stderr, whatever a test before has configured in this process."""
    configure_logger(level="INFO", console=True, file_path="")


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No daemon of a test serves HTTP unless the test asks for it: several run side by side."""
    monkeypatch.setenv("OHLCV_HTTP_BIND", "")


@pytest.fixture
async def fresh_databases(servers: object, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The dual test databases of the examples, and an empty Redis database of this worker; dropped afterwards."""
    for variable in ("DB_NAME", "DB_OHLCV_NAME"):
        monkeypatch.setenv(variable, "")  # so that what is set from here on is taken back
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    monkeypatch.setenv("REDIS_DB", str(8 + int(worker) % 8))
    await _empty_redis()
    orm, ohlcv = await create_dual_test_databases()
    monkeypatch.setenv("DB_TEST_NAME", f"{orm}_test")
    yield
    await drop_dual_test_databases(orm, ohlcv)
    await DatabaseManager().drop_database(f"{orm}_test")


async def _empty_redis() -> None:
    pool = await ConnectionPool.shared()
    await pool.run("FLUSHDB")


@pytest.fixture
def speed() -> float:
    """How many seconds of the market a second lasts; a module may have another."""
    return SPEED


@pytest.fixture
def bitcoin() -> dict[str, Any]:
    """How the bitcoin of both venues trades; a module may have another."""
    return {"kind": "busy", "price": 60_000.0}


@pytest.fixture
def venues(bitcoin: dict[str, Any]) -> dict[str, list[SymbolSpec]]:
    """The exchanges of the market and their symbols; a module may have others."""
    return {
        "kraken": [SymbolSpec("BTC/USD", **bitcoin), SymbolSpec("ADA/USD", kind="quiet", price=0.5)],
        "binance": [SymbolSpec("BTC/USDT", **bitcoin), SymbolSpec("ADA/USDT", kind="quiet")],
    }


@pytest.fixture
async def market(
    fresh_databases: None, speed: float, venues: dict[str, list[SymbolSpec]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SimulatedMarket]:
    """Two small venues whose minutes last three seconds; the environment points at them."""
    set_market_clock(monkeypatch, speed)
    monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "60")
    async with SimulatedMarket(venues, seed=5) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
async def seeded(market: SimulatedMarket) -> SimulatedMarket:
    """The market, with the admin, its exchanges and its symbols in the database; one day to back-fill."""
    await init_db()
    await seed_database(market, backtest_days=1)
    return market


@pytest.fixture
def clock(market: SimulatedMarket) -> Clock:
    """The clock that market and daemon share."""
    return Clock.from_env()
