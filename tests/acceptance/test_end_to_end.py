"""The main job, end to end, as real processes: two exchanges, history and live, kill -9 in the middle, an audit."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from fixed_clock import set_market_clock

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.audit import Audit, audit
from fullon_ohlcv_service.config.database_config import WantedSymbol, load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.history import DAY_US
from fullon_orm import init_db
from fullon_simulator import Outlet, SimulatedMarket

SPEED = 15
SYMBOLS = 25
BACKTEST_DAYS = 2
PATIENCE_S = 150.0


class Daemon:
    """The daemon as an operator starts it."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    def kill(self) -> None:
        self.process.kill()

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            return await self.process.wait()


class Listening(Outlet):
    """Notes from when on each request asks for history."""

    def __init__(self) -> None:
        self.since_us: list[int] = []

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        since_us = int(request.query.get("since", 0)) // 1000 or int(request.query.get("startTime", 0)) * 1000
        if since_us:  # 0 asks for the listing time
            self.since_us.append(since_us)
        return request


@asynccontextmanager
async def start_daemon(log: Path) -> AsyncIterator[Daemon]:
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fullon_ohlcv_service.daemon", stdout=sink, stderr=sink, cwd=log.parent
        )
    try:
        yield Daemon(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def wait_for_ledger(
    store: TimeseriesStore, wanted: set[WantedSymbol], clock: Clock, end_us: int | None, ratio: float = 1.0
) -> None:
    """Wait until `ratio` of every wanted range up to `end_us` is accounted for."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        until_us = end_us or floor_minute_us(clock.now_us()) - 2 * MINUTE_US
        ranges = {
            await store.series(one.exchange, one.symbol, "candles1m"): (
                floor_minute_us(until_us - one.backtest_days * DAY_US + MINUTE_US),
                until_us,
            )
            for one in wanted
        }
        gaps = await store.gaps(ranges)
        missing_us = sum(end - start for intervals in gaps.values() for start, end in intervals)
        wanted_us = sum(end - start for start, end in ranges.values())
        if clock.now_us() > until_us + MINUTE_US and missing_us <= (1 - ratio) * wanted_us:
            return
        if time.monotonic() > give_up_s:
            examples = [(str(series), len(each), each[:3]) for series, each in gaps.items() if each][:5]
            pytest.fail(f"{missing_us / wanted_us:.2%} still missing of the wanted range: {examples}")
        await asyncio.sleep(0.3)


@pytest.mark.timeout(400)
async def test_after_kill_9_the_store_equals_what_the_exchanges_published(
    servers: object, tmp_path: Path, fresh_databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two exchanges with 25 symbols each, two days of history and live minutes; killed, started again, audited."""
    set_market_clock(monkeypatch, SPEED)
    monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "30")
    clock = Clock.from_env()
    listed_us = clock.now_us() - DAY_US - 12_345_678
    venues = {"kraken": SYMBOLS, "binance": SYMBOLS}
    async with SimulatedMarket(venues, seed=11, recent_listing_us=listed_us) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        await init_db()
        await seed_database(market, backtest_days=BACKTEST_DAYS)
        wanted = await load_wanted_symbols(OhlcvServiceConfig.from_env())
        assert len(wanted) == 2 * SYMBOLS
        log = tmp_path / "daemon.log"
        async with TimeseriesStore.open(now_us=clock.now_us) as store:
            async with start_daemon(log) as daemon:
                await wait_for_ledger(store, wanted, clock, None, ratio=0.3)
                daemon.kill()
                await daemon.process.wait()
            async with start_daemon(log) as daemon:
                await wait_for_ledger(store, wanted, clock, None)
                live_from_us = clock.now_us()
                await wait_for_ledger(store, wanted, clock, floor_minute_us(live_from_us) + 3 * MINUTE_US)
                end_us = floor_minute_us(live_from_us) + 3 * MINUTE_US
                assert await daemon.stop() == 0
            found = await _audited(store, market, wanted, end_us)
            # History alone and a single look at the ledger: what it asks for is what was missing.
            heard = [Listening() for _ in venues]
            for venue, listening in zip(venues, heard, strict=True):
                market.venue(venue).outlet = listening
            monkeypatch.setenv("OHLCV_ENABLE_STREAMING", "false")
            monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "86400")
            async with start_daemon(log) as daemon:
                await wait_for_ledger(store, wanted, clock, floor_minute_us(clock.now_us()))
                assert await daemon.stop() == 0
    assert found.sound, f"{found}\n" + "\n".join(found.examples) + "\n" + log.read_text()[-3000:]
    assert found.symbols == 2 * SYMBOLS
    assert found.minutes["traded"] > 0
    assert found.minutes["verified_empty"] > 0
    assert found.minutes["unavailable"] > 0
    assert found.trades > 0
    # What live had stored is confirmed once over REST; of what is older, no more than the samples of the re-check.
    for venue, listening in zip(venues, heard, strict=True):
        old = [since_us for since_us in listening.since_us if since_us < live_from_us - 15 * MINUTE_US]
        assert listening.since_us, venue
        assert len(old) <= len(listening.since_us) / 3, (
            f"{venue}: {len(old)} of {len(listening.since_us)} for old history"
        )
    assert "Traceback" not in log.read_text()


async def _audited(store: TimeseriesStore, market: SimulatedMarket, wanted: set[WantedSymbol], end_us: int) -> Audit:
    start_us = floor_minute_us(end_us - BACKTEST_DAYS * DAY_US) + 30 * MINUTE_US
    return await audit(store, market, wanted, start_us=start_us, end_us=end_us)


def test_the_environment_holds_no_setting_that_would_change_these_tests() -> None:
    """But that nothing is served over HTTP, as `conftest.py` has it for every test."""
    assert [name for name in os.environ if name.startswith("OHLCV_")] == ["OHLCV_HTTP_BIND"]
