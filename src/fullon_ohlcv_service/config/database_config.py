"""What is to be collected, as the database says: never an exchange or a symbol named in code."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_orm import DatabaseContext
from fullon_orm.models import Symbol


@dataclass(frozen=True, order=True)
class WantedSymbol:
    """One symbol to collect."""

    exchange: str
    """The venue, as `cat_exchanges.name` has it."""
    symbol: str
    backtest_days: int

    @classmethod
    def from_orm(cls, symbol: Symbol) -> Self:
        """Make one from a database symbol whose exchange is loaded.

        Raises:
            ValueError: the symbol has no name or no exchange.
        """
        exchange, name = getattr(symbol, "exchange_name", None), getattr(symbol, "symbol", None)
        if not exchange or not name:
            raise ValueError(
                f"Invalid symbol {symbol!r}: it needs a name and an exchange, as symbols.get_all() returns them"
            )
        days = symbol.backtest
        return cls(exchange, name, 30 if days is None else max(0, days))

    def __str__(self) -> str:
        return f"{self.exchange}:{self.symbol}"


class KeepDays(NamedTuple):
    """For how many days the rows of a symbol are kept: 0 for ever, None as the settings say."""

    trades: int | None
    candles: int | None


async def load_keep_days() -> dict[tuple[str, str], KeepDays]:
    """Return how long the rows of symbols are kept, by exchange and symbol; also of those that are not collected."""
    async with DatabaseContext() as db:
        return {
            (one.exchange_name, one.symbol): KeepDays(one.keep_trades_days, one.keep_candles_days)
            for one in await db.symbols.get_all()
        }


async def find_user_id(config: OhlcvServiceConfig, db: DatabaseContext) -> int:
    """Return whose exchanges are collected: OHLCV_USER_ID, else the user with ADMIN_MAIL, else 1."""
    if config.user_id_is_set:
        return config.user_id
    return await db.users.get_user_id(config.admin_mail) or config.user_id


async def load_wanted_symbols(config: OhlcvServiceConfig) -> set[WantedSymbol]:
    """Read the active symbols of the user's active exchanges."""
    async with DatabaseContext() as db:
        user_id = await find_user_id(config, db)
        exchanges = await db.exchanges.get_user_exchanges(user_id)
        wanted: set[WantedSymbol] = set()
        for exchange in exchanges:
            if not exchange.active:
                continue
            for symbol in await db.symbols.get_by_exchange_id(exchange.cat_ex_id):
                if symbol.active and not symbol.only_ticker:
                    wanted.add(WantedSymbol.from_orm(symbol))
        return wanted


async def get_collection_targets(
    user_id: int = 1, db_context: DatabaseContext | None = None
) -> dict[str, dict[str, Any]]:
    """Return the user's active exchanges with the symbols to collect from each.

    `{exchange name: {"symbols": [symbol, …], "ex_id": id, "exchange_category_name": venue}}`; the symbols are
    sorted. `db_context`, where given, is an entered one and stays open.
    """
    if db_context is None:
        async with DatabaseContext() as db:
            return await get_collection_targets(user_id, db)
    targets: dict[str, dict[str, Any]] = {}
    for exchange in await db_context.exchanges.get_user_exchanges(user_id):
        if not exchange.active:
            continue
        symbols = await db_context.symbols.get_by_exchange_id(exchange.cat_ex_id)
        targets[exchange.name] = {
            "symbols": sorted(one.symbol for one in symbols if one.active and not one.only_ticker),
            "ex_id": exchange.ex_id,
            "exchange_category_name": exchange.cat_exchange.name,
        }
    return targets


async def should_collect_ohlcv(exchange: str, symbol: str) -> bool:
    """Tell whether `symbol` of the venue `exchange` is an active symbol in the database."""
    async with DatabaseContext() as db:
        symbols = await db.symbols.get_by_exchange(exchange)
        return any(one.symbol == symbol and one.active and not one.only_ticker for one in symbols)


def by_exchange(wanted: Collection[WantedSymbol]) -> dict[str, set[WantedSymbol]]:
    """Group wanted symbols by venue."""
    grouped: dict[str, set[WantedSymbol]] = {}
    for one in wanted:
        grouped.setdefault(one.exchange, set()).add(one)
    return grouped
