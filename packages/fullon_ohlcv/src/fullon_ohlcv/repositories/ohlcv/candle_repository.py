"""Saving 1-minute candles of one symbol."""

from collections.abc import Sequence
from typing import Any

from fullon_ohlcv.models import Candle
from fullon_ohlcv.records import CandleWrite
from fullon_ohlcv.repositories.ohlcv.base_repository import Moment, OHLCVBaseRepository, moment_us
from fullon_ohlcv.timeframe import to_us


class CandleRepository(OHLCVBaseRepository):
    """The stored 1-minute candles of one symbol."""

    channel = "candles1m"

    async def save_candles(
        self,
        candles: Sequence[Candle] | Sequence[Sequence[float]],
        *,
        covering: tuple[Moment, Moment] | None = None,
    ) -> bool:
        """Insert or correct candles; True if every row was good.

        A row is a `Candle`, or `[ts_ms, open, high, low, close, volume]` with the open time in milliseconds.
        Bad rows are logged one by one and listed in `rejected`, the rest is stored. `covering=(start, end)` says
        that the rows are everything the exchange published in that half-open interval.
        """
        covered = [] if covering is None else [(moment_us(covering[0]), moment_us(covering[1]))]
        write = CandleWrite(await self._series(self.channel), [_row(candle) for candle in candles], covered)
        return self._report(await self.store.write_candles([write]))


def _row(candle: Any) -> Any:
    """Turn a candle into a row of the store; what cannot be turned goes on as it is, to be refused there by name."""
    try:
        if isinstance(candle, Candle):
            return (
                to_us(candle.timestamp),
                candle.open,
                candle.high,
                candle.low,
                candle.close,
                candle.vol,
                None,
            )
        ts_ms, open_, high, low, close, volume = candle
        if ts_ms != int(ts_ms):
            return candle
        return int(ts_ms) * 1000, open_, high, low, close, volume, None
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return candle
