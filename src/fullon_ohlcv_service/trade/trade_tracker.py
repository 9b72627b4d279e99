"""From the events of a venue's trade stream to what may be stored (pure: no I/O, no clock).

Trades are stored as they come; coverage follows the watermarks, whole minutes at a time, and stops where an id was
skipped: those minutes stay unknown until REST has confirmed them. Ids are followed connection by connection, for two
may deliver the same trades for a while; where one leaves, its last id must meet the first of whichever goes on, even
after a break: what was claimed just before it or since may hold one of the ids that are missing. A lower id that is
traded later than the last one is no repetition: the exchange numbers its trades from the beginning again, nothing
shows whether some are missing there, and the proof ends and begins again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.records import (
    Disconnected,
    Event,
    Interval,
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
    broken_off: Interval | None = None
    """Of one that has left: what live has proved until it last broke off; None where it went on."""


class TradeTracker:
    """The trade streams of one venue."""

    def __init__(self, *, ids_sequential: bool) -> None:
        self._ids_sequential = ids_sequential
        self._frontier = Frontier()
        self._ids: dict[tuple[str, str], _Ids] = {}
        self._left: dict[str, _Ids] = {}
        """By symbol: the ids of a connection that has left, until those of the one that goes on are known."""
        self._batches: dict[str, TradeBatch] = {}
        self.claims: dict[str, int | None] = {}
        """By symbol that changed since it was last cleared: the first minute live will still prove; None = none."""
        self.skipped_ids = 0
        self.id_restarts = 0
        """How often ids began again from a lower number."""

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

    def doubt_again(self, batches: Mapping[str, TradeBatch]) -> None:
        """Keep what `batches`, which could not be stored, hold as suspect; their trades are told again."""
        for symbol, batch in batches.items():
            for interval in batch.suspect:
                self._doubt(symbol, *interval)

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
        by_symbol: dict[str, list[Trade]] = {}
        for trade in event.records:
            by_symbol.setdefault(trade.symbol, []).append(trade)
        for symbol, trades in by_symbol.items():
            # Of a void trade there is nothing to store; its id is followed like any other.
            self._batch(symbol).rows += [
                (one.timestamp_us, one.price, one.volume, one.side, one.order_type, one.trade_id)
                for one in trades
                if one.volume
            ]
            if self._ids_sequential and self._frontier.carries(event.connection, symbol):
                self._follow_ids((event.connection, symbol), trades)

    def _follow_ids(self, key: tuple[str, str], trades: list[Trade]) -> None:
        numbers = [int(trade.trade_id) for trade in trades]
        ids = self._ids.get(key)
        if ids is not None and numbers == list(range(ids.last_id + 1, ids.last_id + 1 + len(numbers))):
            ids.last_id, ids.last_us = numbers[-1], trades[-1].timestamp_us
            return
        for trade, number in zip(trades, numbers, strict=True):
            self._check_id(key, number, trade.timestamp_us)

    def _check_id(self, key: tuple[str, str], trade_id: int, timestamp_us: int) -> None:
        symbol = key[1]
        ids = self._ids.get(key)
        if ids is None:
            self._ids[key] = _Ids(trade_id, timestamp_us, trade_id, timestamp_us)
            self._join(symbol)
            return
        if _begins_again(ids, trade_id, timestamp_us):
            self.id_restarts += 1
            self._doubt_between(symbol, ids.last_us, timestamp_us)
            self._ids[key] = _Ids(trade_id, timestamp_us, trade_id, timestamp_us)
            return
        if trade_id <= ids.last_id:
            return
        if skipped := trade_id - ids.last_id - 1:
            self.skipped_ids += skipped
            self._doubt_between(symbol, ids.last_us, timestamp_us)
        ids.last_id = trade_id
        ids.last_us = timestamp_us

    def _doubt_between(self, symbol: str, before_us: int, after_us: int) -> None:
        """Doubt the minutes in which a trade between two others may have been lost."""
        self._doubt(symbol, floor_minute_us(min(before_us, after_us)), floor_minute_us(after_us) + MINUTE_US)
        self.claims[symbol] = self._frontier.skip_to(symbol, floor_minute_us(after_us) + MINUTE_US)

    def _doubt(self, symbol: str, start_us: int, end_us: int) -> None:
        if start_us < end_us:
            self._batch(symbol).doubt((start_us, end_us))

    def _leave(self, connection: str, left: Left) -> None:
        """Keep what the ids of a connection say for whichever goes on."""
        symbol = left.symbol
        self.claims[symbol] = left.next_us
        if (ids := self._ids.pop((connection, symbol), None)) is not None:
            # An earlier one that nobody has gone on from yet knows of more that may be missing.
            self._left.setdefault(symbol, ids)
        if not left.whole and (before := self._left.get(symbol)) is not None:
            start_us = left.proved[0] if before.broken_off is None else before.broken_off[0]
            before.broken_off = (start_us, left.proved[1])
        self._join(symbol)

    def _join(self, symbol: str) -> None:
        """Compare the ids of the connection that goes on with those of one that has left, once both are known.

        Whoever began later has a predecessor that may still deliver what comes before, and waits.
        """
        eldest = self._frontier.eldest(symbol)
        begun = None if eldest is None else self._ids.get((eldest, symbol))
        if begun is None or (before := self._left.pop(symbol, None)) is None:
            return
        skipped = begun.first_id - before.last_id - 1
        begins_again = _begins_again(before, begun.first_id, begun.first_us)
        if skipped <= 0 and not begins_again:
            return
        self.id_restarts += begins_again
        if before.broken_off is None:
            self.skipped_ids += max(0, skipped)
            self._doubt_between(symbol, before.last_us, begun.first_us)
            return
        # The venue numbered trades while nobody listened. None of them need be lost, but those that are would lie
        # after the last trade before the break, or before the first one after it.
        start_us, broken_us = before.broken_off
        self._doubt(symbol, max(start_us, floor_minute_us(before.last_us)), broken_us)
        end_us = floor_minute_us(begun.first_us) + MINUTE_US
        self._doubt(symbol, self._frontier.first_us(symbol), end_us)
        self.claims[symbol] = self._frontier.skip_to(symbol, end_us)


def _begins_again(ids: _Ids, trade_id: int, timestamp_us: int) -> bool:
    """Tell whether an id is of another sequence than those before it: lower, and of a later trade."""
    if trade_id > ids.last_id:
        return False
    return timestamp_us > ids.last_us or (trade_id < ids.first_id and timestamp_us == ids.last_us)
