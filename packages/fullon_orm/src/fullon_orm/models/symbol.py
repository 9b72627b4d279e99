"""Symbols: what is collected, where, and how far back."""

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fullon_orm.base import NAME_CHARACTERS_MAX, Base
from fullon_orm.models.exchange import CatExchange


class Symbol(Base):
    """A market of a venue, in unified spelling (`BTC/USDT`, `BTC/USD:BTC`).

    `backtest` is the length of the wanted history in days, `decimals` the digits of its prices after the
    point. `active` says whether it is collected; `only_ticker` that its candles are not wanted.
    `keep_trades_days` and `keep_candles_days` say after how many days its rows are removed: 0 never, None as the
    service's settings say.
    """

    __tablename__ = "symbols"
    __table_args__ = (
        UniqueConstraint("symbol", "cat_ex_id"),
        CheckConstraint("symbol <> ''", name="symbol_given"),
        CheckConstraint("backtest >= 0", name="backtest_days"),
        CheckConstraint("decimals >= 0", name="decimals_count"),
        CheckConstraint("keep_trades_days >= 0", name="keep_trades_days"),
        CheckConstraint("keep_candles_days >= 0", name="keep_candles_days"),
    )

    symbol_id: Mapped[int] = mapped_column(primary_key=True)
    symbol: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX))
    cat_ex_id: Mapped[int] = mapped_column(ForeignKey("cat_exchanges.cat_ex_id"), index=True)
    updateframe: Mapped[str] = mapped_column(String(32), default="1h", server_default="1h")
    backtest: Mapped[int] = mapped_column(default=30, server_default=text("30"))
    decimals: Mapped[int] = mapped_column(default=8, server_default=text("8"))
    base: Mapped[str | None] = mapped_column(String(NAME_CHARACTERS_MAX))
    quote: Mapped[str | None] = mapped_column(String(NAME_CHARACTERS_MAX))
    futures: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    only_ticker: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    keep_trades_days: Mapped[int | None]
    keep_candles_days: Mapped[int | None]

    cat_exchange: Mapped[CatExchange] = relationship(lazy="joined", innerjoin=True)

    @property
    def exchange_name(self) -> str:
        """The venue's name, from `cat_exchange`.

        Raises:
            AttributeError: a fresh object whose `cat_exchange` was not given; storing or reading it fills it.
        """
        venue: CatExchange | None = self.cat_exchange
        if venue is None:
            raise AttributeError(
                f"Symbol {self.symbol!r} has no exchange_name before it has a cat_exchange; "
                "give it one, or store it first"
            )
        return venue.name
