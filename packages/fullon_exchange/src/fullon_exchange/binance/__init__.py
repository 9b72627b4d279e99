"""Binance spot: pure mappers, the WebSocket streams protocol, REST history."""
