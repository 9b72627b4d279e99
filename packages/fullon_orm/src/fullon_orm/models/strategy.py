"""Strategies: the catalogue, and those a bot runs."""

from decimal import Decimal

from sqlalchemy import ForeignKey, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fullon_orm.base import NAME_CHARACTERS_MAX, Base
from fullon_orm.models.feed import Feed


class CatStrategy(Base):
    """A strategy of the catalogue. Limits are in percent; None means no such limit.

    `pre_load_bars` is how many bars of history it needs before it starts, `feeds` how many feeds it takes.
    """

    __tablename__ = "cat_strategies"

    cat_str_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX), unique=True)
    take_profit: Mapped[Decimal | None]
    stop_loss: Mapped[Decimal | None]
    trailing_stop: Mapped[Decimal | None]
    timeout: Mapped[int | None]
    pre_load_bars: Mapped[int] = mapped_column(default=200, server_default=text("200"))
    feeds: Mapped[int] = mapped_column(default=1, server_default=text("1"))


class Strategy(Base):
    """A strategy as one bot runs it, with its feeds in their order.

    `size` is in `size_currency`, `size_pct` in percent of the account; one of the two is given.
    """

    __tablename__ = "strategies"

    str_id: Mapped[int] = mapped_column(primary_key=True)
    bot_id: Mapped[int] = mapped_column(ForeignKey("bots.bot_id", ondelete="CASCADE"), index=True)
    cat_str_id: Mapped[int] = mapped_column(ForeignKey("cat_strategies.cat_str_id"))
    take_profit: Mapped[Decimal | None]
    stop_loss: Mapped[Decimal | None]
    trailing_stop: Mapped[Decimal | None]
    timeout: Mapped[int | None]
    leverage: Mapped[Decimal] = mapped_column(default=Decimal(1), server_default=text("1"))
    size: Mapped[Decimal | None]
    size_pct: Mapped[Decimal | None]
    size_currency: Mapped[str | None] = mapped_column(String(32))

    cat_strategy: Mapped[CatStrategy] = relationship(lazy="joined", innerjoin=True)
    feeds: Mapped[list[Feed]] = relationship(
        lazy="selectin", order_by=Feed.order, cascade="all, delete-orphan", passive_deletes=True
    )
