"""Where things are kept."""

import os
from pathlib import Path

from fullon_ohlcv_service.errors import CommandError

DEMO_DIRECTORY = ".local/share/fullon-demo"
"""Its servers, below the home directory."""
MARKET_FILE = "market.env"
"""In the directory of its servers: how its simulated market is reached."""
LOG_FILE = "fullon-ohlcv.log"


def log_file() -> Path:
    """Return where `fullon-ohlcv run` logs to, unless LOG_FILE_PATH says otherwise."""
    directory = os.environ.get("FULLON_DATA_DIR") or Path.home() / ".local/share/fullon"
    return Path(directory).expanduser() / LOG_FILE


def keep_log() -> None:
    """Log into a file, where nothing else is asked for: a table takes the console from the log.

    Raises:
        CommandError: its directory cannot be made.
    """
    if os.environ.get("LOG_FILE_PATH"):
        return
    path = log_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make {path.parent}: {error.strerror}; --data-dir names another") from error
    os.environ["LOG_FILE_PATH"] = str(path)
    os.environ.setdefault("LOG_ROTATION", "20 MB")
    os.environ.setdefault("LOG_RETENTION", "5")
