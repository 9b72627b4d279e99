"""One class per kind of record, each over a session that somebody else commits."""

from fullon_orm.repositories.bot import BotRepository
from fullon_orm.repositories.exchange import ExchangeRepository
from fullon_orm.repositories.strategy import StrategyRepository
from fullon_orm.repositories.symbol import SymbolRepository
from fullon_orm.repositories.user import UserRepository

__all__ = [
    "BotRepository",
    "ExchangeRepository",
    "StrategyRepository",
    "SymbolRepository",
    "UserRepository",
]
