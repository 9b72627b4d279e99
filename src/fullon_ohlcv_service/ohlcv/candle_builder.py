"""From a venue's candle updates to final candles (pure: no I/O, no clock).

A candle is final when the venue says it is closed; where a venue never says so, when the next candle has begun or
when the minute and a grace have passed with proof of life. Nothing in progress ever leaves the builder as final.

A minute without any update is claimed as empty when watermarks have passed it, until trade ids say otherwise: those of
two candles must meet, even across a break. What lies between two that do not is doubted as far as it was claimed.

Two connections may carry a symbol for a while, each at its own pace. An update of a minute then counts for both, and
never replaces one that already knew more; what has begun on one connection says nothing of the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.records import (
    Candle,
    Candles,
    Disconnected,
    Event,
    Interval,
    Subscribed,
    Unsubscribed,
    Watermark,
)
from fullon_ohlcv.intervals import union
from fullon_ohlcv.records import CandleRow
from fullon_ohlcv_service.frontier import Frontier, Left, SeriesBatch, subtract

CandleBatch = SeriesBatch[CandleRow]

_REMEMBERED_US = 5 * MINUTE_US
"""For how long before the frontier it is known who told what: longer than a connection may lag."""
_SILENCES_MAX = 16
"""How many silences are kept apart; beyond it the oldest are doubted together, with what lies between them."""


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
    ids: dict[int, tuple[int, int]] = field(default_factory=dict)
    """First and last trade id of the minutes that had trades: those of `closed`, and the newest before."""
    silent: list[Interval] = field(default_factory=list)
    """What has been claimed as empty since the oldest of these."""
    undecided: list[int] = field(default_factory=list)
    """Minutes that watermarks have passed without an update, while ids around them say that some may still come."""


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
                        if candle.timeframe == "1m" and self._frontier.eldest(candle.symbol) is not None:
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
            # What ids may still say of the minutes that were claimed as empty stays.
            state = self._states[left.symbol]
            state.in_progress.clear()
            state.closed.clear()

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
                self._note_ids(state, candle)
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

    def _note_ids(self, state: _SymbolState, candle: Candle) -> None:
        if candle.trades and candle.first_id is not None and candle.last_id is not None:
            state.ids[candle.timestamp_us] = (candle.first_id, candle.last_id)
            self._doubt_silence(candle.symbol, state, self._frontier.next_us(candle.symbol))

    def _doubt_silence(self, symbol: str, state: _SymbolState, before_us: int) -> None:
        """A skipped trade id between two candles means that a minute between them was not empty after all.

        It counts once watermarks have passed all of them, so that none can be on its way.
        """
        if not state.silent:
            return
        for start_us, end_us in pairwise(sorted(state.ids)):
            between = (start_us + MINUTE_US, end_us)
            if end_us <= before_us and state.ids[start_us][1] + 1 != state.ids[end_us][0]:
                silent = subtract(state.silent, between)
                if silent != state.silent:
                    self._batch(symbol).doubt(between)
                    state.silent = silent

    def _pass_watermark(self, event: Watermark) -> None:
        for symbol, start_us, end_us in self._frontier.advance(event.connection, event.timestamp_us):
            state = self._states[symbol]
            self._doubt_silence(symbol, state, end_us)
            undecided, state.undecided = state.undecided, []
            for minute_us in (*undecided, *range(start_us, end_us, MINUTE_US)):
                if minute_us in state.closed:
                    continue
                told = state.in_progress.get(minute_us)
                if told is None:
                    self._claim_empty(symbol, state, minute_us, end_us)
                elif self._closed_flag:
                    self.never_closed += 1
                else:
                    self._release(state, told)
            self._forget(state, end_us)
            self.claims[symbol] = end_us

    def _claim_empty(self, symbol: str, state: _SymbolState, minute_us: int, passed_us: int) -> None:
        minute = (minute_us, minute_us + MINUTE_US)
        before_us = max((us for us in state.ids if us < minute_us), default=None)
        after_us = min((us for us in state.ids if us > minute_us), default=None)
        if before_us is not None and after_us is not None and state.ids[before_us][1] + 1 != state.ids[after_us][0]:
            if after_us > passed_us:
                state.undecided.append(minute_us)
            else:
                self._batch(symbol).doubt(minute)
            return
        self._batch(symbol).covered.append(minute)
        if state.ids:
            state.silent = union([*state.silent, minute])
            if len(state.silent) > _SILENCES_MAX:
                first, second, *later = state.silent
                state.silent = [(first[0], second[1]), *later]

    def _forget(self, state: _SymbolState, end_us: int) -> None:
        """Let go of what no connection can still say anything of."""
        since_us = end_us - _REMEMBERED_US
        state.closed = {us: one for us, one in state.closed.items() if us >= since_us}
        state.in_progress = {us: one for us, one in state.in_progress.items() if us >= end_us}
        state.undecided = [us for us in state.undecided if us >= since_us]
        newest_us = max((us for us in state.ids if us < since_us), default=0)
        state.ids = {us: ids for us, ids in state.ids.items() if us >= newest_us}
        state.silent = [interval for interval in state.silent if interval[1] > newest_us]
