"""History of trades: gaps → REST pages → trades, the candles folded from them, and coverage."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar

from fullon_exchange.interface import Exchange, Urgency
from fullon_exchange.records import Channel, Page
from fullon_ohlcv.records import Interval, Series, TradeWrite, WriteResult
from fullon_ohlcv_service.history import HistoricCollector


class HistoricTradeCollector(HistoricCollector):
    """Keeps trades complete, where candles are folded from them or where they are asked for."""

    channel: ClassVar[Channel] = "trades"
    log_name = "fullon.trade.historic"
    record_type = "historic_trade"

    def serves(self, exchange: Exchange) -> bool:
        """Serve venues with a trade history whose trades are needed or wanted."""
        wanted = exchange.traits.candles_from_trades or self._rt.config.collect_trades == "all"
        return wanted and exchange.traits.trade_history

    def _pages(
        self, exchange: Exchange, series: Series, interval: Interval, urgency: Urgency
    ) -> AsyncIterator[Page[Any]]:
        return exchange.fetch_trades(series.symbol, *interval, urgency=urgency)

    async def _write(
        self, exchange: Exchange, series: Series, page: Page[Any], covered: Sequence[Interval], why: str = ""
    ) -> WriteResult:
        rows = [
            (one.timestamp_us, one.price, one.volume, one.side, one.order_type, one.trade_id) for one in page.records
        ]
        candles = None
        if exchange.traits.candles_from_trades:
            candles = await self._rt.store.series(series.exchange, series.symbol, "candles1m")
        write = TradeWrite(series, rows, covered, candles, page.unavailable, self._confirmed(exchange, page, covered))
        return await self._rt.store.write_trades([write], why=why)
