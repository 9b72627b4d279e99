"""`make demo`: the real daemon on embedded servers and a simulated market, checked against the market's truth."""

import asyncio
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fullon_cache import CacheError
from fullon_embedded import EmbeddedError, EmbeddedServers, stopping_in_order
from fullon_exchange.clock import Clock, floor_minute_us
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.audit import audit
from fullon_ohlcv_service.commands.places import DEMO_DIRECTORY, MARKET_FILE, keep_log
from fullon_ohlcv_service.commands.screen import make_console
from fullon_ohlcv_service.config.database_config import load_wanted_symbols
from fullon_ohlcv_service.config.servers import forget_servers
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.daemon import INTERRUPTED, embedded_servers, run, serve, take_terminal
from fullon_ohlcv_service.errors import ConfigurationError, ServiceError
from fullon_orm import DatabaseContext, init_db
from fullon_orm.errors import OrmError
from fullon_orm.models import Exchange, Symbol, User
from fullon_simulator import SimulatedMarket

SEED = 7
BACKTEST_DAYS = 1
VENUES = {"kraken": 5, "binance": 5, "hyperliquid": 3}
"""How many of each simulated venue's markets are collected."""
AUDIT_MAX_S = 2.5


async def seed_database(market: SimulatedMarket, *, backtest_days: int = BACKTEST_DAYS) -> None:
    """Put the admin and every symbol of the market into the database; what is there already stays."""
    mail = OhlcvServiceConfig.from_env().admin_mail
    async with DatabaseContext() as db:
        user_id = await db.users.get_user_id(mail)
        if user_id is None:
            user = User(mail=mail, password=os.urandom(16).hex(), name="Admin", lastname="Demo")
            user_id = (await db.users.add_user(user)).uid
        for venue in market.origins():
            cat_ex_id = await db.exchanges.get_exchange_cat_id(venue)
            if cat_ex_id is None:
                cat_ex_id = (await db.exchanges.create_cat_exchange(venue)).cat_ex_id
            if not any(one.cat_ex_id == cat_ex_id for one in await db.exchanges.get_user_exchanges(user_id)):
                await db.exchanges.add_user_exchange(
                    Exchange(uid=user_id, cat_ex_id=cat_ex_id, name=venue, active=True)
                )
            known = {symbol.symbol for symbol in await db.symbols.get_by_exchange_id(cat_ex_id)}
            for symbol in market.symbols(venue):
                if symbol not in known:
                    await db.symbols.add_symbol(_symbol(symbol, cat_ex_id, backtest_days))
        await db.commit()


def _symbol(name: str, cat_ex_id: int, backtest_days: int) -> Symbol:
    base, _, quote = name.partition("/")
    return Symbol(symbol=name, cat_ex_id=cat_ex_id, updateframe="1m", backtest=backtest_days, base=base, quote=quote)


async def demonstrate(console: Console | None, servers: EmbeddedServers | None, duration_s: float | None) -> None:
    """Run market and daemon until stopped, then compare what was stored with the truth."""
    async with SimulatedMarket(VENUES, seed=SEED) as market:
        os.environ.update(market.environment())
        _tell_commands(market)
        await init_db()
        await seed_database(market)
        await serve(console, servers=servers, duration_s=duration_s)
        try:
            async with asyncio.timeout(AUDIT_MAX_S):
                await _say_audit(market)
        except TimeoutError:
            print("the comparison with the market's truth took too long and was left out")


def _tell_commands(market: SimulatedMarket) -> None:
    """Leave where `fullon-ohlcv --demo` finds it how the market is reached."""
    lines = [f"{name}={value}\n" for name, value in market.environment().items()]
    Path(os.environ["FULLON_DATA_DIR"], MARKET_FILE).write_text("".join(lines), encoding="utf-8")


async def _say_audit(market: SimulatedMarket) -> None:
    config = OhlcvServiceConfig.from_env()
    wanted = await load_wanted_symbols(config)
    end_us = floor_minute_us(Clock.from_env().now_us())
    async with TimeseriesStore.open(test=config.test_mode) as store:
        found = await audit(store, market, wanted, end_us=end_us)
    make_console().print(f"Checked: {found}")
    for example in found.examples:
        print(f"  {example}")
    command = str(Path(sys.executable).with_name("fullon-ohlcv"))
    if (directory := os.environ["FULLON_DATA_DIR"]) != str(Path.home() / DEMO_DIRECTORY):
        command += f" --data-dir {shlex.quote(directory)}"
    print(f"Look yourself: {command} --demo status (or coverage, candles BTC/USD, doctor)")


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demo; DURATION (seconds) ends it by itself. Returns 0 after an orderly end, 1 with one sentence,
    130 where Ctrl-C came before there was anything to end."""
    try:
        duration_s = read_duration()
        os.environ.setdefault("FULLON_DATA_DIR", str(Path.home() / DEMO_DIRECTORY))
        forget_servers()
        keep_log()
        with stopping_in_order():
            console = take_terminal()
            with embedded_servers(console) as servers:
                run(demonstrate(console, servers, duration_s))
    except (ServiceError, EmbeddedError, OrmError, StorageError, CacheError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def read_duration() -> float | None:
    """Return what DURATION says; None where it is unset.

    Raises:
        ConfigurationError: no number of seconds above 0.
    """
    text = os.environ.get("DURATION", "")
    if not text:
        return None
    try:
        duration_s = float(text)
    except ValueError:
        duration_s = -1.0
    if not duration_s > 0:
        raise ConfigurationError(f"DURATION is {text!r}; allowed is a number of seconds above 0")
    return duration_s


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
