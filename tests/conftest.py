"""Fixtures of the service's tests: fresh databases, a simulated market with an accelerated clock, a daemon on it."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_data import drop_dual_test_databases, name_test_database
from fixed_clock import set_market_clock
from template_databases import template_databases

from fullon_cache import ConnectionPool
from fullon_exchange.clock import Clock
from fullon_log import configure_logger
from fullon_ohlcv.connection import Target, connect
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


@pytest.fixture(scope="session")
def templates(servers: object) -> Iterator[tuple[str, str]]:
    """The dual test databases with their schemas, to be copied."""
    with template_databases() as names:
        yield names


@pytest.fixture
async def fresh_databases(templates: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Dual test databases as the examples create them, and an empty Redis database of this worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    monkeypatch.setenv("REDIS_DB", str(8 + int(worker) % 8))
    await _empty_redis()
    orm = name_test_database()
    names = orm, f"{orm}_ohlcv"
    await drop_dual_test_databases(*names)
    connection = await connect(Target.from_env().of("postgres"))
    try:
        for name, template in zip(names, templates, strict=True):
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    finally:
        await connection.close()
    for variable, name in zip(("DB_NAME", "DB_OHLCV_NAME"), names, strict=True):
        monkeypatch.setenv(variable, name)
    monkeypatch.setenv("DB_TEST_NAME", f"{orm}_test")
    yield
    await drop_dual_test_databases(*names)
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
def market_specs(bitcoin: dict[str, Any]) -> dict[str, list[SymbolSpec]]:
    """The exchanges of the market and their symbols; a module may have others."""
    return {
        "kraken": [SymbolSpec("BTC/USD", **bitcoin), SymbolSpec("ADA/USD", kind="quiet", price=0.5)],
        "binance": [SymbolSpec("BTC/USDT", **bitcoin), SymbolSpec("ADA/USDT", kind="quiet")],
    }


@pytest.fixture
async def market(
    fresh_databases: None, speed: float, market_specs: dict[str, list[SymbolSpec]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SimulatedMarket]:
    """Two small venues whose minutes last three seconds; the environment points at them."""
    set_market_clock(monkeypatch, speed)
    monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "60")
    async with SimulatedMarket(market_specs, seed=5) as running:
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
