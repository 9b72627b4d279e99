"""The commands of `fullon-ohlcv`: one module each, or for a small group."""
