"""`fullon-ohlcv doctor`: every precondition, and for each that does not hold the remedy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from fullon_ohlcv_service.commands.checks import (
    Check,
    Verdict,
    check_clock,
    check_database,
    check_http,
    check_machine,
    check_origins,
    check_redis,
    check_settings,
    check_wanted,
    fail,
    warn,
)
from fullon_ohlcv_service.commands.environment import say_command
from fullon_ohlcv_service.commands.screen import AsJson, make_console, print_json
from fullon_ohlcv_service.commands.session import KNOWN_ERRORS, be_quiet, embedded_directory, servers
from fullon_ohlcv_service.config.servers import missing_servers
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.errors import CommandError

SIGNS = {Verdict.WELL: ("✓", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.FAILED: ("✗", "bold red")}


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check every precondition, and say what helps where one does not hold.

    Settings, servers, versions, schema, permissions, TimescaleDB, disk, HTTP, exchanges, clocks, origins.
    Exit code 0: nothing has failed (warnings may be there); 1: something has.

    \b
    Examples:
      fullon-ohlcv doctor
    """
    said = context.parent.params if context.parent else {}
    found = _examine(said.get("env_file") or Path(".env"), is_demo=bool(said.get("demo")))
    is_well = not any(check.verdict is Verdict.FAILED for check in found)
    if as_json:
        checks = [
            {"name": one.name, "verdict": one.verdict.value, "found": one.found, "remedy": one.remedy} for one in found
        ]
        print_json({"well": is_well, "checks": checks})
    else:
        _show(found)
    raise typer.Exit(0 if is_well else 1)


def _examine(env_file: Path, *, is_demo: bool) -> list[Check]:
    """Make every check that the ones before it leave possible."""
    found = [*check_settings(env_file), *check_clock(), *check_origins(is_demo=is_demo)]
    missing = missing_servers()
    found += check_machine(embedded_directory() if missing else None, _config())
    be_quiet()
    with ExitStack() as stack:
        try:
            stack.enter_context(servers())
        except CommandError as error:
            return [*found, warn("servers", str(error), f"run {say_command('init')}")]
        except KNOWN_ERRORS as error:
            return [
                *found,
                fail("servers", str(error), "look at the logs beside the servers, or name your own in DB_HOST"),
            ]
        with asyncio.Runner() as runner:
            found += runner.run(_examine_servers())
    return found


def _config() -> OhlcvServiceConfig:
    """Return the settings, or the defaults where they cannot be used, which is reported already."""
    try:
        return OhlcvServiceConfig.from_env()
    except ValueError:
        return OhlcvServiceConfig.model_construct()


async def _examine_servers() -> list[Check]:
    return [check async for check in _all(_config())]


async def _all(config: OhlcvServiceConfig) -> AsyncIterator[Check]:
    daemon_runs = False
    async for check in check_database(config):
        daemon_runs |= check.name == "daemon" and check.verdict is Verdict.WELL
        yield check
    for checks in (check_http(config, daemon_runs=daemon_runs), check_redis(), check_wanted(config)):
        async for check in checks:
            yield check


def _show(found: list[Check]) -> None:
    console = make_console()
    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for check in found:
        sign, style = SIGNS[check.verdict]
        grid.add_row(Text.assemble((sign, style), f" {check.name}"), Text(check.found))
        if check.remedy:
            grid.add_row("", Text(f"→ {check.remedy}", style))
    console.print(grid)
    counts = [(sum(check.verdict is one for check in found), one.value) for one in Verdict]
    console.print(", ".join(f"{count} {_plural(name, count)}" for count, name in counts if count))


def _plural(name: str, count: int) -> str:
    return "warnings" if name == Verdict.WARNING and count > 1 else name
