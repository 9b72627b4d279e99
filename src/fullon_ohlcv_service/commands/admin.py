"""What is to be collected, as the database has it: read and changed by `exchanges`, `symbols` and `init`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches

from fullon_exchange.names import found_elsewhere, suggest
from fullon_ohlcv_service.commands.environment import say_command, split_name
from fullon_ohlcv_service.commands.names import is_glob, match_glob, read_typed
from fullon_ohlcv_service.config.database_config import find_user_id
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.errors import CommandError
from fullon_orm import DatabaseContext
from fullon_orm.errors import DatabaseMissing, SchemaMismatch
from fullon_orm.models import Exchange, Symbol


@dataclass(frozen=True)
class Admin:
    """An open database, and whose exchanges are collected."""

    db: DatabaseContext
    user_id: int
    accounts: dict[str, Exchange]
    """By the venue's name; the user's own first where there are several."""

    def venue_of(self, name: str, exchange: str | None) -> tuple[str, str]:
        """Return exchange and symbol that a name means, where one exchange is collected or one is said.

        Raises:
            CommandError: it is not clear, or not collected.
        """
        said, symbol = split_name(name)
        venue = said or (exchange.strip().lower() if exchange else None)
        having = sorted(name for name, one in self.accounts.items() if one.active)
        if venue is None and len(having) == 1:
            venue = having[0]
        if venue is None:
            hint = f"say {having[0]}:{symbol}, or -x {having[0]}" if having else say_command("exchanges add kraken")
            raise CommandError(f"{name}: of which exchange? {hint}")
        if venue not in having:
            near = get_close_matches(venue, having)
            hint = f"did you mean {near[0]}?" if near else f"{say_command(f'exchanges add {venue}')} first"
            raise CommandError(f"{venue} is not collected: {hint}")
        return venue, symbol

    async def symbols_of(self, venue: str) -> dict[str, Symbol]:
        """Return the venue's symbols in the database, by name."""
        found = await self.db.symbols.get_by_exchange_id(self.accounts[venue].cat_ex_id)
        return {one.symbol: one for one in found}

    async def stored(self, names: Sequence[str], exchange: str | None) -> list[Symbol]:
        """Return the symbols in the database that names and globs mean.

        Raises:
            CommandError: one means none; says near names.
        """
        chosen: dict[int, Symbol] = {}
        for name in names:
            said, symbol = split_name(name)
            of = said or exchange
            if of is not None and of not in self.accounts:
                having = ", ".join(sorted(self.accounts)) or "none"
                raise CommandError(f"nothing of {of} is collected; exchanges that are: {having}")
            known = {venue: await self.symbols_of(venue) for venue in ([of] if of else sorted(self.accounts))}
            symbols = {one for each in known.values() for one in each}
            meant = match_glob(symbol, symbols) if is_glob(symbol) else [read_typed(symbol, dict.fromkeys(symbols, ()))]
            found = [one for each in known.values() for one in each.values() if one.symbol in meant]
            if not found:
                hint = (of and found_elsewhere(of, symbol)) or suggest(symbol, symbols)
                raise CommandError(f"{name} is not collected; {hint or say_command('symbols list') + ' names them'}")
            if len(found) > 1 and not is_glob(symbol):
                raise CommandError(
                    f"{symbol} is collected from several exchanges: say "
                    + " or ".join(f"{one.exchange_name}:{one.symbol}" for one in found)
                )
            chosen |= {one.symbol_id: one for one in found}
        return list(chosen.values())


@asynccontextmanager
async def open_admin() -> AsyncIterator[Admin]:
    """Open the database of what is wanted.

    Raises:
        CommandError: it has not been set up yet.
    """
    config = OhlcvServiceConfig.from_env()
    try:
        async with DatabaseContext() as db:
            user_id = await find_user_id(config, db)
            if await db.users.get_by_id(user_id) is None:
                raise CommandError(f"there is no user {config.admin_mail!r} yet: run {say_command('init')}")
            accounts: dict[str, Exchange] = {}
            for one in await db.exchanges.get_user_exchanges(user_id):
                known = accounts.get(one.cat_exchange.name)
                if known is None or (one.active and not known.active):
                    accounts[one.cat_exchange.name] = one
            yield Admin(db, user_id, accounts)
    except (DatabaseMissing, SchemaMismatch) as error:
        if isinstance(error, SchemaMismatch) and error.found is not None:
            raise
        raise CommandError(f"database {error.database!r} is not set up yet: run {say_command('init')}") from error
