"""Exchanges: the catalogue of venues, and the accounts users have there."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fullon_orm.base import NAME_CHARACTERS_MAX, Base, ItemAccess


class CatExchange(ItemAccess, Base):
    """A venue of the catalogue. `name` is the venue's id in lower case, such as `kraken`."""

    __tablename__ = "cat_exchanges"
    __table_args__ = (CheckConstraint("name <> ''", name="name_given"),)

    cat_ex_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX), unique=True)
    ohlcv_view: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX), default="", server_default="")


class Exchange(ItemAccess, Base):
    """A user's account at a venue. `name` is the user's own; the venue's is `cat_exchange.name`.

    `active` says whether the venue's symbols are wanted, `test` whether the venue's sandbox is meant.
    """

    __tablename__ = "exchanges"
    __table_args__ = (UniqueConstraint("uid", "cat_ex_id", "name"),)

    ex_id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[int] = mapped_column(ForeignKey("users.uid", ondelete="CASCADE"))
    cat_ex_id: Mapped[int] = mapped_column(ForeignKey("cat_exchanges.cat_ex_id"))
    name: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX))
    test: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    timestamp: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    cat_exchange: Mapped[CatExchange] = relationship(lazy="joined", innerjoin=True)
