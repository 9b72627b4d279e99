"""Where things are kept."""

import os
from pathlib import Path

DEMO_DIRECTORY = ".local/share/fullon-demo"
"""Its servers, below the home directory."""
MARKET_FILE = "market.env"
"""In the directory of its servers: how its simulated market is reached."""
LOG_FILE = "fullon-ohlcv.log"


def log_file() -> Path:
    """Return where `fullon-ohlcv run` logs to, unless LOG_FILE_PATH says otherwise."""
    directory = os.environ.get("FULLON_DATA_DIR") or Path.home() / ".local/share/fullon"
    return Path(directory).expanduser() / LOG_FILE
