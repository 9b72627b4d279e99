"""What is decided before a command begins: the variables it goes by, how symbols are named, how commands are."""

import os
from contextvars import ContextVar
from pathlib import Path

import typer

from fullon_ohlcv_service.commands.places import DEMO_DIRECTORY, MARKET_FILE
from fullon_ohlcv_service.config.servers import forget_servers
from fullon_ohlcv_service.config.settings import load_env_file
from fullon_ohlcv_service.errors import CommandError

USAGE = 2
_looks_at_demo: ContextVar[bool] = ContextVar("looks_at_demo", default=False)


def choose_environment(*, env_file: Path | None, data_dir: Path | None, demo: bool) -> None:
    """Read the `.env` file and take what the global options say; with `demo`, everything is the demo's."""
    _looks_at_demo.set(demo)
    if env_file is not None and not env_file.exists():
        raise CommandError(f"{env_file} does not exist; name a file of lines NAME=value")
    if demo:
        data_dir = data_dir or Path.home() / DEMO_DIRECTORY
        forget_servers()
        load_env_file(data_dir / MARKET_FILE)
    else:
        load_env_file(env_file or Path(".env"))
    if data_dir is not None:
        os.environ["FULLON_DATA_DIR"] = str(data_dir)


def is_demo() -> bool:
    """Tell whether it is the demo that is looked at."""
    return _looks_at_demo.get()


def say_command(words: str) -> str:
    """Return a command as it is to be typed: what looks at the demo says so, and the demo itself is what runs there."""
    if not is_demo():
        return f"`fullon-ohlcv {words}`"
    return "`fullon-ohlcv demo`" if words in ("run", "init") else f"`fullon-ohlcv --demo {words}`"


def help_without_command(context: typer.Context) -> None:
    """Show the help of a group that is called without a command; that is a mistake, and ends as one."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(USAGE)


def split_name(name: str) -> tuple[str | None, str]:
    """Take `kraken:BTC/USD` apart; `BTC/USD`, `BTC/USDC:USDC` and `BTC-USDC:USDC` name no exchange."""
    exchange, colon, symbol = name.partition(":")
    if colon and not any(sign in exchange for sign in "/-_.*"):
        return exchange.strip().lower(), symbol
    return None, name
