"""`fullon-ohlcv exchanges`: where is collected."""

from typing import Annotated

import typer

from fullon_exchange import open_exchange
from fullon_exchange.errors import ExchangeError
from fullon_exchange.registry import NATIVE_EXCHANGES
from fullon_ohlcv_service.columns import Column, print_table
from fullon_ohlcv_service.commands.admin import open_admin
from fullon_ohlcv_service.commands.completion import complete_exchange
from fullon_ohlcv_service.commands.environment import help_without_command, say_command
from fullon_ohlcv_service.commands.screen import AsJson, Yes, confirm, make_console, note, print_json
from fullon_ohlcv_service.commands.session import complete
from fullon_ohlcv_service.errors import CommandError
from fullon_orm.models import Exchange

app = typer.Typer(
    callback=help_without_command,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Where is collected.",
)
COLUMNS = (
    Column("exchange"),
    Column("symbols", right=True),
    Column("active"),
    Column("candles"),
    Column("history", folds=True),
)
NAME_HELP = "As ccxt spells it: kraken, binance …"
Known = Annotated[str, typer.Argument(metavar="NAME", help=NAME_HELP, autocompletion=lambda: sorted(NATIVE_EXCHANGES))]
Collected = Annotated[str, typer.Argument(metavar="NAME", help=NAME_HELP, autocompletion=complete_exchange)]


@app.command("list")
def list_exchanges(as_json: AsJson = False) -> None:
    """List the exchanges that are collected, and those that could be.

    \b
    Examples:
      fullon-ohlcv exchanges list
    """
    found = complete(_list())
    if as_json:
        print_json({"exchanges": found, "available": list(NATIVE_EXCHANGES)})
        return
    console = make_console()
    rows = [
        [str(one[name]) for name in ("exchange", "symbols")]
        + ["yes" if one["active"] else "no"]
        + [str(one[name]) for name in ("candles", "history")]
        for one in found
    ]
    print_table(console, COLUMNS, rows)
    having = {str(one["exchange"]) for one in found}
    note(f"could be added: {', '.join(sorted(set(NATIVE_EXCHANGES) - having)) or 'no other'}")


async def _list() -> list[dict[str, object]]:
    async with open_admin() as admin:
        found: list[dict[str, object]] = []
        for venue, account in sorted(admin.accounts.items()):
            candles, history = _describe(venue)
            symbols = sum(one.active for one in (await admin.symbols_of(venue)).values())
            found.append(
                {
                    "exchange": venue,
                    "account": account.name,
                    "active": account.active,
                    "symbols": symbols,
                    "candles": candles,
                    "history": history,
                }
            )
        return found


def _describe(venue: str) -> tuple[str, str]:
    """Return where candles come from, and how far back they can be had."""
    try:
        traits = open_exchange(venue).traits
    except ExchangeError as error:
        return "not collected", str(error)
    if traits.closed_reason:
        return "closed", traits.closed_reason
    if traits.candles_from_trades:
        return "folded from trades", "from the beginning" if traits.trade_history else "none"
    window = traits.candle_window
    return "the exchange's", "from the beginning" if window is None else f"the newest {window:,} candles"


@app.command()
def add(name: Known) -> None:
    """Collect from one more exchange; `symbols add` then says what.

    \b
    Examples:
      fullon-ohlcv exchanges add kraken
    """
    complete(add_exchange(name))


async def add_exchange(name: str, *, hint: bool = True) -> None:
    """Add an exchange to what is collected; one that is there already is made active. `hint` says what comes next."""
    venue = name.strip().lower()
    traits = open_exchange(venue).traits  # refuses a name that means nothing
    if traits.closed_reason:
        raise CommandError(f"{venue} {traits.closed_reason}: nothing can be collected from it")
    async with open_admin() as admin:
        account = admin.accounts.get(venue)
        said = "collected already" if account is not None and account.active else "added"
        if account is None:
            cat_ex_id = await admin.db.exchanges.get_exchange_cat_id(venue)
            if cat_ex_id is None:
                cat_ex_id = (await admin.db.exchanges.create_cat_exchange(venue)).cat_ex_id
            account = Exchange(uid=admin.user_id, cat_ex_id=cat_ex_id, name=venue)
            await admin.db.exchanges.add_user_exchange(account)
        account.active = True
        symbols = sum(one.active for one in await admin.db.symbols.get_by_exchange_id(account.cat_ex_id))
        await admin.db.commit()
    tail = f", with {symbols} symbols" if symbols else ""
    if hint and not symbols:
        tail = f": {say_command(f'symbols add -x {venue} SYMBOL')} says what"
    make_console().print(f"{venue} {said}{tail}")


@app.command()
def remove(name: Collected, yes: Yes = False) -> None:
    """Collect from an exchange no longer; its symbols and what is stored stay.

    \b
    Examples:
      fullon-ohlcv exchanges remove kraken
    """
    complete(_remove(name, yes=yes))


async def _remove(name: str, *, yes: bool) -> None:
    venue = name.strip().lower()
    async with open_admin() as admin:
        account = admin.accounts.get(venue)
        if account is None or not account.active:
            having = ", ".join(sorted(one for one, each in admin.accounts.items() if each.active)) or "none"
            raise CommandError(f"{venue} is not collected; collected are {having}")
        symbols = sum(one.active for one in (await admin.symbols_of(venue)).values())
        if symbols and not confirm(f"Stop collecting {symbols} symbols of {venue}?", yes=yes):
            raise CommandError(f"nothing removed; {symbols} symbols of {venue} would stop: say --yes")
        for each in await admin.db.exchanges.get_user_exchanges(admin.user_id):
            if each.cat_ex_id == account.cat_ex_id:
                each.active = False
        await admin.db.commit()
    make_console().print(f"{venue} is collected no longer; what is stored stays, `exchanges add {venue}` resumes it")
