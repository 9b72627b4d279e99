"""From a venue's candle updates to final candles (pure: no I/O, no clock).

A candle is final when the venue says it is closed; where a venue never says so, when the next candle has begun or
when the minute and a grace have passed with proof of life. Nothing in progress ever leaves the builder as final.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fullon_exchange.clock import MINUTE_US, floor_minute_us
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
from fullon_ohlcv_service.frontier import Frontier, SeriesBatch

CandleBatch = SeriesBatch[CandleRow]


@dataclass(slots=True)
class _SymbolState:
    in_progress: dict[int, Candle] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    """Closed minutes at or after the frontier."""
    last_traded_us: int | None = None
    """The newest minute with trades, on this connection."""
    last_trade_id: int | None = None


class CandleBuilder:
    """The 1-minute candle streams of one venue."""

    def __init__(self, *, closed_flag: bool, grace_us: int) -> None:
        self._closed_flag = closed_flag
        self._grace_us = grace_us
        self._frontier = Frontier()
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
                            self._update(candle)
                case Watermark():
                    self._pass_watermark(event)
                case Subscribed():
                    first_us = self._frontier.subscribe(event.connection, event.symbol, event.timestamp_us)
                    self._states[event.symbol] = _SymbolState()
                    self.claims[event.symbol] = first_us
                case Unsubscribed():
                    if self._frontier.unsubscribe(event.symbol):
                        self._forget(event.symbol)
                case Disconnected():
                    for symbol in self._frontier.disconnect(event.connection):
                        self._forget(symbol)
                case _:
                    pass

    def take(self) -> dict[str, CandleBatch]:
        """Return what is to be stored by symbol and begin anew."""
        batches, self._batches = self._batches, {}
        return batches

    def _forget(self, symbol: str) -> None:
        del self._states[symbol]
        self.claims[symbol] = None

    def _batch(self, symbol: str) -> CandleBatch:
        batch = self._batches.get(symbol)
        if batch is None:
            batch = self._batches[symbol] = CandleBatch()
        return batch

    def _update(self, candle: Candle) -> None:
        state = self._states[candle.symbol]
        minute_us = candle.timestamp_us
        if self._closed_flag:
            if candle.closed:
                state.in_progress.pop(minute_us, None)
                self._check_contiguous(state, candle)
                self._release(candle.symbol, state, candle)
            elif minute_us not in state.closed:
                state.in_progress[minute_us] = candle
            return
        state.in_progress[minute_us] = candle
        newest_us = max(state.in_progress)
        for begun_us in sorted(state.in_progress):
            if begun_us < newest_us:
                self._release(candle.symbol, state, state.in_progress.pop(begun_us))

    def _release(self, symbol: str, state: _SymbolState, candle: Candle) -> None:
        start_us = candle.timestamp_us
        batch = self._batch(symbol)
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
        state.closed.add(start_us)

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
        proved = self._frontier.advance(event.connection, event.timestamp_us - self._grace_us)
        for symbol, start_us, end_us in proved:
            state = self._states[symbol]
            for minute_us in range(start_us, end_us, MINUTE_US):
                if minute_us in state.closed:
                    continue
                candle = state.in_progress.pop(minute_us, None)
                if candle is None:
                    self._batch(symbol).covered.append((minute_us, minute_us + MINUTE_US))
                elif self._closed_flag:
                    self.never_closed += 1
                else:
                    self._release(symbol, state, candle)
            horizon_us = floor_minute_us(end_us)
            state.closed = {minute_us for minute_us in state.closed if minute_us >= horizon_us}
            state.in_progress = {us: one for us, one in state.in_progress.items() if us >= horizon_us}
            self.claims[symbol] = end_us
