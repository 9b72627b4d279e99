"""The tables, one class each, and `Trade`, a value that is no table."""

from fullon_orm import triggers
from fullon_orm.base import Base
from fullon_orm.models.bot import Bot, BotExchange
from fullon_orm.models.exchange import CatExchange, Exchange
from fullon_orm.models.feed import Feed
from fullon_orm.models.strategy import CatStrategy, Strategy
from fullon_orm.models.symbol import Symbol
from fullon_orm.models.trade import Trade
from fullon_orm.models.user import User

__all__ = [
    "Base",
    "Bot",
    "BotExchange",
    "CatExchange",
    "CatStrategy",
    "Exchange",
    "Feed",
    "Strategy",
    "Symbol",
    "Trade",
    "User",
]

triggers.attach(Base.metadata)
