"""Process status, trade streams and candle caches in Redis."""
