"""How answers look: tables on a terminal, plain stable columns in a pipe, JSON on request."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fullon_ohlcv_service.commands.completion import complete_exchange, complete_symbol
from fullon_ohlcv_service.errors import CommandError

PIPE_WIDTH = 1000

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Start: 2026-11-20, 2026-11-20T12:30 or 3d.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End, not included; the same forms, or now.")]
OfExchange = Annotated[
    str | None,
    typer.Option("--exchange", "-x", metavar="NAME", help="Only this exchange.", autocompletion=complete_exchange),
]
SymbolName = Annotated[
    str, typer.Argument(metavar="SYMBOL", help="BTC/USD, or kraken:BTC/USD.", autocompletion=complete_symbol)
]
SymbolNames = Annotated[
    list[str] | None, typer.Argument(metavar="SYMBOL", help="By default all.", autocompletion=complete_symbol)
]


def make_console(*, stderr: bool = False) -> Console:
    """Return the console of an answer; in a pipe it neither wraps nor colours."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else PIPE_WIDTH)


def note(sentence: str) -> None:
    """Say something beside the answer: what reads the answer in a pipe does not get it."""
    make_console(stderr=not sys.stdout.isatty()).print(sentence)


def print_json(answer: Any) -> None:
    """Print an answer for programs: one line in a pipe, indented on a terminal."""
    print(json.dumps(answer, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False), flush=True)


def check_place(file: Path) -> None:
    """Refuse a file that cannot be written where it is said, before any work is done for it."""
    if not file.parent.is_dir():
        raise CommandError(f"cannot write {file}: {file.parent} is no directory")
    if file.is_dir():
        raise CommandError(f"cannot write {file}: it is a directory")


def say_percent(ratio: float | None) -> str:
    """Return a share in percent, never rounded up: 100 is kept for nothing missing."""
    return "" if ratio is None else f"{int(ratio * 10_000 + 1e-6) / 100:.2f} %"


def confirm(question: str, *, yes: bool) -> bool:
    """Ask on the terminal; without one, nothing is agreed to unless `yes` says so."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return typer.confirm(question, err=True)
