"""Trades and candles as numpy columns of integers, and the one way of folding them.

Prices and volumes are integers in units of the symbol's last decimal, so sums are exact; quote volumes are
products of both. Times are microseconds since the epoch.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from fullon_simulator.clock import MINUTE_US

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class TradeColumns(NamedTuple):
    """Trades in the order of their ids."""

    trade_id: Ints
    time_us: Ints
    price: Ints
    volume: Ints
    buy: Flags
    """True where the taker bought."""
    market: Flags
    """True where the taker's order was a market order, False for a limit order."""

    def cut(self, start: int, stop: int) -> "TradeColumns":
        """Return the rows `[start, stop)` as views."""
        return TradeColumns(*(column[start:stop] for column in self))

    @classmethod
    def join(cls, parts: list[Self]) -> "TradeColumns":
        """Return the parts one after the other; a single one without copying."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return NO_TRADES
        return TradeColumns(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class AggregateColumns(NamedTuple):
    """Trades of one taker at one price and time, taken together."""

    aggregate_id: Ints
    first_id: Ints
    last_id: Ints
    time_us: Ints
    price: Ints
    volume: Ints
    buy: Flags

    @classmethod
    def join(cls, parts: list[Self]) -> "AggregateColumns":
        """Return the parts one after the other."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return NO_AGGREGATES
        return AggregateColumns(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class CandleColumns(NamedTuple):
    """Candles oldest first, without empty ones; `time_us` is the open time."""

    time_us: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote: Ints
    buy_volume: Ints
    buy_quote: Ints
    trades: Ints
    first_id: Ints
    last_id: Ints

    @classmethod
    def of_trades(cls, rows: TradeColumns) -> "CandleColumns":
        """Return every trade as a candle of its own."""
        quote = rows.price * rows.volume
        return cls(
            rows.time_us, rows.price, rows.price, rows.price, rows.price, rows.volume, quote,
            rows.volume * rows.buy, quote * rows.buy, np.ones_like(rows.volume), rows.trade_id, rows.trade_id,
        )  # fmt: skip

    def cut(self, start: int, stop: int) -> "CandleColumns":
        """Return the rows `[start, stop)` as views."""
        return CandleColumns(*(column[start:stop] for column in self))

    @classmethod
    def join(cls, parts: list[Self]) -> "CandleColumns":
        """Return the parts one after the other."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return NO_CANDLES
        return CandleColumns(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def fold(self, open_us: Ints) -> "CandleColumns":
        """Return one candle per run of equal `open_us`, which gives each row's new open time."""
        if not len(open_us):
            return self
        first = np.flatnonzero(np.concatenate(([True], open_us[1:] != open_us[:-1])))
        last = np.concatenate((first[1:], [len(open_us)])) - 1
        return CandleColumns(
            open_us[first],
            self.open[first],
            np.maximum.reduceat(self.high, first),
            np.minimum.reduceat(self.low, first),
            self.close[last],
            *(np.add.reduceat(column, first) for column in self[5:10]),
            self.first_id[first],
            self.last_id[last],
        )


_NO_INTS = np.empty(0, dtype=np.int64)
_NO_FLAGS = np.empty(0, dtype=np.bool_)
NO_TRADES = TradeColumns(_NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_FLAGS, _NO_FLAGS)
NO_AGGREGATES = AggregateColumns(_NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_FLAGS)
NO_CANDLES = CandleColumns(*([_NO_INTS] * 12))


@dataclass(frozen=True)
class Block:
    """All trades of one symbol in one UTC day."""

    position: int
    """How many trades the market had before this day."""
    aggregate_position: int
    """How many aggregates the market had before this day."""
    trades: TradeColumns
    aggregate_first: Ints
    """Where in `trades` each aggregate begins, and, one more, the number of trades."""

    @cached_property
    def minutes(self) -> CandleColumns:
        """The day's non-empty minutes."""
        rows = self.trades
        return CandleColumns.of_trades(rows).fold(rows.time_us - rows.time_us % MINUTE_US)

    def aggregates(self, start: int, stop: int) -> AggregateColumns:
        """Return the day's aggregates `[start, stop)`."""
        if start >= stop:
            return NO_AGGREGATES
        first, rows = self.aggregate_first[start:stop], self.trades
        last = self.aggregate_first[start + 1 : stop + 1] - 1
        covered = rows.volume[: last[-1] + 1]
        return AggregateColumns(
            np.arange(start, stop) + self.aggregate_position + 1,
            rows.trade_id[first],
            rows.trade_id[last],
            rows.time_us[first],
            rows.price[first],
            np.add.reduceat(covered, first),
            rows.buy[first],
        )


class History(Protocol):
    """Where a tape's trades come from: a generator or a recording."""

    first_day: int
    """The UTC day (days since the epoch) of the first trade."""

    def trades_before(self, day: int) -> int:
        """Return how many trades there are before `day`."""

    def aggregates_before(self, day: int) -> int:
        """Return how many aggregates there are before `day`."""

    def position_of_id(self, trade_id: int) -> int:
        """Return how many trades have a smaller id."""

    def block(self, day: int) -> Block:
        """Return the trades of `day`."""
