"""Two databases to try things out with, and the data of the demo.

Every name is `{DB_TEST_NAME}_{suffix}` for users, exchanges and symbols, and the same with `_ohlcv` for the time
series. The suffix is eight random characters or, in a worker of pytest-xdist, the worker's name.
"""

import asyncio
import os
import secrets
import shlex
import signal
import string
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from stage import BadInput, Parser, done, headline, run, seconds_of, step

from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.config.database_config import get_collection_targets
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.utils.add_symbols import add_all_symbols
from fullon_orm import DatabaseContext, init_db
from fullon_orm.database import DatabaseManager
from fullon_orm.models import Bot, CatStrategy, Exchange, Feed, Strategy, Symbol, User
from fullon_orm.models.user import RoleEnum

DEMO_SYMBOLS: Mapping[str, Sequence[str]] = {
    "kraken": ["BTC/USDC"],
    "bitmex": ["BTC/USD:BTC"],
    "hyperliquid": ["BTC/USDC:USDC"],
    "binance": ["BTC/USDT"],
}
MORE_SYMBOLS: Mapping[str, Sequence[str]] = {
    "kraken": ["ETH/USDC", "SOL/USDC"],
    "bitmex": ["ETH/USDT:USDT", "SOL/USDT:USDT"],
    "hyperliquid": ["ETH/USDC:USDC", "SOL/USDC:USDC"],
    "binance": ["ETH/USDT", "SOL/USDT"],
}
"""What some examples collect besides."""
EXAMPLES = ("ohlcv_collection_example", "trade_collection_example", "run_example_pipeline", "monitor_processes")
_ALPHABET = string.ascii_lowercase + string.digits


def name_test_database() -> str:
    """Return the name of a test database: `{DB_TEST_NAME}_{8 random characters or worker}`."""
    suffix = os.environ.get("PYTEST_XDIST_WORKER") or "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{_base_name()}_{suffix}"


async def create_dual_test_databases(name: str | None = None) -> tuple[str, str]:
    """Create `name` and `name_ohlcv` with their tables, and let DB_NAME and DB_OHLCV_NAME name them.

    Without `name` it is `name_test_database()`. Test databases that a killed run left are made anew.

    Raises:
        BadInput: a database of this name exists and is no test database of ours.
    """
    orm = name or name_test_database()
    ohlcv = f"{orm}_ohlcv"
    manager = DatabaseManager()
    for database in (orm, ohlcv):
        if is_test_database(database):
            await manager.drop_database(database)
        if not await manager.create_database(database):
            raise BadInput(f"a database {database!r} exists already and is not replaced; choose another name")
    os.environ.update(DB_NAME=orm, DB_OHLCV_NAME=ohlcv)
    try:
        await init_db()
        async with TimeseriesStore.open():
            pass
    except BaseException:
        await drop_dual_test_databases(orm, ohlcv)
        raise
    return orm, ohlcv


async def drop_dual_test_databases(orm: str, ohlcv: str) -> bool:
    """Drop both databases, whoever is connected to them; True if at least one was there."""
    manager = DatabaseManager()
    return any([await manager.drop_database(orm), await manager.drop_database(ohlcv)])


@asynccontextmanager
async def dual_test_databases(console: Console, name: str | None = None) -> AsyncIterator[tuple[str, str]]:
    """Two databases for as long as this is open, and gone afterwards: after an error and after Ctrl-C too."""
    orm, ohlcv = await create_dual_test_databases(name)
    console.print(f"Databases: [bold]{orm}[/] and [bold]{ohlcv}[/] created")
    try:
        yield orm, ohlcv
    finally:
        await drop_dual_test_databases(orm, ohlcv)
        console.print(f"\nDatabases: {orm} and {ohlcv} dropped")


async def install_demo_data(
    symbols: Mapping[str, Sequence[str]] = DEMO_SYMBOLS, *, backtest_days: int = 1, bots: bool = False
) -> list[Symbol]:
    """Put the admin, one account for each exchange and the symbols into the database; what is there stays.

    Returns the symbols, those of one exchange after the other, ready for a collector. `bots` adds three bots:
    two with an RSI strategy and one that asks a language model.
    """
    async with DatabaseContext() as db:
        uid = await _install_admin(db)
        installed: list[Symbol] = []
        accounts: list[Exchange] = []
        for exchange, names in symbols.items():
            account = await _install_exchange(db, uid, exchange)
            accounts.append(account)
            installed += [await _install_symbol(db, account.cat_ex_id, name, backtest_days) for name in names]
        if bots and not await db.bots.get_user_bots(uid, active_only=False):
            await _install_bots(db, uid, accounts, installed)
        await db.commit()
    await add_all_symbols(installed)
    return installed


def demo_symbols(exchange: str, count: int = 3) -> list[str]:
    """Return the exchange's symbol of the demo data and others that it has, `count` in all, 3 at most.

    Raises:
        BadInput: it is no exchange of the demo data.
    """
    if exchange not in DEMO_SYMBOLS:
        raise BadInput(f"name the symbols of {exchange} with --symbol; known are those of {', '.join(DEMO_SYMBOLS)}")
    return [*DEMO_SYMBOLS[exchange], *MORE_SYMBOLS[exchange]][:count]


def is_test_database(name: str) -> bool:
    """Tell whether a database is one that this module would make."""
    return name.startswith(f"{_base_name()}_")


def _base_name() -> str:
    return os.environ.get("DB_TEST_NAME") or "fullon_ohlcv_test"


async def _install_admin(db: DatabaseContext) -> int:
    mail = OhlcvServiceConfig.from_env().admin_mail
    uid = await db.users.get_user_id(mail)
    if uid is None:
        admin = User(mail=mail, password=secrets.token_hex(16), role=RoleEnum.ADMIN, name="Demo", lastname="Admin")
        uid = (await db.users.add_user(admin)).uid
    return uid


async def _install_exchange(db: DatabaseContext, uid: int, name: str) -> Exchange:
    cat_ex_id = await db.exchanges.get_exchange_cat_id(name)
    if cat_ex_id is None:
        cat_ex_id = (await db.exchanges.create_cat_exchange(name)).cat_ex_id
    for account in await db.exchanges.get_user_exchanges(uid):
        if account.cat_ex_id == cat_ex_id:
            return account
    return await db.exchanges.add_user_exchange(Exchange(uid=uid, cat_ex_id=cat_ex_id, name=name))


async def _install_symbol(db: DatabaseContext, cat_ex_id: int, name: str, backtest_days: int) -> Symbol:
    known = await db.symbols.get_by_symbol(name, cat_ex_id)
    if known is not None:
        return known
    base, _, rest = name.partition("/")
    quote, _, settle = rest.partition(":")
    return await db.symbols.add_symbol(
        Symbol(
            symbol=name,
            cat_ex_id=cat_ex_id,
            updateframe="1m",
            backtest=backtest_days,
            base=base,
            quote=quote,
            futures=bool(settle),
        )
    )


async def _install_bots(db: DatabaseContext, uid: int, accounts: Sequence[Exchange], symbols: Sequence[Symbol]) -> None:
    """Give each bot a strategy that reads one symbol, and the account at that symbol's exchange."""
    catalogue = {
        "rsi": CatStrategy(name="rsi", take_profit=5, stop_loss=2, pre_load_bars=200, feeds=1),
        "llm_trader": CatStrategy(name="llm_trader", take_profit=3, stop_loss=3, pre_load_bars=100, feeds=1),
    }
    for strategy in catalogue.values():
        await db.strategies.install_strategy(strategy)
    plans = (("RSI 1h", "rsi", 60), ("RSI 4h", "rsi", 240), ("LLM trader", "llm_trader", 15))
    for at, (name, strategy, minutes) in enumerate(plans):
        symbol = symbols[at % len(symbols)]
        bot = await db.bots.add_bot(Bot(uid=uid, name=name, dry_run=True))
        await db.bots.add_exchange_to_bot(
            bot.bot_id, next(one.ex_id for one in accounts if one.cat_ex_id == symbol.cat_ex_id)
        )
        await db.strategies.add_bot_strategy(
            Strategy(
                bot_id=bot.bot_id,
                cat_str_id=catalogue[strategy].cat_str_id,
                size_pct=10,
                feeds=[Feed(symbol_id=symbol.symbol_id, period="Minutes", compression=minutes, order=1)],
            )
        )


# the command line ------------------------------------------------------------------------------------


async def set_up(console: Console, *, embedded: bool) -> bool:
    """Create the databases with all of the demo data, and keep them; `embedded` is whether the servers are ours."""
    orm, ohlcv = await create_dual_test_databases()
    done(console, f"created [bold]{orm}[/] and [bold]{ohlcv}[/]")
    await install_demo_data(bots=True)
    await _show_demo_data(console)
    directory = f"FULLON_DATA_DIR={shlex.quote(os.environ['FULLON_DATA_DIR'])} " if embedded else ""
    console.print("\nLet a daemon collect into them, from the real exchanges:")
    console.print(f"  {directory}DB_NAME={orm} DB_OHLCV_NAME={ohlcv} fullon-ohlcv-service")
    console.print("Drop them:")
    console.print(f"  python {shlex.quote(sys.argv[0])} --cleanup {orm}")
    return True


async def clean_up(console: Console, name: str) -> bool:
    """Drop the databases of a name that `--setup` printed."""
    orm = name.removesuffix("_ohlcv")
    if not is_test_database(orm):
        raise BadInput(f"{name!r} is no test database; allowed are names that begin with {_base_name()}_")
    found = await drop_dual_test_databases(orm, f"{orm}_ohlcv")
    done(console, f"{orm} and {orm}_ohlcv {'dropped' if found else 'were not there'}", found)
    return found


async def run_all(options: Namespace, console: Console) -> bool:
    """Show the demo data, then run every example; True where all of them went well."""
    step(console, "The demo data")
    async with dual_test_databases(console):
        await install_demo_data(bots=True)
        await _show_demo_data(console)
    passed_on = [f"--speed={options.speed}", f"--seconds={seconds_of(options)}", *["--real"][: options.real]]
    results = {name: await _run_example(console, name, passed_on) for name in EXAMPLES}
    step(console, "All examples")
    for name, code in results.items():
        done(console, f"{name} {'went well' if code == 0 else f'ended with {code}'}", code == 0)
    return not any(results.values())


async def _run_example(console: Console, name: str, options: Sequence[str]) -> int:
    step(console, f"python examples/{name}.py")
    path = Path(__file__).with_name(f"{name}.py")
    process = await asyncio.create_subprocess_exec(sys.executable, str(path), *options)
    try:
        return await process.wait()
    except asyncio.CancelledError:
        # It drops its databases before it ends.
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
        raise


async def _show_demo_data(console: Console) -> None:
    config = OhlcvServiceConfig.from_env()
    async with DatabaseContext() as db:
        uid = await db.users.get_user_id(config.admin_mail)
        targets = await get_collection_targets(uid or 1, db)
        bots = await db.bots.get_user_bots(uid)
    table = Table(title=f"What {config.admin_mail} collects", title_justify="left")
    for column in ("exchange", "account", "symbols"):
        table.add_column(column)
    for name, target in targets.items():
        table.add_row(target["exchange_category_name"], f"{name} ({target['ex_id']})", ", ".join(target["symbols"]))
    console.print(table)
    for bot in bots:
        [strategy] = bot.strategies
        feed = strategy.feeds[0]
        console.print(
            f"  bot [bold]{bot.name}[/]: {strategy.cat_strategy.name} on {bot.exchanges[0].name} "
            f"{feed.symbol.symbol}, bars of {feed.compression} {feed.period.lower()}"
        )


async def _main(options: Namespace, console: Console) -> bool:
    headline(console, __doc__ or "")
    if options.cleanup is not None:
        return await clean_up(console, options.cleanup)
    if options.setup:
        return await set_up(console, embedded=options.embedded)
    return await run_all(options, console)


def main() -> int:
    """Run the command line."""
    parser = Parser(__doc__ or "")
    parser.add_market_options()
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--setup", action="store_true", help="create the databases with the demo data and keep them")
    what.add_argument("--cleanup", metavar="NAME", help="drop the databases that --setup has named NAME")
    what.add_argument("--run-all", action="store_true", help="show the demo data, run every example, drop everything")
    return run(parser, _main)


if __name__ == "__main__":
    sys.exit(main())
