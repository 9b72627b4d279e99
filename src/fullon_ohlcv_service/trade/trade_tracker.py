"""From the events of a venue's trade stream to what may be stored (pure: no I/O, no clock).

Trades are stored as they come; coverage follows the watermarks, whole minutes at a time, and stops where an id was
skipped: those minutes stay unknown until REST has confirmed them. Ids are followed connection by connection, for two
may deliver the same trades for a while; where one leaves, its last id must meet the first of the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
from fullon_ohlcv_service.frontier import Frontier, Left, SeriesBatch

TradeBatch = SeriesBatch[TradeRow]


@dataclass(slots=True)
class _Ids:
    """The ids that one connection has delivered of one symbol, without a hole."""

    first_id: int
    first_us: int
    last_id: int
    last_us: int


class TradeTracker:
    """The trade streams of one venue."""

    def __init__(self, *, ids_sequential: bool) -> None:
        self._ids_sequential = ids_sequential
        self._frontier = Frontier()
        self._ids: dict[tuple[str, str], _Ids] = {}
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
                    if (left := self._frontier.unsubscribe(event.connection, event.symbol)) is not None:
                        self._leave(event.connection, left)
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
        """End what `connection` carries, and the runs that no other connection goes on with."""
        for left in self._frontier.disconnect(connection):
            self._leave(connection, left)

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
        if not self._frontier.carries(connection, trade.symbol):
            return
        trade_id = int(trade.trade_id)
        key = (connection, trade.symbol)
        ids = self._ids.get(key)
        if ids is None:
            self._ids[key] = _Ids(trade_id, trade.timestamp_us, trade_id, trade.timestamp_us)
            return
        if trade_id <= ids.last_id:
            return
        self._check_next(trade.symbol, ids, trade_id, trade.timestamp_us)
        ids.last_id = trade_id
        ids.last_us = trade.timestamp_us

    def _check_next(self, symbol: str, before: _Ids, next_id: int, next_us: int) -> None:
        """Doubt the minutes in which ids between `before` and the next one may have been lost."""
        skipped = next_id - before.last_id - 1
        if skipped <= 0:
            return
        self.skipped_ids += skipped
        start_us = floor_minute_us(min(before.last_us, next_us))
        end_us = floor_minute_us(next_us) + MINUTE_US
        self._batch(symbol).doubt((start_us, end_us))
        self.claims[symbol] = self._frontier.skip_to(symbol, end_us)

    def _leave(self, connection: str, left: Left) -> None:
        """Let another connection go on where this one has ended."""
        self.claims[left.symbol] = left.next_us
        ids = self._ids.pop((connection, left.symbol), None)
        if ids is None or not left.whole:
            return
        for other in self._frontier.carriers(left.symbol):
            begun = self._ids.get((other, left.symbol))
            if begun is None:
                self._ids[other, left.symbol] = replace(ids)
            else:
                self._check_next(left.symbol, ids, begun.first_id, begun.first_us)
