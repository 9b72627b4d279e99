"""History of candles: gaps → REST pages → rows and coverage."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.interface import Exchange, Urgency
from fullon_exchange.records import Channel, Page
from fullon_ohlcv.records import CandleWrite, Interval, Series, WriteResult
from fullon_ohlcv_service.gap_order import reach_us
from fullon_ohlcv_service.history import HistoricCollector
from fullon_ohlcv_service.ohlcv.coarse_history import CoarseHistory


class HistoricOHLCVCollector(HistoricCollector):
    """Keeps the 1-minute candles of venues with trustworthy candles complete, and coarser ones where those are gone."""

    channel: ClassVar[Channel] = "candles1m"
    log_name = "fullon.ohlcv.historic"
    record_type = "historic"

    def serves(self, exchange: Exchange) -> bool:
        """Serve venues whose own candles are stored."""
        return not exchange.traits.candles_from_trades

    def _reach_us(self, exchange: Exchange, series: Series) -> int | None:
        step_us = series.timeframe.width_us if series.timeframe is not None else None
        return reach_us(exchange.clock.now_us(), exchange.traits.candle_window, step_us or MINUTE_US)

    async def _find_gaps(self, exchange: Exchange) -> dict[Series, list[Interval]]:
        gaps = await super()._find_gaps(exchange)
        return gaps | await CoarseHistory(self._rt).find_gaps(exchange, await self._ranges(exchange))

    def _pages(
        self, exchange: Exchange, series: Series, interval: Interval, urgency: Urgency
    ) -> AsyncIterator[Page[Any]]:
        return exchange.fetch_candles(series.symbol, str(series.timeframe), *interval, urgency=urgency)

    async def _write(
        self, exchange: Exchange, series: Series, page: Page[Any], covered: Sequence[Interval], why: str = ""
    ) -> WriteResult:
        rows = [
            (one.timestamp_us, one.open, one.high, one.low, one.close, one.volume, one.trades) for one in page.records
        ]
        write = CandleWrite(series, rows, covered, page.unavailable, self._confirmed(exchange, page, covered))
        return await self._rt.store.write_candles([write], why=why)
