"""`fullon-ohlcv symbols`: what is collected."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated

import typer

from fullon_exchange import open_exchange
from fullon_exchange.interface import Listing
from fullon_exchange.listings import namesake
from fullon_exchange.names import describe_unlisted, own_names, read_name
from fullon_ohlcv.records import Lifecycle, MarketState
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.columns import Column, print_table
from fullon_ohlcv_service.commands.admin import Admin, open_admin
from fullon_ohlcv_service.commands.completion import complete_symbol
from fullon_ohlcv_service.commands.environment import help_without_command, say_command
from fullon_ohlcv_service.commands.estimate import estimate_s
from fullon_ohlcv_service.commands.names import is_glob, match_glob, read_typed, shorten
from fullon_ohlcv_service.commands.screen import AsJson, OfExchange, Yes, confirm, make_console, note, print_json
from fullon_ohlcv_service.commands.session import complete
from fullon_ohlcv_service.commands.times import say_span
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.errors import CommandError
from fullon_ohlcv_service.runtime import read_market_ids
from fullon_orm.models import Symbol

BACKTEST_DAYS = 30
KEEP_DAYS_MAX = 36_500
ASK_ABOVE = 10
"""More symbols than this are added only after a question, named one by one or not."""

COLUMNS = (
    Column("exchange"),
    Column("symbol"),
    Column("backtest days", right=True),
    Column("active"),
    Column("trades kept", right=True),
    Column("candles kept", right=True),
    Column("market"),
)
KEEP_HELP = "Days that its {} are kept: a number, `all`, or `default` for the setting."
app = typer.Typer(
    callback=help_without_command,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What is collected.",
)
NAMES_HELP = "BTC/USD, kraken:BTC/USD, or a glob: '*/USDT'."
Names = Annotated[list[str], typer.Argument(metavar="SYMBOL", help=NAMES_HELP)]
Collected = Annotated[list[str], typer.Argument(metavar="SYMBOL", help=NAMES_HELP, autocompletion=complete_symbol)]
Days = Annotated[int, typer.Option("--backtest", "-b", min=0, max=36_500, metavar="DAYS", help="Days of history.")]


@app.command("list")
def list_symbols(exchange: OfExchange = None, as_json: AsJson = False) -> None:
    """List the symbols in the database.

    \b
    Examples:
      fullon-ohlcv symbols list -x kraken
    """
    found = complete(_list(exchange))
    if as_json:
        print_json({"symbols": found})
        return
    console = make_console()
    rows = [
        [
            str(one["exchange"]),
            str(one["symbol"]),
            str(one["backtest_days"]),
            "yes" if one["active"] else "no",
            describe_keep(one["keep_trades_days"]),
            describe_keep(one["keep_candles_days"]),
            str(one["problem"] or one["market_id"]),
        ]
        for one in found
    ]
    print_table(console, COLUMNS, rows)
    if not found:
        note(f"none yet: {say_command('symbols add kraken:BTC/USD')} adds one")


async def _list(exchange: str | None) -> list[dict[str, object]]:
    async with open_admin() as admin:
        if exchange is not None and exchange not in admin.accounts:
            raise CommandError(f"{exchange} is not collected; collected are {', '.join(sorted(admin.accounts))}")
        async with _open_store() as store:
            states = await store.read_states(exchange)
        return [
            {
                "exchange": venue,
                "symbol": one.symbol,
                "backtest_days": one.backtest,
                "active": one.active and admin.accounts[venue].active,
                "keep_trades_days": one.keep_trades_days,
                "keep_candles_days": one.keep_candles_days,
                "market_id": state.market_id,
                "state": state.state.value,
                "problem": state.reason,
            }
            for venue in sorted(admin.accounts)
            if exchange in (None, venue)
            for one in sorted((await admin.symbols_of(venue)).values(), key=lambda one: one.symbol)
            for state in [states.get((venue, one.symbol), MarketState(venue, one.symbol, Lifecycle.ACTIVE))]
        ]


def _open_store() -> AbstractAsyncContextManager[TimeseriesStore]:
    return TimeseriesStore.open(test=OhlcvServiceConfig.from_env().test_mode)


@app.command()
def add(names: Names, *, exchange: OfExchange = None, backtest: Days = BACKTEST_DAYS, yes: Yes = False) -> None:
    """Collect more symbols; a running daemon begins within seconds.

    The exchange is asked whether it lists them. Globs, and many names, ask first: how many symbols they are and how
    long the first back-fill will take.

    \b
    Examples:
      fullon-ohlcv symbols add kraken:BTC/USD --backtest 365
      fullon-ohlcv symbols add -x binance '*/USDT'
    """
    complete(add_symbols(names, exchange, backtest, yes=yes))


async def add_symbols(names: Sequence[str], exchange: str | None, days: int, *, yes: bool) -> None:
    """Add what the names mean, after a question where that is much."""
    async with open_admin() as admin:
        asked: dict[str, list[str]] = {}
        for name in names:
            venue, symbol = admin.venue_of(name, exchange)
            asked.setdefault(venue, []).append(symbol)
        for venue, symbols in asked.items():
            await _add_to(admin, venue, symbols, days, yes=yes)
        await admin.db.commit()


async def _add_to(admin: Admin, venue: str, symbols: Sequence[str], days: int, *, yes: bool) -> None:
    console = make_console()
    async with _open_store() as store:
        market_ids = await read_market_ids(store, venue)
    async with open_exchange(venue) as opened:
        opened.pin(market_ids)
        listings = await opened.fetch_listings()
        renamed = opened.renamed()
        for symbol in symbols:
            for name in read_name(symbol, dict.fromkeys(renamed, ())):
                raise CommandError(_describe_renamed(venue, name, renamed[name], listings))
        known = await admin.symbols_of(venue)
        chosen = [one for symbol in symbols for one in match_listed(venue, symbol, listings)]
        new = sorted({name for name in chosen if name not in known or not known[name].active})
        already = len(set(chosen)) - len(new)
        if already:
            console.print(f"{venue}: {already} of them collected already")
        if not new:
            return
        seconds = await estimate_s(opened, new, days)
    takes = "" if seconds is None else f"; the first back-fill will take about {say_span(seconds)}"
    what = f"{len(new)} symbols" if len(new) > 1 else new[0]
    if any(map(is_glob, symbols)) or len(new) > ASK_ABOVE:
        console.print(f"{venue}: {shorten(new)}")
        if not confirm(f"Add {what} of {venue} with {days} days of history{takes}?", yes=yes):
            raise CommandError(f"nothing added; {what} of {venue} would be{takes}: say --yes to add them")
    for name in new:
        if name in known:
            known[name].active = True
            known[name].backtest = days
        else:
            await admin.db.symbols.add_symbol(_symbol(admin, venue, listings[name], days))
    console.print(f"{venue}: added {what} with {days} days of history{takes}")


def _describe_renamed(venue: str, symbol: str, why: str, listings: Mapping[str, Listing]) -> str:
    """Return why a symbol is not collected whose name has moved, and how its other market is."""
    apart = [name for name in listings if name.startswith(namesake(symbol, ""))]
    if not apart:
        return f"{venue}: {why}"
    command = say_command(f"symbols add '{venue}:{apart[0]}'")
    return f"{venue}: {why}; {command} collects the other market"


def match_listed(venue: str, symbol: str, listings: Mapping[str, Listing]) -> list[str]:
    """Return the listed names that a name or a glob means.

    Raises:
        CommandError: none, or a name can be several; says what may have been meant.
    """
    if is_glob(symbol):
        found = [name for name in match_glob(symbol, listings) if listings[name].active]
        if found:
            return found
        raise CommandError(f"{venue} lists no symbol like {symbol}")
    if (meant := read_typed(symbol, own_names(listings))) is not None:
        return [meant]
    raise CommandError(f"{venue} does not list {symbol}; {describe_unlisted(venue, symbol, listings)}")


def _symbol(admin: Admin, venue: str, listing: Listing, days: int) -> Symbol:
    return Symbol(
        symbol=listing.symbol,
        cat_ex_id=admin.accounts[venue].cat_ex_id,
        updateframe="1m",
        backtest=days,
        base=listing.base,
        quote=listing.quote,
        futures=":" in listing.symbol,
    )


@app.command()
def remove(names: Collected, *, exchange: OfExchange = None, yes: Yes = False) -> None:
    """Collect symbols no longer; what is stored of them stays.

    \b
    Examples:
      fullon-ohlcv symbols remove kraken:BTC/USD
    """
    complete(_remove(names, exchange, yes=yes))


async def _remove(names: Sequence[str], exchange: str | None, *, yes: bool) -> None:
    async with open_admin() as admin:
        found = await admin.stored(names, exchange)
        said = [f"{one.exchange_name}:{one.symbol}" for one in found]
        if len(found) > 1 and not confirm(f"Remove {len(found)} symbols: {shorten(said)}?", yes=yes):
            raise CommandError(f"nothing removed; {len(found)} symbols would be: say --yes to remove them")
        for one in found:
            await admin.db.symbols.delete_symbol(one)
        await admin.db.commit()
    make_console().print(f"removed {shorten(said)}; what is stored stays")


@app.command("set")
def change(
    names: Collected,
    *,
    exchange: OfExchange = None,
    backtest: Annotated[
        int | None, typer.Option("--backtest", "-b", min=0, max=36_500, metavar="DAYS", help="Days of history.")
    ] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Collect it or not.")] = None,
    keep_trades: Annotated[
        str | None, typer.Option("--keep-trades", metavar="DAYS", help=KEEP_HELP.format("trades"))
    ] = None,
    keep_candles: Annotated[
        str | None, typer.Option("--keep-candles", metavar="DAYS", help=KEEP_HELP.format("candles"))
    ] = None,
    yes: Yes = False,
) -> None:
    """Change how far back symbols are collected, for how long they are kept, or pause them.

    What is older than it is kept is removed by a running daemon within minutes, and stays unavailable.

    \b
    Examples:
      fullon-ohlcv symbols set BTC/USD --backtest 365
      fullon-ohlcv symbols set 'kraken:*' --inactive
      fullon-ohlcv symbols set 'kraken:*' --keep-trades 90 --keep-candles all
    """
    changes: dict[str, int | bool | None] = {}
    if backtest is not None:
        changes["backtest"] = backtest
    if active is not None:
        changes["active"] = active
    if keep_trades is not None:
        changes["keep_trades_days"] = parse_keep("--keep-trades", keep_trades)
    if keep_candles is not None:
        changes["keep_candles_days"] = parse_keep("--keep-candles", keep_candles)
    if not changes:
        raise CommandError(
            "nothing to change; give --backtest DAYS, --active, --inactive, --keep-trades DAYS or --keep-candles DAYS"
        )
    complete(_change(names, exchange, changes, yes=yes))


def parse_keep(option: str, text: str) -> int | None:
    """Return for how many days rows are kept: 0 all of them, None as the settings say.

    Raises:
        CommandError: anything but a number of days, `all` or `default`.
    """
    if text in ("all", "default"):
        return 0 if text == "all" else None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= KEEP_DAYS_MAX):
        raise CommandError(f"{option} is {text!r}; allowed is a number of days from 1 to {KEEP_DAYS_MAX}, all, default")
    return int(text)


def describe_keep(days: object) -> str:
    """Return how long rows are kept, as `symbols set` takes it."""
    return "default" if days is None else f"{days} d" if days else "all"


async def _change(
    names: Sequence[str], exchange: str | None, changes: Mapping[str, int | bool | None], *, yes: bool
) -> None:
    async with open_admin() as admin:
        found = await admin.stored(names, exchange)
        said = [f"{one.exchange_name}:{one.symbol}" for one in found]
        if len(found) > 1 and not confirm(f"Change {len(found)} symbols: {shorten(said)}?", yes=yes):
            raise CommandError(f"nothing changed; {len(found)} symbols would be: say --yes to change them")
        for one in found:
            for name, value in changes.items():
                setattr(one, name, value)
        await admin.db.commit()
    done = ", ".join(_describe(name, value) for name, value in changes.items())
    make_console().print(f"{shorten(said)}: {done}")


def _describe(name: str, value: int | bool | None) -> str:
    if name == "backtest":
        return f"{value} days of history"
    if name == "active":
        return "collected" if value else "not collected"
    return f"{'trades' if name == 'keep_trades_days' else 'candles'} kept: {describe_keep(value)}"
