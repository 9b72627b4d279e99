"""Bots: who trades what for whom."""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, String, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fullon_orm.base import NAME_CHARACTERS_MAX, Base
from fullon_orm.models.exchange import Exchange
from fullon_orm.models.strategy import Strategy


class BotExchange(Base):
    """An account a bot may use."""

    __tablename__ = "bot_exchanges"

    bot_id: Mapped[int] = mapped_column(ForeignKey("bots.bot_id", ondelete="CASCADE"), primary_key=True)
    ex_id: Mapped[int] = mapped_column(ForeignKey("exchanges.ex_id", ondelete="CASCADE"), primary_key=True)


class Bot(Base):
    """A user's bot. `dry_run` trades on paper; `strategies` and `exchanges` are as of when it was read."""

    __tablename__ = "bots"

    bot_id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[int] = mapped_column(ForeignKey("users.uid", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX))
    dry_run: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    test: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    timestamp: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    exchanges: Mapped[list[Exchange]] = relationship(
        secondary=BotExchange.__table__, lazy="selectin", order_by=Exchange.ex_id, passive_deletes=True
    )
    strategies: Mapped[list[Strategy]] = relationship(
        lazy="selectin", order_by=Strategy.str_id, cascade="all, delete-orphan", passive_deletes=True
    )
