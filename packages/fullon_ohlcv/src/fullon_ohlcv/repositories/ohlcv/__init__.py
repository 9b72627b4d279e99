"""Candles, trades and rolled-up time series of one symbol."""

from fullon_ohlcv.repositories.ohlcv.base_repository import OHLCVBaseRepository
from fullon_ohlcv.repositories.ohlcv.candle_repository import CandleRepository
from fullon_ohlcv.repositories.ohlcv.timeseries_repository import TimeseriesRepository
from fullon_ohlcv.repositories.ohlcv.trade_repository import TradeRepository

__all__ = ["CandleRepository", "OHLCVBaseRepository", "TimeseriesRepository", "TradeRepository"]
