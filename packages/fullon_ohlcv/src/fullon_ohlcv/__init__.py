"""Candles, trades and their coverage in PostgreSQL/TimescaleDB."""
