"""What history asks an exchange for first: what that forgets soonest, whatever the names and the ages of the gaps."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fixed_clock import set_market_clock
from support import eventually

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_exchange.interface import Exchange, Urgency
from fullon_exchange.records import Page
from fullon_ohlcv.records import CandleWrite, Interval, Series
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.gap_order import reach_us
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.runtime import open_runtime
from fullon_simulator import SimulatedMarket, SymbolSpec

HOUR_US = 60 * MINUTE_US
HURRIED = "BTC/USDC:USDC"
OTHERS = [f"{base}/USDC:USDC" for base in ("ADA", "DOGE", "ETH", "SOL", "XRP")]


class Listening(HistoricOHLCVCollector):
    """The collector, which notes what it asks for."""

    asked: list[tuple[str, Interval]]

    def _pages(
        self, exchange: Exchange, series: Series, interval: Interval, urgency: Urgency
    ) -> AsyncIterator[Page[Any]]:
        if series.channel == self.channel:
            self.asked.append((series.symbol, interval))
        return super()._pages(exchange, series, interval, urgency)


async def test_what_is_forgotten_soonest_is_asked_for_first_and_what_is_forgotten_last(
    fresh_databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullon_ohlcv_service.history.CONCURRENT_SERIES_MAX", 1)
    set_market_clock(monkeypatch, 20.0)
    specs = [SymbolSpec(symbol, kind="quiet") for symbol in (HURRIED, *OTHERS)]
    async with SimulatedMarket({"hyperliquid": specs}, seed=5) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        async with open_runtime() as runtime:
            now_us = floor_minute_us(Clock.from_env().now_us())
            reaches_us = reach_us(now_us, 5_000, MINUTE_US) or 0
            forgotten = (reaches_us - 5 * HOUR_US, reaches_us - 4 * HOUR_US)
            expiring = (reaches_us + 2 * HOUR_US, reaches_us + 3 * HOUR_US)
            recent = (now_us - 3 * HOUR_US, now_us - 2 * HOUR_US)
            start_us = now_us - 6 * 24 * HOUR_US
            missing = {symbol: [recent] for symbol in OTHERS} | {HURRIED: [forgotten, expiring]}
            for symbol, gaps in missing.items():
                series = await runtime.store.series("hyperliquid", symbol, "candles1m")
                edges = [start_us, *(us for gap in gaps for us in gap), now_us]
                covered = list(zip(edges[::2], edges[1::2], strict=True))
                await runtime.store.write_candles([CandleWrite(series, [], covered)])
            collector = Listening(runtime=runtime)
            collector.asked = []
            await collector.want({WantedSymbol("hyperliquid", symbol, 5) for symbol in missing})
            async with asyncio.TaskGroup() as group:
                running = group.create_task(collector.run())
                everything = {(symbol, gap) for symbol, gaps in missing.items() for gap in gaps}
                await eventually(lambda: everything <= set(collector.asked), "all gaps are asked for")
                running.cancel()
    first = collector.asked.index
    assert first((HURRIED, expiring)) < first((HURRIED, forgotten))
    assert first((HURRIED, expiring)) < min(first((symbol, recent)) for symbol in OTHERS)
