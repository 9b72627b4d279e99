"""Saving and reading the trades of one symbol."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fullon_ohlcv.bounds import moment
from fullon_ohlcv.edges import read_newest, windows_before
from fullon_ohlcv.models import Trade
from fullon_ohlcv.records import TradeWrite
from fullon_ohlcv.repositories.ohlcv.base_repository import Moment, OHLCVBaseRepository, moment_us
from fullon_ohlcv.statements import statement
from fullon_ohlcv.timeframe import CANDLES_1M, TRADES, to_us

if TYPE_CHECKING:
    from asyncpg import Record


class TradeRepository(OHLCVBaseRepository):
    """The stored trades of one symbol."""

    channel = TRADES

    async def save_trades(self, trades: Sequence[Trade], *, covering: tuple[Moment, Moment] | None = None) -> bool:
        """Insert trades that are not stored yet; True if every row was good.

        Bad rows are logged one by one and listed in `rejected`, the rest is stored. `covering=(start, end)` says
        that the rows, with those stored before, are everything the exchange published in that half-open interval:
        the minutes it completes become stored candles.
        """
        covered = [] if covering is None else [(moment_us(covering[0]), moment_us(covering[1]))]
        series, candles = await self._series(TRADES), await self._series(CANDLES_1M)
        write = TradeWrite(series, [_row(trade) for trade in trades], covered, candles)
        return self._report(await self.store.write_trades([write]))

    async def get_recent_trades(self, limit: int = 100) -> list[Trade]:
        """Return the newest `limit` trades, oldest first."""
        series = await self.store.find_series(self.exchange, self.symbol, TRADES)
        if series is None or not _checked(limit):
            return []
        rows: list[Record] = []
        async with self.store.connection("read trades") as connection:
            newest = await read_newest(connection, [series])
            if series not in newest:
                return []
            for start, end in windows_before(newest[series] + 1):
                rows = await connection.fetch(statement("recent_trades"), series.series_id, limit, start, end)
                if len(rows) == limit:
                    break
        return [Trade(*row) for row in rows]

    async def get_trades_in_range(self, start: Moment, end: Moment, limit: int = 100_000) -> list[Trade]:
        """Return the trades of `[start, end)`, oldest first, the first `limit` of them."""
        given = moment(moment_us(start)), moment(moment_us(end)), _checked(limit)
        series = await self.store.find_series(self.exchange, self.symbol, TRADES)
        if series is None:
            return []
        async with self.store.connection("read trades") as connection:
            rows = await connection.fetch(statement("trades"), series.series_id, *given)
        return [Trade(*row) for row in rows]


def _row(trade: Any) -> Any:
    """Turn a trade into a row of the store; what cannot be turned goes on as it is, to be refused there by name."""
    try:
        return (
            to_us(trade.timestamp),
            trade.price,
            trade.volume,
            (trade.side or "").lower(),
            (trade.type or "").lower(),
            None if trade.trade_id is None else str(trade.trade_id),
        )
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return trade


def _checked(limit: int) -> int:
    if isinstance(limit, int) and limit >= 0:
        return limit
    raise ValueError(f"limit is {limit!r}; allowed is a whole number from 0")
