"""Faults of connections and subscriptions."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from aiohttp import web

from fullon_simulator.clock import SECOND_US
from fullon_simulator.faults import Fault, Sometimes
from fullon_simulator.faults_dialect import Topic
from fullon_simulator.faults_parameters import choice, number, whole, word
from fullon_simulator.sockets import Connection, Frame


@dataclass(kw_only=True)
class _Cuts(Fault):
    """Whatever ends connections."""

    code: int | None = whole(
        None, "with this close code; null cuts without a word", low=1000, high=4999, optional=True,
        drawn=(None, None, 1001, 1006, 1011, 1013),
    )  # fmt: skip

    def cut(self, connection: Connection) -> None:
        """End a connection."""
        self.done[""] += 1
        if self.code is None:
            connection.abort()
        else:
            connection.close(self.code, "")


@dataclass(kw_only=True)
class Drop(_Cuts):
    """Ends the sockets that are open, all or a share of them, once or again and again."""

    kind = "drop"
    momentary: ClassVar[bool] = True
    share: float = number(1.0, "how likely each of them", low=0.0, high=1.0, drawn=(0.3, 1.0))
    again_s: float = number(0.0, "how long until the next time; 0 is never", low=0.0, high=1e6, drawn=(0.0, 30.0))
    _ended: bool = field(init=False, default=False, repr=False, compare=False)

    def begin(self) -> None:
        """End them now."""
        self._drop(self.now_us())

    def _drop(self, now_us: int) -> None:
        if self._ended:
            return
        for connection in list(self.scene.venue.connections):
            if self.share == 1 or self.scene.random.random() < self.share:
                self.cut(connection)
        if self.again_s:
            self.scene.venue.schedule.at(now_us + int(self.again_s * SECOND_US), self._drop)

    def end(self) -> None:
        """Let the next ones live."""
        self._ended = True


@dataclass(kw_only=True)
class AcceptAndClose(_Cuts):
    """Accepts every new socket and ends it at once."""

    kind = "accept_and_close"

    def opened(self, connection: Connection) -> None:
        """End it."""
        self.cut(connection)


@dataclass(kw_only=True)
class RefuseSockets(Fault):
    """Answers who wants a socket with an HTTP error."""

    kind = "refuse_sockets"
    status: int = whole(503, "the error", low=400, high=599, drawn=(403, 429, 502, 503))
    retry_after_s: int | None = whole(
        None, "what Retry-After says", low=0, high=86_400, optional=True, drawn=(None, None, 5)
    )

    def admit(self, request: web.Request) -> web.StreamResponse:
        """Refuse."""
        self.done[""] += 1
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return web.Response(status=self.status, headers=headers)


@dataclass(kw_only=True)
class Hang(Fault):
    """Leaves every socket open and dead: nothing is read, nothing is sent, pings are not answered."""

    kind = "hang"

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Send nothing."""
        self.done[frame.symbol] += 1
        return ()

    def received(self, connection: Connection, text: str) -> Iterable[str]:
        """Hear nothing."""
        self.done[""] += 1
        return ()

    def beats(self, connection: Connection) -> bool:
        """Keep pings and pongs."""
        return False


@dataclass(kw_only=True)
class CutAtAge(_Cuts):
    """Ends every connection at an age, as Binance does after a day."""

    kind = "cut_at_age"
    age_s: float = number(86_400.0, "the age", low=0.0, high=1e9, drawn=(20.0, 120.0))
    notice_s: float = number(0.0, "how long before the venue says so, where it does", low=0.0, high=1e9)
    _ended: bool = field(init=False, default=False, repr=False, compare=False)

    def begin(self) -> None:
        """Count the age of those that are open."""
        for connection in list(self.scene.venue.connections):
            self.opened(connection)

    def opened(self, connection: Connection) -> None:
        """Count the age of a new one."""
        due_us = connection.opened_us + int(self.age_s * SECOND_US)
        schedule = self.scene.venue.schedule
        if self.notice_s:
            schedule.at(due_us - int(self.notice_s * SECOND_US), partial(self._notify, connection))
        schedule.at(due_us, partial(self._cut, connection))

    def _notify(self, connection: Connection, now_us: int) -> None:
        text = self.scene.dialect.farewell(now_us)
        if text is not None and not self._ended:
            self.send(connection, Frame(text))

    def _cut(self, connection: Connection, now_us: int) -> None:
        if connection in self.scene.venue.connections and not self._ended:
            self.cut(connection)

    def end(self) -> None:
        """Let connections grow old."""
        self._ended = True


@dataclass(kw_only=True)
class _OnSubscriptions(Sometimes):
    """A fault of subscriptions."""

    channel: str | None = choice(
        None, "only this channel", of=(None, "trades", "candles"), drawn=(None, None, "trades", "candles")
    )

    def picked(self, topics: Iterable[Topic]) -> list[Topic]:
        """Return the topics that are struck."""
        return [
            topic for topic in topics if self.channel in (None, topic.channel) and self.strikes(topic.symbol)
        ]  # fmt: skip


@dataclass(kw_only=True)
class IgnoreSubscriptions(_OnSubscriptions):
    """Passes over subscriptions: they are neither acknowledged nor served."""

    kind = "ignore_subscriptions"

    def received(self, connection: Connection, text: str) -> Iterable[str]:
        """Let the venue hear the rest of an order."""
        dialect = self.scene.dialect
        order = dialect.order(text)
        picked = self.picked(order.topics) if order is not None and order.subscribes else []
        if order is None or not picked:
            return (text,)
        self.instead(connection, text, picked)
        rest = [topic for topic in order.topics if topic not in picked]
        return (dialect.only(text, rest),) if rest and not self.all_or_none() else ()

    def all_or_none(self) -> bool:
        """Tell whether the rest of an order goes with the part that is struck."""
        return False

    def instead(self, connection: Connection, text: str, topics: list[Topic]) -> None:
        """Say what is said instead of an acknowledgement."""


@dataclass(kw_only=True)
class RefuseSubscriptions(IgnoreSubscriptions):
    """Refuses subscriptions, as the venue refuses unknown markets."""

    kind = "refuse_subscriptions"

    def all_or_none(self) -> bool:
        """Refuse the whole order where the venue would."""
        return self.scene.dialect.refuses_all

    def instead(self, connection: Connection, text: str, topics: list[Topic]) -> None:
        """Refuse."""
        for refusal in self.scene.dialect.refusals(text, topics, self.now_us()):
            self.send(connection, Frame(refusal))


@dataclass(kw_only=True)
class NeverAcknowledge(_OnSubscriptions):
    """Serves subscriptions without acknowledging them."""

    kind = "never_acknowledge"
    _ordered: tuple[Topic, ...] = field(init=False, default=(), repr=False, compare=False)

    def received(self, connection: Connection, text: str) -> Iterable[str]:
        """Note what is asked for: an acknowledgement need not say it."""
        order = self.scene.dialect.order(text)
        self._ordered = order.topics if order is not None else ()
        return (text,)

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Keep acknowledgements."""
        if not self.scene.dialect.acknowledges(frame):
            return (frame,)
        meant = [topic for topic in self._ordered if frame.symbol in ("", topic.symbol)]
        return () if self.picked(meant[:1] if frame.symbol else meant) else (frame,)


@dataclass(kw_only=True)
class LoseSubscription(Fault):
    """Silently loses one subscription of every connection."""

    kind = "lose_subscription"
    momentary: ClassVar[bool] = True
    symbol: str | None = word(None, "of this market; else of any")
    channel: str | None = choice(
        None, "only this channel", of=(None, "trades", "candles"), drawn=(None, "trades", "candles")
    )
    _muted: Connection | None = field(init=False, default=None, repr=False, compare=False)

    def begin(self) -> None:
        """Unsubscribe in the clients' name, and keep the answers."""
        for connection in list(self.scene.venue.connections):
            topics = [topic for topic in self.scene.subscriptions.of(connection) if self._meant(topic)]
            if topics:
                self._lose(connection, self.scene.random.choice(topics))

    def _meant(self, topic: Topic) -> bool:
        return self.symbol in (None, topic.symbol) and self.channel in (None, topic.channel)

    def _lose(self, connection: Connection, topic: Topic) -> None:
        with self._mute(connection):
            self.scene.venue.received(connection, self.scene.dialect.unsubscription(topic), self.now_us())
        self.done[topic.symbol] += 1

    @contextmanager
    def _mute(self, connection: Connection) -> Iterator[None]:
        self._muted = connection
        try:
            yield
        finally:
            self._muted = None

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Keep the answers to what the client did not ask."""
        if connection is self._muted and not self.scene.dialect.channel(frame):
            return ()
        return (frame,)
