"""The alert rules of deploy/ fire on what a real daemon exports while things go wrong, and end once they are mended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from alerting import RULES, Alerts, read_rules
from fixed_clock import set_market_clock
from support import eventually

from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.demo import seed_database
from fullon_orm import init_db
from fullon_simulator import SimulatedMarket, SymbolSpec

FORGETFUL = "BTC/USDC:USDC"
"""A market of a venue that serves the newest 5,000 candles only."""


@pytest.fixture
def speed() -> float:
    """A minute lasts a second."""
    return 60.0


@pytest.fixture
async def seeded(
    fresh_databases: None, speed: float, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SimulatedMarket]:
    """A venue that forgets nothing and one that forgets, of whose history more is wanted than it serves."""
    set_market_clock(monkeypatch, speed)
    monkeypatch.setenv("OHLCV_HTTP_BIND", "127.0.0.1:0")
    monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "0.5")
    venues = {
        "kraken": [SymbolSpec("BTC/USD", kind="busy", price=60_000.0)],
        "hyperliquid": [SymbolSpec(FORGETFUL, kind="busy", price=60_000.0)],
    }
    async with SimulatedMarket(venues, seed=5) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        await init_db()
        await seed_database(market, backtest_days=4)
        yield market


class Prometheus:
    """Scrapes a daemon again and again and judges the rules each time."""

    def __init__(self, daemon: OhlcvServiceDaemon) -> None:
        self._daemon = daemon
        self._url = ""
        self._alerts = Alerts(read_rules(RULES))

    async def firing(self) -> set[tuple[str, str]]:
        server = self._daemon._http
        if server is not None and server.address is not None:
            self._url = f"http://{server.address}"
        status, body = await self.ask("/metrics")
        self._alerts.take(body if status == 200 else None)
        return self._alerts.firing()

    async def ask(self, path: str) -> tuple[int, str]:
        """Status and body; status 0 where nobody answers."""
        try:
            async with aiohttp.ClientSession() as client, client.get(f"{self._url}{path}") as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientConnectionError, aiohttp.InvalidURL):
            return 0, ""

    async def fires(self, alert: str, about: str) -> None:
        async def holds() -> bool:
            return (alert, about) in await self.firing()

        await eventually(holds, f"{alert} fires for {about or 'the daemon'}")

    async def is_silent(self, alert: str) -> None:
        async def holds() -> bool:
            return alert not in {name for name, _ in await self.firing()}

        await eventually(holds, f"{alert} is over")


async def test_a_near_deadline_a_stalled_symbol_a_full_buffer_and_a_dead_daemon_are_each_told(
    seeded: SimulatedMarket,
) -> None:
    refused = seeded.faults.begin("status", venue="hyperliquid", channel="candles")
    daemon = OhlcvServiceDaemon()
    prometheus = Prometheus(daemon)
    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.run())
        try:
            await prometheus.fires("OhlcvGapNearDeadline", FORGETFUL)
            seeded.faults.heal(refused)
            await prometheus.is_silent("OhlcvGapNearDeadline")
            await prometheus.is_silent("OhlcvSymbolStalled")
            assert "OhlcvDaemonDown" not in {name for name, _ in await prometheus.firing()}
            await _stall(seeded, prometheus)
            await _fill_a_buffer(daemon, prometheus)
        finally:
            await daemon.cleanup()
    await prometheus.fires("OhlcvDaemonDown", "")


async def _stall(market: SimulatedMarket, prometheus: Prometheus) -> None:
    """A stream is silent and REST does not answer for it either; the socket is open and the process well."""

    async def is_ready() -> bool:
        return (await prometheus.ask("/ready"))[0] == 200

    await eventually(is_ready, "ready: all is fresh")
    faults = [
        market.faults.begin("stall", venue="kraken", symbol="BTC/USD"),
        market.faults.begin("status", venue="kraken", symbol="BTC/USD"),
    ]
    await prometheus.fires("OhlcvSymbolStalled", "BTC/USD")
    assert ("OhlcvSymbolStalled", FORGETFUL) not in await prometheus.firing()
    status, body = await prometheus.ask("/ready")
    answer = json.loads(body)
    assert (status, answer["ready"]) == (503, False)
    assert [(one["exchange"], one["symbol"]) for one in answer["reasons"]] == [("kraken", "BTC/USD")]
    assert (await prometheus.ask("/live"))[0] == 200
    for fault in faults:
        market.faults.heal(fault)
    await eventually(is_ready, "ready again")
    await prometheus.is_silent("OhlcvSymbolStalled")


async def _fill_a_buffer(daemon: OhlcvServiceDaemon, prometheus: Prometheus) -> None:
    """Redis takes nothing more, so trades wait in memory, where there is room for ten."""
    runtime, collecting = daemon._runtime, daemon._condition.collecting
    assert runtime is not None
    assert collecting is not None
    [sink] = [stream.sink for live in collecting.live if (stream := live.streams.get("kraken")) is not None]
    room, runtime.trades_cache._frames_max = runtime.trades_cache._frames_max, 0
    await eventually(lambda: sink.buffered >= 10, "ten trades wait")
    sink.buffer_max = 10
    await prometheus.fires("OhlcvBufferFull", "kraken")
    runtime.trades_cache._frames_max = room
    await prometheus.is_silent("OhlcvBufferFull")
