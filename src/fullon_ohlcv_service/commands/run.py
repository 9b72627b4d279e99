"""`fullon-ohlcv run` and `fullon-ohlcv demo`: the daemon itself."""

import os
from pathlib import Path
from typing import Annotated

import typer

from fullon_embedded import stopping_in_order
from fullon_ohlcv_service import daemon
from fullon_ohlcv_service.commands.places import DEMO_DIRECTORY, keep_log
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig

Duration = Annotated[float | None, typer.Option("--duration", min=0.1, metavar="SECONDS", help="Stop after this long.")]


def run(duration: Duration = None) -> None:
    """Collect until Ctrl-C, SIGTERM or the end of the terminal; on a terminal with a live table.

    A second daemon on the same database waits, and takes over when the first ends. Its log is what
    `fullon-ohlcv logs` shows.

    \b
    Examples:
      fullon-ohlcv run
    """
    OhlcvServiceConfig.from_env()
    keep_log()
    with stopping_in_order():
        console = daemon.take_terminal()
        with daemon.embedded_servers(console) as servers:
            daemon.run(daemon.serve(console, servers=servers, duration_s=duration))


def demo(context: typer.Context, duration: Duration = None) -> None:
    """Show it: a simulated market, embedded servers of its own and the real daemon; Ctrl-C compares and ends.

    Meanwhile every command looks at it with --demo before its name.

    \b
    Examples:
      fullon-ohlcv demo
      fullon-ohlcv --demo status
    """
    from fullon_ohlcv_service import demo as program  # noqa: PLC0415 - only the demo needs a simulated market

    said = context.parent.params.get("data_dir") if context.parent else None
    os.environ["FULLON_DATA_DIR"] = str(said or Path.home() / DEMO_DIRECTORY)
    if duration is not None:
        os.environ["DURATION"] = str(duration)
    if code := program.main():
        raise typer.Exit(code if code == daemon.INTERRUPTED else 2)
