"""Process status, trade streams and candle caches in Redis."""

from fullon_cache.base_cache import BaseCache
from fullon_cache.closed_candles import ClosedCandle, ClosedCandles, closed_channel, watch_closed
from fullon_cache.connection_pool import ConnectionPool
from fullon_cache.errors import (
    CacheError,
    ConfigurationError,
    ConnectionError,
    KeyNotFoundError,
    LockError,
    OutOfMemory,
    PubSubError,
    SerializationError,
    StreamError,
    StreamFull,
    StreamReset,
)
from fullon_cache.ohlcv_cache import OHLCVCache
from fullon_cache.process_cache import (
    ProcessCache,
    ProcessRecord,
    ProcessStatus,
    ProcessType,
    ProcessUpdate,
)
from fullon_cache.settings import CacheSettings
from fullon_cache.trades_cache import Frame, TradesCache

__all__ = [
    "BaseCache",
    "CacheError",
    "CacheSettings",
    "ClosedCandle",
    "ClosedCandles",
    "ConfigurationError",
    "ConnectionError",
    "ConnectionPool",
    "Frame",
    "KeyNotFoundError",
    "LockError",
    "OHLCVCache",
    "OutOfMemory",
    "ProcessCache",
    "ProcessRecord",
    "ProcessStatus",
    "ProcessType",
    "ProcessUpdate",
    "PubSubError",
    "SerializationError",
    "StreamError",
    "StreamFull",
    "StreamReset",
    "TradesCache",
    "closed_channel",
    "watch_closed",
]
