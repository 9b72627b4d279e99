"""`fullon-ohlcv`: everything a person does with the service, on a terminal, in a pipe and in a script.

Exit codes: 0 done and well, 1 done, but something needs a look, 2 it could not be done, said in one sentence.
A command's module is imported when the command is used: what one does not need costs no time.
"""

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import Abort, TyperException

PROGRAM = "fullon-ohlcv"
FAILED = 2
INTERRUPTED = 130
HELP = """Collect every minute of every symbol, and account for it.

It works on the servers that DB_HOST and REDIS_HOST (or DATABASE_URL and REDIS_URL) name, else on embedded ones in a
directory, whether the daemon runs or not. Symbols are written BTC/USD, or kraken:BTC/USD where several exchanges have
it; times are UTC.

Exit codes: 0 well, 1 something needs a look, 2 not possible.

\b
Begin with:
  fullon-ohlcv demo                        a simulated market, nothing to set up
  fullon-ohlcv init --yes kraken:BTC/USD   set up for a real exchange
  fullon-ohlcv run                         collect; `fullon-ohlcv status` says how it goes
"""
COMMANDS = {
    "init": "Set up databases, schema, admin, and what to collect.",
    "run": "Collect until Ctrl-C; on a terminal with a live table.",
    "demo": "Show it all on a simulated market.",
    "status": "Is all well? The daemon, the exchanges, every symbol.",
    "gaps": "What is missing, and for how long it can still be had.",
    "coverage": "What is known of every day of every symbol: a heat map.",
    "candles": "Stored candles: a table, a chart or a picture.",
    "export": "Candles into Parquet or CSV, with a manifest.",
    "verify": "Compare the store with what the exchange serves.",
    "repair": "Fill the gaps of a symbol now, or read it again.",
    "revisions": "What candles were before they were corrected.",
    "doctor": "Check every precondition, and say what helps.",
    "logs": "The recent log of one symbol or exchange.",
    "symbols": "What is collected: list, add, remove, set.",
    "exchanges": "Where is collected: list, add, remove.",
    "database": "Move the time series to TimescaleDB.",
}
"""What the list of commands says of each."""
_MODULES = {"demo": "run"}
"""Where a command is that is not in the module of its name."""

app = typer.Typer(
    name=PROGRAM,
    help=HELP,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(wanted: bool) -> None:
    """Print the version of the distribution and end, where that is wanted."""
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - no command needs it

        typer.echo(f"{PROGRAM} {version('fullon-ohlcv-service')}")
        raise typer.Exit


@app.callback()
def choose(
    context: typer.Context,
    env_file: Annotated[
        Path | None, typer.Option("--env-file", metavar="FILE", help="Read variables from here (default: .env).")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="Directory of the embedded servers (FULLON_DATA_DIR)."),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Look at the demo instead.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""
    from fullon_ohlcv_service.commands.environment import choose_environment, help_without_command  # noqa: PLC0415

    help_without_command(context)
    choose_environment(env_file=env_file, data_dir=data_dir, demo=demo)


def load_command(name: str) -> Any:
    """Import a command, or a group of them, and return it as Typer runs it.

    Nothing that is imported is garbage: to look for some all the while takes a quarter of the time.
    """
    gc.disable()
    try:
        module = import_module(f"fullon_ohlcv_service.commands.{_MODULES.get(name, name)}")
    finally:
        gc.freeze()
        gc.enable()
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(name)(getattr(module, name))
    return typer.main.get_command(alone)


class LaterCommand(TyperCommand):
    """Stands for a command until its arguments are read."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the command itself."""
        return load_command(str(self.name)).make_context(info_name, args, parent, **extra)


def _later() -> None:
    """Is never called: a context has the command itself."""


for command, line in COMMANDS.items():
    app.command(command, cls=LaterCommand, short_help=line)(_later)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what goes wrong is said here, in one sentence."""
    if "_FULLON_OHLCV_COMPLETE" in os.environ:
        from fullon_ohlcv_service.commands.completion import join_cut_names  # noqa: PLC0415 - a shell asks, not a person

        join_cut_names()
    try:
        code = app(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except TyperException as error:
        return _refuse(_usage_sentence(error))
    except (KeyboardInterrupt, Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has gone, as `head` does; the interpreter must not stumble over it when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _known_errors() as error:
        return _refuse(str(error))
    except BaseExceptionGroup as group:
        known = group.subgroup(_known_errors())
        if known is None:
            raise
        return _refuse(str(_first(known)))
    return code if isinstance(code, int) else 0


def _known_errors() -> tuple[type[Exception], ...]:
    """Import the errors that have a sentence only when there is one to judge."""
    from fullon_ohlcv_service.commands.session import KNOWN_ERRORS  # noqa: PLC0415 - most commands do not need it

    return KNOWN_ERRORS


def _usage_sentence(error: TyperException) -> str:
    context: Any = getattr(error, "ctx", None)
    hint = f"; `{context.command_path} --help` shows how" if context is not None else ""
    return error.format_message().rstrip(".") + hint


def _refuse(sentence: str) -> int:
    print(f"{PROGRAM}: {' '.join(sentence.split())}", file=sys.stderr)
    return FAILED


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
