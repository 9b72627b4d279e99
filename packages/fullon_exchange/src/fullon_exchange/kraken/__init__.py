"""Kraken spot: pure mappers, the WebSocket v2 protocol, REST history."""
