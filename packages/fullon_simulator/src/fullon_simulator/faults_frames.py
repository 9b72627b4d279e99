"""Faults of whole frames: held back, repeated, out of order, mangled; and frames that nobody expects."""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import ClassVar, TypeVar

from aiohttp import WSMsgType, web

from fullon_simulator.clock import SECOND_US
from fullon_simulator.faults import Anywhere, Fault, OnRows, rewritten
from fullon_simulator.faults_message import Message
from fullon_simulator.faults_parameters import choice, flag, number, whole
from fullon_simulator.sockets import Connection, Frame

Item = TypeVar("Item")


@dataclass(kw_only=True)
class Stall(OnRows):
    """Leaves sockets open and sends no data; heartbeats go on, or not."""

    kind = "stall"
    heartbeats: bool = flag(True, "false: heartbeats, pings and pongs stop too")

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Send everything but data of the market."""
        if not self.heartbeats and self.scene.dialect.is_heartbeat(frame):
            return ()
        if self.symbol is None or frame.symbol:
            return () if self.strikes_frame(frame) else (frame,)
        return super().frames(connection, frame)

    def edit(self, message: Message) -> None:
        """Take out the rows of the market."""
        message.rows[:] = [row for row in message.rows if not self.strikes(message.symbol(row))]

    def beats(self, connection: Connection) -> bool:
        """Keep pings and pongs as well."""
        return self.heartbeats


@dataclass(kw_only=True)
class Late(OnRows):
    """Delivers data late, in order, and if so ever later."""

    kind = "late"
    PENDING_MAX: ClassVar[int] = 100_000
    delay_s: float = number(5.0, "how late, in seconds of the clock", low=0.0, high=86_400.0, drawn=(0.5, 30.0))
    growth: float = number(0.0, "by how many seconds more in each second", low=0.0, high=100.0, drawn=(0.0, 0.5))
    _pending: deque[tuple[int, Connection, Frame]] = field(init=False, default_factory=deque, repr=False, compare=False)
    _begun_us: int = field(init=False, default=0, repr=False, compare=False)

    def begin(self) -> None:
        """Note since when it lasts."""
        self._begun_us = self.now_us()

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Hold a frame back."""
        if not self.strikes_frame(frame):
            return (frame,)
        now_us = self.now_us()
        due_us = now_us + int(self.delay_s * SECOND_US + self.growth * (now_us - self._begun_us))
        self._pending.append((max(due_us, self._pending[-1][0] if self._pending else 0), connection, frame))
        self.scene.venue.schedule.at(due_us, self._deliver)
        if len(self._pending) > self.PENDING_MAX:
            self._send_first()
        return ()

    def _deliver(self, now_us: int) -> None:
        while self._pending and self._pending[0][0] <= now_us:
            self._send_first()

    def _send_first(self) -> None:
        _, connection, frame = self._pending.popleft()
        self.send(connection, frame)

    def end(self) -> None:
        """Deliver what is held."""
        while self._pending:
            self._send_first()


@dataclass(kw_only=True)
class Repeat(Anywhere):
    """Sends data more than once, at once or later."""

    kind = "repeat"
    copies: int = whole(1, "how many more", low=1, high=100, drawn=(1, 1, 2, 5))
    later_s: float = number(0.0, "how much later, on the streams", low=0.0, high=3_600.0, drawn=(0.0, 20.0))

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Send a frame and its copies."""
        if not self.reaches("stream") or not self.strikes_frame(frame):
            return (frame,)
        if not self.later_s:
            return (frame,) * (1 + self.copies)
        due_us = self.now_us() + int(self.later_s * SECOND_US)
        for _ in range(self.copies):
            self.scene.venue.schedule.at(due_us, lambda _: self.send(connection, frame))
        return (frame,)

    def edit(self, message: Message) -> None:
        """Put copies of rows right behind them."""
        message.rows[:] = [
            each for row in message.rows for each in [row] * (1 + self.copies * self.strikes(message.symbol(row)))
        ]


@dataclass(kw_only=True)
class Reorder(Anywhere):
    """Sends data in another order."""

    kind = "reorder"
    window: int = whole(5, "how many frames are mixed", low=2, high=1_000, drawn=(2, 5, 20))
    wait_s: float = number(2.0, "how long the first of them waits at most", low=0.0, high=3_600.0, drawn=(0.5, 10.0))
    _held: dict[Connection, list[Frame]] = field(init=False, default_factory=dict, repr=False, compare=False)

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Hold a frame until there are enough to mix."""
        if not self.reaches("stream") or not self.strikes_frame(frame):
            return (frame,)
        held = self._held.setdefault(connection, [])
        held.append(frame)
        if len(held) == 1:
            due_us = self.now_us() + int(self.wait_s * SECOND_US)
            self.scene.venue.schedule.at(due_us, partial(self._release, connection, held))
        return self._mixed(connection) if len(held) >= self.window else ()

    def _release(self, connection: Connection, held: list[Frame], now_us: int) -> None:
        if self._held.get(connection) is held:
            for frame in self._mixed(connection):
                self.send(connection, frame)

    def _mixed(self, connection: Connection) -> list[Frame]:
        return _shuffled(self._held.pop(connection), self.scene.random)

    def edit(self, message: Message) -> None:
        """Mix the rows of a page."""
        if self.strikes(message.symbol(message.rows[0]) if message.rows else ""):
            message.rows[:] = _shuffled(message.rows, self.scene.random)

    def end(self) -> None:
        """Send what is held."""
        for connection in list(self._held):
            for frame in self._mixed(connection):
                self.send(connection, frame)


def _shuffled(items: list[Item], random: Random) -> list[Item]:
    """Return the items in another order, where there is one."""
    mixed = random.sample(items, len(items))
    return [*items[1:], *items[:1]] if mixed == items else mixed


@dataclass(kw_only=True)
class _Mangled(Anywhere):
    """Text that is no JSON any more."""

    def mangled(self, text: str) -> str:
        """Return what becomes of a text."""
        raise NotImplementedError

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Send a frame mangled."""
        if not self.reaches("stream") or not frame.text or not self.strikes_frame(frame):
            return (frame,)
        return (frame._replace(text=self.mangled(frame.text)),)

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Answer mangled."""
        if not self.reaches("rest") or not isinstance(response, web.Response) or not response.text:
            return response
        about = await self.scene.dialect.about(request)
        if self.channel not in (None, about.channel) or not self.strikes(about.symbol):
            return response
        return rewritten(response, self.mangled(response.text))


@dataclass(kw_only=True)
class Corrupt(_Mangled):
    """Breaks a character that holds the JSON together."""

    kind = "corrupt"
    _TRIES: ClassVar[int] = 20

    def mangled(self, text: str) -> str:
        """Return a text of the same length that is no JSON."""
        places = [at for at, character in enumerate(text) if character in '{}[]":,'] or [0]
        for _ in range(self._TRIES):
            at = self.scene.random.choice(places)
            broken = f"{text[:at]}#{text[at + 1 :]}"
            try:
                json.loads(broken)
            except ValueError:
                return broken
        return f"#{text[1:]}"


@dataclass(kw_only=True)
class Truncate(_Mangled):
    """Ends texts before their end; sometimes before their beginning."""

    kind = "truncate"

    def mangled(self, text: str) -> str:
        """Return the first characters, maybe none."""
        return text[: self.scene.random.randrange(len(text))]


def _garbage(malformed: Iterable[str]) -> dict[str, list[Frame]]:
    texts = {
        "prose": ["Service is being restarted.", "<html><body>502</body></html>"],
        "empty": [""],
        "wrong_type": ["null", "[]", "42", '"text"', "true", "{}", "[[]]"],
        "unknown_channel": ['{"channel":"unheard","type":"update","data":[{"x":1}]}', '{"e":"unheard","s":"XYZ"}'],
        "malformed": list(malformed),
        "deep": ["[" * 2_000 + "]" * 2_000, '{"a":' * 2_000],
        "huge": [json.dumps({"channel": "unheard", "data": "x" * 2**20})],
        "not_utf8": ['{"channel":"\udcff\udcfe"}'],
    }
    frames = {form: [Frame(text) for text in each] for form, each in texts.items()}
    return frames | {"binary": [Frame("\udcff\udc80\udc81", opcode=WSMsgType.BINARY)]}


@dataclass(kw_only=True)
class Garbage(Fault):
    """Sends every client frames that mean nothing."""

    kind = "garbage"
    every_s: float = number(1.0, "how often", low=0.01, high=86_400.0, drawn=(0.5, 20.0))
    form: str | None = choice(
        None,
        "which; else any",
        of=(
            *(None, "prose", "empty", "wrong_type", "unknown_channel", "malformed", "deep", "huge", "not_utf8"),
            "binary",
        ),
    )
    _ended: bool = field(init=False, default=False, repr=False, compare=False)

    def begin(self) -> None:
        """Send the first."""
        self._send(self.now_us())

    def _send(self, now_us: int) -> None:
        if self._ended:
            return
        frames = _garbage(self.scene.dialect.malformed)
        form = self.form or self.scene.random.choice(sorted(frames))
        for connection in list(self.scene.venue.connections):
            self.send(connection, self.scene.random.choice(frames[form]))
            self.done[""] += 1
        self.scene.venue.schedule.at(now_us + int(self.every_s * SECOND_US), self._send)

    def end(self) -> None:
        """Send no more."""
        self._ended = True
