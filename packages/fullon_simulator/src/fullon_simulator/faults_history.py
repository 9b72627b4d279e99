"""A history in which the market stands still at times: what would have been traded then never was.

The trades after a pause are numbered on as if nothing were missing, because to the venue nothing is.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fullon_simulator.clock import DAY_US
from fullon_simulator.columns import Block, History, TradeColumns

Pause = tuple[int, int | None]
"""`[start_us, end_us)`; without an end, for ever."""


class _Count(NamedTuple):
    trades: int
    aggregates: int


class PausedHistory:
    """Another history without the trades of some pauses, which neither touch nor overlap."""

    def __init__(self, history: History, pauses: Iterable[Pause]) -> None:
        self._history = history
        self._pauses = tuple(pauses)
        self.first_day = history.first_day
        self._before = lru_cache(maxsize=256)(self._counted)

    def trades_before(self, day: int) -> int:
        """Return how many trades there are before `day`."""
        return self._history.trades_before(day) - self._removed(day).trades

    def aggregates_before(self, day: int) -> int:
        """Return how many aggregates there are before `day`."""
        return self._history.aggregates_before(day) - self._removed(day).aggregates

    def position_of_id(self, trade_id: int) -> int:
        """Return how many trades have a smaller id."""
        removed = 0
        for start_us, end_us in self._pauses:
            start = self._before(start_us).trades
            if self._history.position_of_id(trade_id + removed) <= start:
                break
            if end_us is None:
                return start - removed
            removed += self._before(end_us).trades - start
        return self._history.position_of_id(trade_id + removed) - removed

    def block(self, day: int) -> Block:
        """Return the trades of `day`."""
        whole, removed = self._history.block(day), self._removed(day)
        rows, first = whole.trades, whole.aggregate_first
        kept = np.ones(len(rows.time_us), dtype=np.bool_)
        for start_us, end_us in self._pauses:
            kept &= rows.time_us < start_us if end_us is None else (rows.time_us < start_us) | (rows.time_us >= end_us)
        numbered = rows._replace(trade_id=rows.trade_id - removed.trades - np.cumsum(~kept))
        # All trades of an aggregate have one time, so it is kept whole or not at all.
        sizes = np.diff(first)[kept[first[:-1]]]
        return Block(
            whole.position - removed.trades,
            whole.aggregate_position - removed.aggregates,
            TradeColumns._make(column[kept] for column in numbered),
            np.concatenate(([0], np.cumsum(sizes))),
        )

    def _removed(self, day: int) -> _Count:
        """Return how much the pauses took out before `day`."""
        trades = aggregates = 0
        for start_us, end_us in self._pauses:
            if day * DAY_US <= start_us:
                break
            start = self._before(start_us)
            if end_us is None or day * DAY_US < end_us:
                end = _Count(self._history.trades_before(day), self._history.aggregates_before(day))
            else:
                end = self._before(end_us)
            trades += end.trades - start.trades
            aggregates += end.aggregates - start.aggregates
        return _Count(trades, aggregates)

    def _counted(self, time_us: int) -> _Count:
        """Count what the whole history has before `time_us`."""
        if time_us // DAY_US < self.first_day:
            return _Count(0, 0)
        block = self._history.block(time_us // DAY_US)
        row = int(np.searchsorted(block.trades.time_us, time_us))
        order = int(np.searchsorted(block.aggregate_first[:-1], row))
        return _Count(block.position + row, block.aggregate_position + order)


def united(pauses: Iterable[Pause]) -> tuple[Pause, ...]:
    """Return pauses in order, those that touch or overlap made one."""
    found: list[Pause] = []
    for start_us, end_us in sorted(pauses, key=lambda pause: pause[0]):
        if end_us is not None and end_us <= start_us:
            continue
        if found and ((last := found[-1][1]) is None or start_us <= last):
            found[-1] = (found[-1][0], None if last is None or end_us is None else max(last, end_us))
        else:
            found.append((start_us, end_us))
    return tuple(found)
