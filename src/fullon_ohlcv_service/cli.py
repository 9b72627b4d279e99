"""`fullon-ohlcv`: everything a person does with the service, on a terminal, in a pipe and in a script.

Exit codes: 0 done and well, 1 done, but something needs a look, 2 it could not be done, said in one sentence.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from fullon_ohlcv_service.commands import exchanges, symbols
from fullon_ohlcv_service.commands.candles import candles
from fullon_ohlcv_service.commands.coverage import coverage
from fullon_ohlcv_service.commands.doctor import doctor
from fullon_ohlcv_service.commands.export import export
from fullon_ohlcv_service.commands.gaps import gaps
from fullon_ohlcv_service.commands.init import init
from fullon_ohlcv_service.commands.logs import logs
from fullon_ohlcv_service.commands.repair import repair
from fullon_ohlcv_service.commands.revisions import revisions
from fullon_ohlcv_service.commands.run import demo as demo_command
from fullon_ohlcv_service.commands.run import run
from fullon_ohlcv_service.commands.session import KNOWN_ERRORS, choose_environment
from fullon_ohlcv_service.commands.status import status
from fullon_ohlcv_service.commands.verify import verify

PROGRAM = "fullon-ohlcv"
FAILED = 2
INTERRUPTED = 130
HELP = """Collect every minute of every symbol, and account for it.

It works on the servers that DB_HOST and REDIS_HOST name, else on embedded ones in a directory, whether the daemon
runs or not. Symbols are written BTC/USD, or kraken:BTC/USD where several exchanges have it; times are UTC.

Exit codes: 0 well, 1 something needs a look, 2 not possible.
"""

app = typer.Typer(
    name=PROGRAM,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def choose(
    env_file: Annotated[
        Path | None, typer.Option("--env-file", metavar="FILE", help="Read variables from here (default: .env).")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="Directory of the embedded servers (FULLON_DATA_DIR)."),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Look at the demo instead.")] = False,
) -> None:
    """Take the options that stand before a command."""
    choose_environment(env_file=env_file, data_dir=data_dir, demo=demo)


app.command()(init)
app.command()(run)
app.command("demo")(demo_command)
for command in (status, gaps, coverage, candles, export, verify, repair, revisions, doctor, logs):
    app.command()(command)
app.add_typer(symbols.app, name="symbols")
app.add_typer(exchanges.app, name="exchanges")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what goes wrong is said here, in one sentence."""
    try:
        code = app(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except TyperException as error:
        return _refuse(error.format_message())
    except (KeyboardInterrupt, Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has gone, as `head` does; the interpreter must not stumble over it when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KNOWN_ERRORS as error:
        return _refuse(str(error))
    except BaseExceptionGroup as group:
        known = group.subgroup(KNOWN_ERRORS)
        if known is None:
            raise
        return _refuse(str(_first(known)))
    return code if isinstance(code, int) else 0


def _refuse(sentence: str) -> int:
    print(f"{PROGRAM}: {' '.join(sentence.split())}", file=sys.stderr)
    return FAILED


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
