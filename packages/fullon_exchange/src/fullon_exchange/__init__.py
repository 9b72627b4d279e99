"""Market data of exchanges over REST and WebSocket."""
