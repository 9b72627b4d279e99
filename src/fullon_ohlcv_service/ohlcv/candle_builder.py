"""From a venue's candle updates to final candles (pure: no I/O, no clock).

A candle is final when the venue says it is closed; where a venue never says so, when the next candle has begun or
when the minute and a grace have passed with proof of life. Nothing in progress ever leaves the builder as final.

Two connections may carry a symbol for a while, each at its own pace. An update of a minute then counts for both, and
never replaces one that already knew more; what has begun on one connection says nothing of the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.records import (
    Candle,
    Candles,
    Disconnected,
    Event,
    Subscribed,
    Unsubscribed,
    Watermark,
)
from fullon_ohlcv.records import CandleRow
from fullon_ohlcv_service.frontier import Frontier, Left, SeriesBatch

CandleBatch = SeriesBatch[CandleRow]

_REMEMBERED_US = 5 * MINUTE_US
"""For how long before the frontier it is known who told what: longer than a connection may lag."""


@dataclass(frozen=True, slots=True)
class _Told:
    connection: str
    candle: Candle

    def knows_more(self, connection: str, candle: Candle) -> bool:
        """Tell whether another connection has already told as much of the minute; one's own update is the newer one."""
        mine, other = self.candle, candle
        return self.connection != connection and (mine.trades or 0, mine.volume) >= (other.trades or 0, other.volume)


@dataclass(slots=True)
class _SymbolState:
    in_progress: dict[int, _Told] = field(default_factory=dict)
    closed: dict[int, _Told] = field(default_factory=dict)
    """Closed minutes, some of them before the frontier."""
    last_traded_us: int | None = None
    """The newest minute with trades in this run."""
    last_trade_id: int | None = None


class CandleBuilder:
    """The 1-minute candle streams of one venue."""

    def __init__(self, *, closed_flag: bool, grace_us: int) -> None:
        self._closed_flag = closed_flag
        self._frontier = Frontier(grace_us=grace_us)
        self._states: dict[str, _SymbolState] = {}
        self._batches: dict[str, CandleBatch] = {}
        self.claims: dict[str, int | None] = {}
        """By symbol that changed since it was last cleared: the first minute live will still prove; None = none."""
        self.never_closed = 0
        """Minutes that had updates but no closed candle: left to REST."""

    def feed(self, events: Iterable[Event]) -> None:
        """Take events in stream order."""
        for event in events:
            match event:
                case Candles():
                    for candle in event.records:
                        if candle.timeframe == "1m" and candle.symbol in self._states:
                            self._update(event.connection, candle)
                case Watermark():
                    self._pass_watermark(event)
                case Subscribed():
                    first_us = self._frontier.subscribe(event.connection, event.symbol, event.timestamp_us)
                    self._states.setdefault(event.symbol, _SymbolState())
                    self.claims[event.symbol] = first_us
                case Unsubscribed():
                    if (left := self._frontier.unsubscribe(event.connection, event.symbol)) is not None:
                        self._leave(left)
                case Disconnected():
                    for left in self._frontier.disconnect(event.connection):
                        self._leave(left)
                case _:
                    pass

    def take(self) -> dict[str, CandleBatch]:
        """Return what is to be stored by symbol and begin anew."""
        batches, self._batches = self._batches, {}
        return batches

    def _leave(self, left: Left) -> None:
        self.claims[left.symbol] = left.next_us
        if left.next_us is None:
            del self._states[left.symbol]
        elif not left.whole:
            # What is missing between them would be taken for skipped ids.
            self._states[left.symbol].last_traded_us = None

    def _batch(self, symbol: str) -> CandleBatch:
        batch = self._batches.get(symbol)
        if batch is None:
            batch = self._batches[symbol] = CandleBatch()
        return batch

    def _update(self, connection: str, candle: Candle) -> None:
        state = self._states[candle.symbol]
        minute_us = candle.timestamp_us
        told = _Told(connection, candle)
        before = state.closed.get(minute_us)
        if before is not None and before.knows_more(connection, candle):
            return
        if self._closed_flag:
            if candle.closed:
                self._check_contiguous(state, candle)
                self._release(state, told)
            elif before is None:
                state.in_progress[minute_us] = told
            return
        running = state.in_progress.get(minute_us)
        if running is None or not running.knows_more(connection, candle):
            state.in_progress[minute_us] = told
        minutes = sorted(us for us, one in state.in_progress.items() if one.connection == connection)
        for begun_us in minutes[:-1]:
            self._release(state, state.in_progress[begun_us])

    def _release(self, state: _SymbolState, told: _Told) -> None:
        candle = told.candle
        start_us = candle.timestamp_us
        state.in_progress.pop(start_us, None)
        batch = self._batch(candle.symbol)
        batch.rows.append(
            (
                start_us,
                candle.open,
                candle.high,
                candle.low,
                candle.close,
                candle.volume,
                candle.trades,
            )
        )
        batch.covered.append((start_us, start_us + MINUTE_US))
        state.closed[start_us] = told

    def _check_contiguous(self, state: _SymbolState, candle: Candle) -> None:
        """A skipped trade id between two candles means that a minute between them was not empty after all."""
        if not candle.trades or candle.first_id is None or candle.last_id is None:
            return
        last_us, last_id = state.last_traded_us, state.last_trade_id
        if last_us is not None and candle.timestamp_us <= last_us:
            return
        if last_us is not None and last_id is not None and candle.first_id != last_id + 1:
            start_us = last_us + MINUTE_US
            if start_us < candle.timestamp_us:
                self._batch(candle.symbol).doubt((start_us, candle.timestamp_us))
        state.last_traded_us, state.last_trade_id = candle.timestamp_us, candle.last_id

    def _pass_watermark(self, event: Watermark) -> None:
        for symbol, start_us, end_us in self._frontier.advance(event.connection, event.timestamp_us):
            state = self._states[symbol]
            for minute_us in range(start_us, end_us, MINUTE_US):
                if minute_us in state.closed:
                    continue
                told = state.in_progress.get(minute_us)
                if told is None:
                    self._batch(symbol).covered.append((minute_us, minute_us + MINUTE_US))
                elif self._closed_flag:
                    self.never_closed += 1
                else:
                    self._release(state, told)
            state.closed = {us: one for us, one in state.closed.items() if us >= end_us - _REMEMBERED_US}
            state.in_progress = {us: one for us, one in state.in_progress.items() if us >= end_us}
            self.claims[symbol] = end_us
