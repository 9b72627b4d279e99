"""From the events of a venue's trade stream to what may be stored (pure: no I/O, no clock).

Trades are stored as they come; coverage follows the watermarks, whole minutes at a time, and stops where an id was
skipped: those minutes stay unknown until REST has confirmed them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.records import (
    Disconnected,
    Event,
    Subscribed,
    Trade,
    Trades,
    Unsubscribed,
    Watermark,
)
from fullon_ohlcv.records import TradeRow
from fullon_ohlcv_service.frontier import Frontier, SeriesBatch

TradeBatch = SeriesBatch[TradeRow]


@dataclass(slots=True)
class _LastTrade:
    trade_id: int
    timestamp_us: int


class TradeTracker:
    """The trade streams of one venue."""

    def __init__(self, *, ids_sequential: bool) -> None:
        self._ids_sequential = ids_sequential
        self._frontier = Frontier()
        self._last: dict[tuple[str, str], _LastTrade] = {}
        self._batches: dict[str, TradeBatch] = {}
        self.claims: dict[str, int | None] = {}
        """By symbol that changed since it was last cleared: the first minute live will still prove; None = none."""
        self.skipped_ids = 0

    def feed(self, events: Iterable[Event]) -> None:
        """Take events in stream order."""
        for event in events:
            match event:
                case Trades():
                    self._trades(event)
                case Watermark():
                    for symbol, start_us, end_us in self._frontier.advance(event.connection, event.timestamp_us):
                        self._batch(symbol).covered.append((start_us, end_us))
                        self.claims[symbol] = end_us
                case Subscribed():
                    first_us = self._frontier.subscribe(event.connection, event.symbol, event.timestamp_us)
                    self.claims[event.symbol] = first_us
                case Unsubscribed():
                    if self._frontier.unsubscribe(event.symbol):
                        self._last.pop((event.connection, event.symbol), None)
                        self.claims[event.symbol] = None
                case Disconnected():
                    self.disconnect(event.connection)
                case _:
                    pass

    def feed_trades(self, events: Iterable[Event]) -> None:
        """Take the trades alone: of connections whose promises are not ours to keep."""
        for event in events:
            if isinstance(event, Trades):
                self._trades(event)

    def disconnect(self, connection: str) -> None:
        """End the runs of `connection`."""
        for symbol in self._frontier.disconnect(connection):
            self._last.pop((connection, symbol), None)
            self.claims[symbol] = None

    def disconnect_all(self) -> None:
        """End every run: the stream has broken on our side."""
        for connection in self._frontier.connections():
            self.disconnect(connection)

    def take(self) -> dict[str, TradeBatch]:
        """Return what is to be stored by symbol and begin anew."""
        batches, self._batches = self._batches, {}
        return batches

    @property
    def pending(self) -> int:
        """Number of trades waiting to be taken."""
        return sum(len(batch.rows) for batch in self._batches.values())

    def _batch(self, symbol: str) -> TradeBatch:
        batch = self._batches.get(symbol)
        if batch is None:
            batch = self._batches[symbol] = TradeBatch()
        return batch

    def _trades(self, event: Trades) -> None:
        for trade in event.records:
            self._batch(trade.symbol).rows.append(
                (
                    trade.timestamp_us,
                    trade.price,
                    trade.volume,
                    trade.side,
                    trade.order_type,
                    trade.trade_id,
                )
            )
            if self._ids_sequential:
                self._check_id(event.connection, trade)

    def _check_id(self, connection: str, trade: Trade) -> None:
        next_us = self._frontier.next_us(connection, trade.symbol)
        if next_us is None:
            return
        trade_id = int(trade.trade_id)
        key = (connection, trade.symbol)
        last = self._last.get(key)
        if last is None:
            self._last[key] = _LastTrade(trade_id, trade.timestamp_us)
            return
        if trade_id <= last.trade_id:
            return
        if trade_id != last.trade_id + 1:
            self.skipped_ids += trade_id - last.trade_id - 1
            start_us = floor_minute_us(min(last.timestamp_us, trade.timestamp_us))
            end_us = floor_minute_us(trade.timestamp_us) + MINUTE_US
            self._batch(trade.symbol).doubt((start_us, end_us))
            self._frontier.skip_to(connection, trade.symbol, end_us)
            self.claims[trade.symbol] = max(next_us, end_us)
        last.trade_id = trade_id
        last.timestamp_us = trade.timestamp_us
