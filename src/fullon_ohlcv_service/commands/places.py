"""Where the demo keeps what is its own."""

DEMO_DIRECTORY = ".local/share/fullon-demo"
"""Its servers, below the home directory."""
MARKET_FILE = "market.env"
"""In the directory of its servers: how its simulated market is reached."""
