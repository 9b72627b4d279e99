"""`fullon-ohlcv logs`: the recent log of one symbol or exchange."""

import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from fullon_log.settings import LEVELS
from fullon_ohlcv_service.commands.environment import split_name
from fullon_ohlcv_service.commands.places import log_file
from fullon_ohlcv_service.commands.screen import make_console
from fullon_ohlcv_service.errors import CommandError

READ_MAX_BYTES = 64_000_000
"""So much of the file's end is looked through."""
POLL_S = 0.5
_LEVEL = re.compile(rf"\b({'|'.join(LEVELS)})\b")


def logs(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="kraken:BTC/USD, BTC/USD or kraken; by default everything.")
    ] = None,
    *,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=100_000, metavar="N", help="How many, at most.")
    ] = 50,
    level: Annotated[str, typer.Option("--level", "-l", metavar="LEVEL", help="This level or above.")] = "TRACE",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Another log file.")] = None,
) -> None:
    """Show the recent log of one symbol or exchange.

    It reads LOG_FILE_PATH, else the file that `fullon-ohlcv run` writes beside the embedded servers.

    \b
    Examples:
      fullon-ohlcv logs kraken:BTC/USD
      fullon-ohlcv logs kraken --level warning --follow
    """
    if level.upper() not in LEVELS:
        raise CommandError(f"--level is {level!r}; allowed are {', '.join(LEVELS)}")
    path = file or Path(os.environ.get("LOG_FILE_PATH") or log_file())
    is_meant = EntryFilter(name, LEVELS[level.upper()])
    try:
        with path.open(encoding="utf-8", errors="replace") as log:
            size = path.stat().st_size
            if size > READ_MAX_BYTES:
                log.seek(size - READ_MAX_BYTES)
                log.readline()
            found = deque(is_meant(log), maxlen=lines)
            for line in found:
                print(line)
            if follow:
                _follow(log, is_meant)
    except FileNotFoundError:
        raise CommandError(
            f"there is no log at {path}: `fullon-ohlcv run` writes one; of a daemon started otherwise, LOG_FILE_PATH "
            "names it, and systemd keeps it: journalctl -u fullon-ohlcv"
        ) from None
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    if not found:
        make_console(stderr=True).print(f"nothing of {name or 'that level'} in {path}")


class EntryFilter:
    """Yields the lines of entries that name a symbol or exchange, of a level or above."""

    def __init__(self, name: str | None, level_no: int) -> None:
        exchange, symbol = split_name(name) if name else (None, "")
        if name and exchange is None and "/" not in name:
            exchange, symbol = name.lower(), ""
        self._patterns = []
        if exchange:
            self._patterns.append(re.compile(rf"[\"=.: ]{re.escape(exchange)}\b"))
        if symbol:
            self._patterns.append(re.compile(rf"(?<![\w/]){re.escape(symbol)}(?![\w/])"))
        self._level_no = level_no
        self._is_shown = False

    def __call__(self, log: Iterable[str]) -> Iterator[str]:
        for each in log:
            line = each.rstrip("\n")
            if not line.startswith("    "):
                said = _LEVEL.search(line)
                level_no = LEVELS[said[1]] if said else LEVELS["INFO"]
                self._is_shown = level_no >= self._level_no and all(one.search(line) for one in self._patterns)
            if self._is_shown:
                yield line


def _follow(log: TextIO, is_meant: EntryFilter) -> None:
    while True:
        for line in is_meant(iter(log.readline, "")):
            print(line, flush=True)
        time.sleep(POLL_S)
