"""Hyperliquid, perpetuals and spot: pure mappers, the WebSocket protocol, REST history."""
