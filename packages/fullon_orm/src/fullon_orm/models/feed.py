"""Feeds: the series a strategy reads."""

from sqlalchemy import ForeignKey, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fullon_orm.base import Base
from fullon_orm.models.symbol import Symbol


class Feed(Base):
    """One series of a strategy: bars of `compression` `period`s (`Ticks`, `Minutes`, `Days`)."""

    __tablename__ = "feeds"

    feed_id: Mapped[int] = mapped_column(primary_key=True)
    symbol_id: Mapped[int] = mapped_column(ForeignKey("symbols.symbol_id"))
    str_id: Mapped[int] = mapped_column(ForeignKey("strategies.str_id", ondelete="CASCADE"), index=True)
    period: Mapped[str] = mapped_column(String(32))
    compression: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    order: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    symbol: Mapped[Symbol] = relationship(lazy="joined", innerjoin=True)
