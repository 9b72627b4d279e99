"""What the frames of one connection mean: messages of the wire to events, in order; no I/O.

All frames that one read of the socket brought carry the same `received_at_us`, and neighbours of one kind become
one event: an event for each frame would cost more than reading it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fullon_exchange.clock import Clock
from fullon_exchange.exchange_clock import ExchangeClock
from fullon_exchange.live.buffer import EventBuffer
from fullon_exchange.live.counters import Faults
from fullon_exchange.live.proof import Proof
from fullon_exchange.live.subscriptions import Subscriptions
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import Candles, Rejected, Subscribed, Tickers, Trades, Unsubscribed, Watermark
from fullon_exchange.venue import SocketLimits
from fullon_exchange.wire import (
    Acknowledged,
    CandlesFrame,
    Farewell,
    Key,
    Message,
    Pong,
    Refused,
    TickersFrame,
    TradesFrame,
    Wire,
)

_FUTURE_MAX_US = 60_000_000
"""A row later than this after the venue's clock is a mistake."""
_PONG_AHEAD_MAX_US = 600_000_000
"""A venue that claims a time so far after ours is not believed: watermarks would run ahead."""

_EVENTS: dict[type, type[Trades] | type[Candles] | type[Tickers]] = {
    TradesFrame: Trades,
    CandlesFrame: Candles,
    TickersFrame: Tickers,
}


@dataclass(frozen=True)
class Surroundings:
    """What the connections of a session share."""

    exchange: str
    url: str
    clock: Clock
    limits: SocketLimits
    server_time: ServerTime
    buffer: EventBuffer
    faults: Faults
    age_s: float | None = None
    """How old a connection may grow before it is replaced, in the venue's seconds; None where it may live for ever."""


class Intake:
    """The receiving half of one connection."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        *,
        wanted: dict[Key, str],
        names: dict[Key, str],
        subscriptions: Subscriptions,
        proof: Proof,
        around: Surroundings,
        changed: Callable[[], None],
        farewell: Callable[[str], None],
    ) -> None:
        self.read_us = 0
        """When the read being processed began, on our clock; 0 between reads."""
        self.frame_at = 0.0
        """When anything last arrived, in real seconds."""
        self.data_seen = False
        self.subscribed_us = 0
        """From when on everything that has been acknowledged is carried, on the venue's clock."""
        self.lagging_since: float | None = None
        self._name = name
        self._parse = wire.parse
        self._wire = wire
        self._wanted = wanted
        self._names = names
        self._subscriptions = subscriptions
        self._proof = proof
        self._around = around
        self._buffer = around.buffer
        self._changed = changed
        self._farewell = farewell
        self._latest_us = 0
        self._kind: type[Trades] | type[Candles] | type[Tickers] = Trades
        self._records: list[Any] = []
        self._lag_max_us = round((around.limits.lag_max_s + around.clock.speed) * 1_000_000)

    def begin_read(self) -> None:
        """Note that the socket has given something."""
        self.read_us = self._around.clock.now_us()
        self.frame_at = time.monotonic()
        self._latest_us = self._around.server_time.latest_us(self.read_us) + _FUTURE_MAX_US

    def end_read(self) -> None:
        """Hand on what the read has brought."""
        if self._records:
            self._flush()
        self.read_us = 0

    def take_text(self, text: bytes) -> None:
        """Take one text frame.

        Raises:
            MalformedMessage: nothing in it can be read.
        """
        message = self._parse(text, self._latest_us)
        if type(message) is TradesFrame and self._kind is Trades and not message.faults and not message.snapshot:
            self._records += message.records
        else:
            self.take_message(message)

    def take_message(self, message: Message) -> None:
        """Take what a frame says."""
        if isinstance(message, (TradesFrame, CandlesFrame, TickersFrame)):
            for fault in message.faults:
                self._around.faults.count(fault.kind, fault.excerpt)
            kind = _EVENTS[type(message)]
            snapshot = isinstance(message, TradesFrame) and message.snapshot
            if self._records and (snapshot or kind is not self._kind):
                self._flush()
            if snapshot:
                self._hand_on_snapshot(message.records)
                return
            self._kind = kind
            self._records += message.records
            return
        if self._records:
            self._flush()
        if isinstance(message, Pong):
            self._take_pong(message)
        elif isinstance(message, Acknowledged):
            self._take_acknowledgement(message)
        elif isinstance(message, Refused):
            self._take_refusal(message)
        elif isinstance(message, Farewell):
            self._farewell(message.reason)

    def leave(self, key: Key) -> None:
        """Count `key` as no longer carried."""
        channel, symbol = key
        self._wire.forget(channel, {self._names[key]: symbol})
        self._buffer.put(Unsubscribed(self._name, symbol, channel, self._around.clock.now_us()))

    def _hand_on_snapshot(self, records: list[Any]) -> None:
        """Hand on trades of the past: they tell nothing of how late the feed is, nor that it flows."""
        if records:
            self._buffer.put(Trades(self._name, records, self.read_us))

    def _flush(self) -> None:
        records, self._records = self._records, []
        self.data_seen = True
        if self._kind is Trades:
            self._note_lag(records[0].timestamp_us)
        self._buffer.put(self._kind(self._name, records, self.read_us))

    def _note_lag(self, timestamp_us: int) -> None:
        """Compare a trade's time with the venue's clock: a feed that lags cannot prove the present."""
        lag_us = self._around.server_time.earliest_us(self.read_us) - timestamp_us
        self._proof.observe_lag(lag_us, self.read_us)
        if lag_us <= self._lag_max_us:
            self.lagging_since = None
        elif self.lagging_since is None:
            self.lagging_since = self.frame_at

    def _take_pong(self, pong: Pong) -> None:
        sent_us = self._proof.take_pong(pong.ping_id)
        if sent_us is None:
            return
        server_time = self._around.server_time
        venue_us = pong.timestamp_us
        if venue_us is not None and venue_us > self.read_us + _PONG_AHEAD_MAX_US:
            self._around.faults.count("time", f"pong of {venue_us} at {self.read_us}")
            venue_us = None
        if venue_us is None:
            venue_us = server_time.earliest_us(sent_us)
        else:
            server_time.observe(venue_us, sent_us=sent_us, received_us=self.read_us)
            clock = self._around.clock
            if isinstance(clock, ExchangeClock) and (took_us := clock.now_us() - sent_us) >= 0:
                now_us = clock.steady_us()
                clock.observe(venue_us, sent_us=now_us - took_us, received_us=now_us)
        if self._subscriptions.active:
            watermark_us = self._proof.advance(venue_us)
            if watermark_us is not None:
                self._buffer.put(Watermark(self._name, watermark_us))
                self._changed()

    def _take_acknowledgement(self, message: Acknowledged) -> None:
        for key in message.keys:
            if not self._subscriptions.acknowledge(key, subscribed=message.subscribed):
                continue
            if not message.subscribed:
                self.leave(key)
                continue
            channel, symbol = key
            since_us = message.timestamp_us or self._around.server_time.latest_us(self.read_us)
            self.subscribed_us = max(self.subscribed_us, since_us)
            self._buffer.put(Subscribed(self._name, symbol, channel, since_us))
        self._changed()

    def _take_refusal(self, message: Refused) -> None:
        for key in self._subscriptions.refuse(message.keys, final=message.final, now=time.monotonic()):
            channel, symbol = key
            self._wire.forget(channel, {self._names[key]: symbol})
            self._wanted.pop(key, None)
            self._buffer.put(Rejected(symbol, channel, message.reason))
        self._changed()
