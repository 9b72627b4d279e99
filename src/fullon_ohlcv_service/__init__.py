"""A market-data collector that can account for every minute of every symbol."""
