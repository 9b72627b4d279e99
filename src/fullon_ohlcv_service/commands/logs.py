"""`fullon-ohlcv logs`: the recent log of one symbol or exchange."""

import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.text import Text

from fullon_log.settings import LEVELS
from fullon_ohlcv_service.commands.completion import complete_name
from fullon_ohlcv_service.commands.environment import say_command, split_name
from fullon_ohlcv_service.commands.places import log_file
from fullon_ohlcv_service.commands.screen import make_console
from fullon_ohlcv_service.errors import CommandError

READ_MAX_BYTES = 64_000_000
"""So much of the file's end is looked through."""
POLL_S = 0.5
STYLES = {"TRACE": "dim", "DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_LEVEL = re.compile(rf"\b({'|'.join(LEVELS)})\b")


def logs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="kraken:BTC/USD, BTC/USD or kraken; by default everything.",
            autocompletion=complete_name,
        ),
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
    console = make_console()
    try:
        with path.open(encoding="utf-8", errors="replace") as log:
            size = path.stat().st_size
            if size > READ_MAX_BYTES:
                log.seek(size - READ_MAX_BYTES)
                log.readline()
            found = deque(is_meant(log), maxlen=lines)
            _print(found, console)
            read_to = log.tell()
        if follow:
            _follow(path, read_to, is_meant, console)
    except FileNotFoundError:
        raise CommandError(
            f"there is no log at {path}: {say_command('run')} writes one; of a daemon started otherwise, LOG_FILE_PATH "
            "names it, and systemd keeps it: journalctl -u fullon-ohlcv"
        ) from None
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    if not found:
        make_console(stderr=True).print(f"nothing of {name or 'that level'} in {path}")


class EntryFilter:
    """Yields the lines of entries that name a symbol or exchange, of a level or above, each with its level."""

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
        self._level = "INFO"

    def __call__(self, log: Iterable[str]) -> Iterator[tuple[str, str]]:
        for each in log:
            line = each.rstrip("\n")
            if not line.startswith("    "):
                said = _LEVEL.search(line)
                self._level = said[1] if said else "INFO"
                self._is_shown = LEVELS[self._level] >= self._level_no and all(
                    one.search(line) for one in self._patterns
                )
            if self._is_shown:
                yield line, self._level


def _print(lines: Iterable[tuple[str, str]], console: Console) -> None:
    """Print lines as they stand in the file; on a terminal what needs a look can be seen from afar."""
    for line, level in lines:
        if console.is_terminal:
            console.print(Text(line, STYLES.get(level, "")), soft_wrap=True)
        else:
            print(line, flush=True)


def _follow(path: Path, begin: int, is_meant: EntryFilter, console: Console) -> None:
    """Print what is written from the place `begin` on, also into the files that take this one's place."""
    while True:
        with path.open(encoding="utf-8", errors="replace") as log:
            log.seek(begin)
            while not _is_replaced(log, path):
                _print(is_meant(iter(log.readline, "")), console)
                time.sleep(POLL_S)
            _print(is_meant(iter(log.readline, "")), console)
        begin = 0


def _is_replaced(log: TextIO, path: Path) -> bool:
    """Tell whether another file stands at `path` by now."""
    try:
        return not os.path.samestat(os.fstat(log.fileno()), path.stat())
    except FileNotFoundError:
        return False
