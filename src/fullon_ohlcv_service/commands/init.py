"""`fullon-ohlcv init`: databases, schema, admin, what to collect and a `.env`, with questions or without."""

import os
import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fullon_exchange import open_exchange
from fullon_exchange.errors import TransientExchangeError
from fullon_exchange.registry import NATIVE_EXCHANGES
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.commands.admin import open_admin
from fullon_ohlcv_service.commands.environment import split_name
from fullon_ohlcv_service.commands.exchanges import add_exchange
from fullon_ohlcv_service.commands.screen import Yes, make_console
from fullon_ohlcv_service.commands.session import be_quiet, complete, servers
from fullon_ohlcv_service.commands.symbols import BACKTEST_DAYS, add_symbols
from fullon_ohlcv_service.config.servers import missing_servers
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.errors import CommandError
from fullon_orm import DatabaseContext, init_db
from fullon_orm.models import User
from fullon_orm.models.user import RoleEnum

WRITTEN = (
    "DATABASE_URL",
    "DB_DIRECT_URL",
    "DB_HOST",
    "DB_PORT",
    "DB_USER",
    "DB_PASSWORD",
    "DB_NAME",
    "DB_OHLCV_NAME",
    "DB_SSLMODE",
    "DB_SSLROOTCERT",
    "DB_SSLCERT",
    "DB_SSLKEY",
    "OHLCV_SCHEMA",
    "REDIS_URL",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_DB",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_SSL",
    "REDIS_CA_FILE",
    "FULLON_DATA_DIR",
    "ADMIN_MAIL",
)
"""Variables that `.env` gets where they are set."""


def init(
    context: typer.Context,
    symbols: Annotated[
        list[str] | None,
        typer.Argument(metavar="SYMBOL", help="What to collect: kraken:BTC/USD, 'binance:*/USDT'."),
    ] = None,
    *,
    exchanges: Annotated[
        list[str] | None, typer.Option("--exchange", "-x", metavar="NAME", help="Collect from it; may be repeated.")
    ] = None,
    backtest: Annotated[
        int | None, typer.Option("--backtest", "-b", min=0, max=36_500, metavar="DAYS", help="Days of history.")
    ] = None,
    mail: Annotated[str | None, typer.Option("--mail", metavar="MAIL", help="Whose exchanges these are.")] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE", help="Where settings are kept (default: --env-file, .env)."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Set everything up: databases, schema, admin, what to collect, and a .env that only its owner can read.

    On a terminal it asks for what is not said; with --yes, and in scripts, it does not. It may be run again:
    nothing that is there is lost.

    \b
    Examples:
      fullon-ohlcv init
      fullon-ohlcv init --yes kraken:BTC/USD kraken:ETH/USD --backtest 365
    """
    asking = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    names = list(symbols or ())
    venues = [name.strip().lower() for name in exchanges or ()]
    for name in venues + [said for name in names if (said := split_name(name)[0])]:
        open_exchange(name)  # refuses a name that means nothing, before anything is made
    settings = _ask_servers() if asking else {}
    if mail:
        settings["ADMIN_MAIL"] = mail
    os.environ.update(settings)
    console = make_console()
    kept = {name: os.environ[name] for name in WRITTEN if os.environ.get(name)}
    be_quiet()
    with servers(create=True):
        complete(_create({*venues, *(said for name in names if (said := split_name(name)[0]))}))
        console.print("databases, schema and admin are there")
        _write_env(write or (context.parent and context.parent.params.get("env_file")) or Path(".env"), kept)
        if asking and not venues and not names:
            venues, names = _ask_symbols()
        days = BACKTEST_DAYS if backtest is None else backtest
        if asking and names and backtest is None:
            days = typer.prompt("Days of history", default=days, type=int)
        complete(_collect(venues, names, days, yes=yes))
    console.print("Ready: `fullon-ohlcv run` collects, `fullon-ohlcv status` says how it goes")


def _ask_servers() -> dict[str, str]:
    """Ask for the servers that the environment does not name; an empty answer means embedded ones."""
    settings: dict[str, str] = {}
    missing = missing_servers()
    if "postgres" in missing:
        host = typer.prompt("PostgreSQL host (empty: an embedded server)", default="", show_default=False)
        if host:
            settings["DB_HOST"] = host
            settings["DB_PORT"] = typer.prompt("  port", default="5432")
            settings["DB_USER"] = typer.prompt("  user", default="postgres")
            settings["DB_PASSWORD"] = typer.prompt("  password", default="", show_default=False, hide_input=True)
    if "redis" in missing:
        host = typer.prompt("Redis host (empty: an embedded server)", default="", show_default=False)
        if host:
            settings["REDIS_HOST"] = host
            settings["REDIS_PORT"] = typer.prompt("  port", default="6379")
            settings["REDIS_PASSWORD"] = typer.prompt("  password", default="", show_default=False, hide_input=True)
    return {name: value for name, value in settings.items() if value}


def _ask_symbols() -> tuple[list[str], list[str]]:
    open_ones = [name for name in NATIVE_EXCHANGES if open_exchange(name).traits.closed_reason is None]
    said = typer.prompt(f"Exchanges ({', '.join(open_ones)}; empty: none yet)", default="", show_default=False)
    venues = [name for name in said.replace(",", " ").lower().split() if name]
    names = []
    for venue in venues:
        open_exchange(venue)
        said = typer.prompt(f"Symbols of {venue}, such as BTC/USD or */USDT (empty: none yet)", "", show_default=False)
        names += [f"{venue}:{name}" for name in said.replace(",", " ").split()]
    return venues, names


async def _create(exchanges: set[str]) -> None:
    """Make both databases with their schemas, and the admin; refuse a user who could not collect from `exchanges`."""
    config = OhlcvServiceConfig.from_env()
    await init_db()
    async with TimeseriesStore.open(test=config.test_mode) as store:
        await store.require_rights(exchanges)
    async with DatabaseContext() as db:
        if await db.users.get_user_id(config.admin_mail) is None:
            # Nobody needs to log in to collect; a password is set where other services need one.
            user = User(mail=config.admin_mail, password=secrets.token_urlsafe(24), name="Admin", role=RoleEnum.ADMIN)
            await db.users.add_user(user)
            await db.commit()


async def _collect(venues: Sequence[str], names: Sequence[str], days: int, *, yes: bool) -> None:
    wanted = dict.fromkeys([*venues, *(said for name in names if (said := split_name(name)[0]))])
    for venue in wanted:
        await add_exchange(venue, hint=not names)
    if names:
        try:
            await add_symbols(names, venues[0] if len(venues) == 1 else None, days, yes=yes)
        except TransientExchangeError as error:
            raise CommandError(f"{error}; what is set up stays: run this again when the exchange answers") from error
    async with open_admin() as admin:
        if not any(account.active for account in admin.accounts.values()):
            make_console().print("nothing is collected yet: `fullon-ohlcv exchanges add kraken` begins")


def _write_env(path: Path, settings: dict[str, str]) -> None:
    """Write a file that only its owner can read; one that is there stays as it is."""
    console = make_console()
    lines = [f"{name}={_quoted(value)}\n" for name, value in settings.items()]
    text = "# Made by `fullon-ohlcv init`; .env.example lists everything that can stand here.\n" + "".join(lines)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        console.print(f"{path} is there already and stays as it is")
        return
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}; --write names another file") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    console.print(f"{path} written, readable by its owner only")


def _quoted(value: str) -> str:
    """Return a value as a line of `.env` takes it literally."""
    if re.fullmatch(r"[\w./@:+-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
