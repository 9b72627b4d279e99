"""BitMEX, closed since 2026-09-23: pure mappers, the realtime protocol, REST history."""
