"""Candles, trades and their coverage in PostgreSQL/TimescaleDB.

`fullon_ohlcv.store.TimeseriesStore` is the store; `fullon_ohlcv.repositories.ohlcv` are its per-symbol faces.
"""
