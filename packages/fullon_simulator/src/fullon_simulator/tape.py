"""The tape: everything a symbol's market has traded and will trade, readable at any place."""

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

import numpy as np

from fullon_simulator.clock import DAY_US, MINUTE_US, SECOND_US
from fullon_simulator.columns import (
    NO_AGGREGATES,
    NO_CANDLES,
    NO_TRADES,
    AggregateColumns,
    Block,
    CandleColumns,
    History,
    TradeColumns,
    cut,
    join,
    tuples,
)
from fullon_simulator.conventions import CONVENTIONS
from fullon_simulator.faults_history import Pause, PausedHistory, united
from fullon_simulator.generator import GeneratedHistory
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.timeframes import MINUTE, Timeframe

_DAYS_MAX = 400_000
"""Where the search for a trade ends: a market of a thousand years."""


class TapeTrade(NamedTuple):
    """One trade as the market knows it; floats are those nearest to the decimals sent on the wire."""

    timestamp_us: int
    price: float
    volume: float
    side: str
    """The taker's, `buy` or `sell`."""
    order_type: str
    """`market` or `limit`; nothing where the venue tells nobody."""
    trade_id: str


class TapeCandle(NamedTuple):
    """The fold of the trades of one interval; `timestamp_us` is its open time, `volume` the exact sum.

    `open` is what the venue publishes: on BitMEX the close of the candle before, maybe outside `[low, high]`.
    """

    timestamp_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int


class BlockCache:
    """The days read last, bounded by the number of trades in them (40 bytes each); tapes may share one."""

    def __init__(self, trades_max: int = 6_000_000) -> None:
        self._trades_max = trades_max
        self._trades = 0
        self._blocks: OrderedDict[tuple[History, int], Block] = OrderedDict()

    def get(self, history: History, day: int) -> Block:
        """Return the block of `day`, making it if need be."""
        key = (history, day)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = history.block(day)
            self._trades += _cost(block)
            while self._trades > self._trades_max and len(self._blocks) > 1:
                self._trades -= _cost(self._blocks.popitem(last=False)[1])
        else:
            self._blocks.move_to_end(key)
        return block


def _cost(block: Block) -> int:
    return len(block.trades.price) + 50  # an empty block is not free


class Tape:
    """One symbol's trades in one sequence, numbered by position from 0; candles are their fold.

    The same (seed, venue, spec) is the same tape in every process. A tape knows the future too: whoever reads
    it for a client cuts at the clock.
    """

    def __init__(
        self,
        seed: int,
        venue: str,
        spec: SymbolSpec,
        *,
        history: History | None = None,
        cache: BlockCache | None = None,
    ) -> None:
        if venue not in CONVENTIONS:
            raise ValueError(f"venue is {venue!r}; allowed are {', '.join(CONVENTIONS)}")
        self.convention = convention = CONVENTIONS[venue]
        convention.check(venue, spec.symbol)
        self.venue = venue
        self.spec = spec
        self._whole = history or GeneratedHistory(seed, venue, spec, time_step_us=convention.time_step_us)
        self._history: History = self._whole
        self._pauses: list[Pause] = []
        self._ends: dict[int, tuple[int, bool]] = {}
        self._end_numbers = count()
        self._cache = cache or BlockCache()
        self._day_found = self._history.first_day
        self._price_unit = 10**spec.price_digits
        self._volume_unit = 1 if convention.counts_contracts else 10**spec.volume_digits

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """When the market stood still, in order."""
        return united(self._pauses)

    def pause(self, start_us: int, end_us: int | None = None) -> int:
        """Let the market stand still in `[start_us, end_us)`, without an end until `resume`; return its number.

        `start_us` lies after everything that has been read for a client: the trades after the pause are numbered on.
        """
        self._pauses.append((start_us, end_us))
        self._history = PausedHistory(self._whole, self.pauses)
        return len(self._pauses) - 1

    def resume(self, number: int, end_us: int) -> None:
        """Let the pause of this number end at `end_us`."""
        self._pauses[number] = (self._pauses[number][0], end_us)
        self._history = PausedHistory(self._whole, self.pauses)

    @property
    def ended_at_us(self) -> int | None:
        """When the market ended; None while it is there."""
        return min((at_us for at_us, _ in self._ends.values()), default=None)

    @property
    def unlisted(self) -> bool:
        """True where its venue knows nothing of it any more."""
        return any(unlisted for _, unlisted in self._ends.values())

    def end(self, at_us: int, *, unlisted: bool) -> int:
        """Note that the market has ended, until it is listed again; return the number of this end."""
        number = next(self._end_numbers)
        self._ends[number] = (at_us, unlisted)
        return number

    def relist(self, number: int) -> None:
        """Take the end of this number back."""
        del self._ends[number]

    def share(self, cache: BlockCache) -> None:
        """Keep the days read last in `cache` from now on."""
        self._cache = cache

    @property
    def listed_at_us(self) -> int:
        """When the market was listed: at its first trade, or the full hour before it (BitMEX)."""
        return self.spec.listed_at_us - self.spec.listed_at_us % self.convention.listing_step_us

    def trade_id(self, number: int) -> str:
        """Return the id that the venue gives the trade with this number (the column `trade_id`)."""
        return self.convention.trade_id(self.spec, number)

    def position(self, time_us: int) -> int:
        """Return how many trades happened before `time_us`."""
        if time_us // DAY_US < self._history.first_day:
            return 0
        block = self._block(time_us // DAY_US)
        return block.position + int(np.searchsorted(block.trades.time_us, time_us))

    def position_of_id(self, trade_id: int) -> int:
        """Return how many trades have a smaller id."""
        return self._history.position_of_id(trade_id)

    def time_at(self, position: int) -> int | None:
        """Return the time of the trade at `position`; None where a recording has ended before it."""
        day = self._day_at(position, self._history.trades_before)
        if day is None:
            return None
        block = self._block(day)
        return int(block.trades.time_us[position - block.position])

    def read(self, start: int, stop: int) -> TradeColumns:
        """Return the trades at the positions `[start, stop)`."""
        parts = []
        while start < stop:
            day = self._day_at(start, self._history.trades_before)
            if day is None:
                break
            block = self._block(day)
            part = cut(block.trades, start - block.position, stop - block.position)
            parts.append(part)
            start += len(part.price)
        return join(parts, NO_TRADES)

    def last_price(self, time_us: int) -> int:
        """Return the price of the last trade before `time_us`, in units; 0 where there is none."""
        position = self.position(time_us)
        return int(self.read(position - 1, position).price[0]) if position else 0

    def aggregate_position(self, time_us: int) -> int:
        """Return how many aggregates happened before `time_us`."""
        if time_us // DAY_US < self._history.first_day:
            return 0
        block = self._block(time_us // DAY_US)
        row = np.searchsorted(block.trades.time_us, time_us)
        return block.aggregate_position + int(np.searchsorted(block.aggregate_first[:-1], row))

    def read_aggregates(self, start: int, stop: int) -> AggregateColumns:
        """Return the aggregates `[start, stop)`, numbered from 0 (ids from 1)."""
        parts = []
        while start < stop:
            day = self._day_at(start, self._history.aggregates_before)
            if day is None:
                break
            block = self._block(day)
            orders = len(block.aggregate_first) - 1
            part = block.aggregates(start - block.aggregate_position, min(stop - block.aggregate_position, orders))
            parts.append(part)
            start += len(part.price)
        return join(parts, NO_AGGREGATES)

    def fold(self, start_us: int, end_us: int, timeframe: Timeframe = MINUTE) -> CandleColumns:
        """Return the non-empty candles of `[start_us, end_us)`, which starts at a candle's open time."""
        return _folded([*self._fold_days(start_us, end_us, timeframe)], timeframe)

    async def fold_calmly(self, start_us: int, end_us: int, timeframe: Timeframe = MINUTE) -> CandleColumns:
        """Return the same, letting others run after each day: a long range takes seconds to generate."""
        parts: list[CandleColumns] = []
        for part in self._fold_days(start_us, end_us, timeframe):
            parts.append(part)
            await asyncio.sleep(0)
        return _folded(parts, timeframe)

    def _fold_days(self, start_us: int, end_us: int, timeframe: Timeframe) -> Iterator[CandleColumns]:
        """Yield each day's candles; one that spans several days comes in parts."""
        if timeframe.length_us and timeframe.length_us % MINUTE_US:
            yield CandleColumns.of_trades(self.read(self.position(start_us), self.position(end_us)))
            return
        whole_end_us = end_us - end_us % MINUTE_US
        for day in range(max(start_us // DAY_US, self._history.first_day), -(-whole_end_us // DAY_US)):
            minutes = self._block(day).minutes
            first, last = np.searchsorted(minutes.time_us, [start_us, whole_end_us])
            yield _folded([cut(minutes, int(first), int(last))], timeframe)
        tail = self.read(self.position(max(start_us, whole_end_us)), self.position(end_us))
        yield _folded([CandleColumns.of_trades(tail)], timeframe)

    def past_day(self, now_us: int) -> CandleColumns:
        """Return the 24 hours before `now_us`, begun at a whole minute, as one candle, or none."""
        start_us = (now_us - DAY_US) // MINUTE_US * MINUTE_US
        minutes = self.fold(start_us, now_us)
        return minutes.fold(np.full_like(minutes.time_us, start_us))

    def trades(self, start_us: int, end_us: int) -> list[TapeTrade]:
        """Return the trades of `[start_us, end_us)`, oldest first."""
        rows = self.read(self.position(start_us), self.position(end_us))
        price_unit, volume_unit = self._price_unit, self._volume_unit
        order_types = ("limit", "market") if self.convention.tells_order_types else ("", "")
        return [
            # Python divides two integers to the nearest double: exactly float() of the decimal on the wire.
            TapeTrade(
                time_us,
                price / price_unit,
                volume / volume_unit,
                "buy" if buy else "sell",
                order_types[market],
                self.trade_id(number),
            )
            for number, time_us, price, volume, buy, market in tuples(rows)
        ]

    def aggregates(self, start_us: int, end_us: int) -> list[TapeTrade]:
        """Return the aggregates of `[start_us, end_us)` as trades, `trade_id` being the aggregate's id."""
        rows = self.read_aggregates(self.aggregate_position(start_us), self.aggregate_position(end_us))
        price_unit, volume_unit = self._price_unit, self._volume_unit
        return [
            TapeTrade(
                time_us,
                price / price_unit,
                volume / volume_unit,
                "buy" if buy else "sell",
                "",
                str(aggregate_id),
            )
            for aggregate_id, _, _, time_us, price, volume, buy in tuples(rows)
        ]

    def candles(self, start_us: int, end_us: int, timeframe_s: int = 60) -> list[TapeCandle]:
        """Return the non-empty candles that lie wholly in `[start_us, end_us)`, oldest first."""
        timeframe = MINUTE if timeframe_s == 60 else Timeframe(timeframe_s * SECOND_US)
        start_us = timeframe.floor(start_us - 1) + timeframe.length_us
        rows = self.fold(start_us, timeframe.floor(end_us), timeframe)
        if self.convention.opens_at_last_close and len(rows.time_us):
            before = self.last_price(start_us) or int(rows.open[0])
            rows = rows._replace(open=np.concatenate(([before], rows.close[:-1])))
        price_unit, volume_unit = self._price_unit, self._volume_unit
        return [
            TapeCandle(
                time_us,
                open_ / price_unit,
                high / price_unit,
                low / price_unit,
                close / price_unit,
                volume / volume_unit,
                trades,
            )
            for time_us, open_, high, low, close, volume, _, _, _, trades, _, _ in tuples(rows)
        ]

    def _block(self, day: int) -> Block:
        return self._cache.get(self._history, day)

    def _day_at(self, position: int, before: Callable[[int], int]) -> int | None:
        """Return the day of the trade (or aggregate) at `position`, given the count before each day."""
        if before(self._day_found) <= position < before(self._day_found + 1):
            return self._day_found
        low = self._history.first_day
        high = low + 1
        while before(high) <= position:
            if high - low > _DAYS_MAX:
                return None
            high += high - low
        self._day_found = low + bisect_right(range(low, high), position, key=before) - 1
        return self._day_found


def _folded(parts: list[CandleColumns], timeframe: Timeframe) -> CandleColumns:
    rows = join(parts, NO_CANDLES)
    return rows.fold(timeframe.floor_all(rows.time_us))
