"""Faults: small outlets that do on the wire what they are named for, while the tape keeps the truth.

A kind of fault is a dataclass of its parameters. `market.faults.begin` puts one into each venue it is for; its hooks
are those of an `Outlet`, and everything passes the active faults of a venue one after the other, oldest first.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Self

from aiohttp import web

from fullon_simulator.clock import VenueClock
from fullon_simulator.faults_dialect import DATA, Dialect, Subscriptions
from fullon_simulator.faults_message import Message
from fullon_simulator.faults_parameters import Parameter, choice, number, parameters_of, whole, word
from fullon_simulator.sockets import Connection, Frame, Outlet
from fullon_simulator.venue import Venue


@dataclass(frozen=True)
class Scene:
    """Where a fault acts."""

    venue: Venue
    clock: VenueClock
    dialect: Dialect
    subscriptions: Subscriptions
    random: Random


@dataclass(kw_only=True)
class Fault(Outlet):
    """What can go wrong; every kind is a subclass that says so in one sentence."""

    kind: ClassVar[str]
    momentary: ClassVar[bool] = False
    """True where it is over as soon as it is done, unless it is given a time."""
    deafens: ClassVar[bool] = False
    """True where nobody can reach the venue while it lasts, be it to end it."""
    done: Counter[str] = field(init=False, default_factory=Counter, repr=False, compare=False)
    """How often it struck, by symbol; what concerns none counts under an empty one."""
    scene: Scene = field(init=False, repr=False, compare=False)
    """Where it acts, once it has begun."""

    def __post_init__(self) -> None:
        """Refuse what is not allowed.

        Raises:
            ValueError: the sentence names the parameter, its value and what is allowed.
        """
        for name, parameter in self.parameters().items():
            value = getattr(self, name)
            if not parameter.check(value):
                raise ValueError(f"{name} of {self.kind} is {value!r}; allowed is {parameter.allowed}")

    @classmethod
    def parameters(cls) -> Mapping[str, Parameter]:
        """Return its parameters by name."""
        return parameters_of(cls)

    @classmethod
    def sentence(cls) -> str:
        """Return what it does, in one sentence."""
        return (cls.__doc__ or "").strip()

    def arguments(self) -> dict[str, Any]:
        """Return the parameters that are not what they are by default."""
        usual = type(self)()
        values = {name: getattr(self, name) for name in self.parameters()}
        return {name: value for name, value in values.items() if value != getattr(usual, name)}

    def placed(self, scene: Scene) -> Self:
        """Return one of the same parameters that acts at `scene`."""
        copied = type(self)(**self.arguments())
        copied.scene = scene
        return copied

    def begin(self) -> None:
        """Do what is done at once."""

    def end(self) -> None:
        """Undo what can be undone, and let go what is held back."""

    def now_us(self) -> int:
        """Return the venue's time."""
        return self.scene.clock.now_us()

    def send(self, connection: Connection, frame: Frame) -> None:
        """Send a frame now, past all faults, if the connection is still there."""
        if connection in self.scene.venue.connections:
            connection.send(frame, self.now_us())


@dataclass(kw_only=True)
class Sometimes(Fault):
    """A fault of one market or all, that need not strike each time."""

    symbol: str | None = word(None, "only this market")
    share: float = number(1.0, "how likely it strikes, each time it can", low=0.0, high=1.0, drawn=(0.05, 1.0))
    times: int | None = whole(
        None, "how often it strikes at most", low=1, high=10**9, drawn=(None, None, 1, 3), optional=True
    )

    def strikes(self, symbol: str = "") -> bool:
        """Tell whether it strikes this time, and count it."""
        if self.symbol not in (None, symbol) or (self.times is not None and self.done.total() >= self.times):
            return False
        # Drawn only where it matters: certain faults leave the sequence of the others alone.
        if self.share < 1 and self.scene.random.random() >= self.share:
            return False
        self.done[symbol] += 1
        return True


@dataclass(kw_only=True)
class OnChannel(Sometimes):
    """A fault of trades, candles or both."""

    channel: str | None = choice(
        None, "only this channel", of=(None, "trades", "candles"), drawn=(None, None, "trades", "candles")
    )


@dataclass(kw_only=True)
class OnFrames(OnChannel):
    """A fault of the frames that carry data."""

    def concerns(self, frame: Frame) -> bool:
        """Tell whether a frame carries data of the channel, and of the market or of several."""
        channel = self.scene.dialect.channel(frame)
        if not (channel == self.channel or (self.channel is None and channel in DATA)):
            return False
        return self.symbol is None or frame.symbol in (self.symbol, "")

    def strikes_frame(self, frame: Frame) -> bool:
        """Tell whether it strikes a frame as a whole, and count it."""
        if not self.concerns(frame):
            return False
        if self.symbol is not None and not frame.symbol:
            message = self.scene.dialect.message(frame)
            if message is None or self.symbol not in map(message.symbol, message.rows):
                return False
        return self.strikes(frame.symbol or self.symbol or "")


@dataclass(kw_only=True)
class OnRows(OnFrames):
    """A fault of single trades and candles."""

    on_streams: ClassVar[bool] = True
    on_rest: ClassVar[bool] = False

    def edit(self, message: Message) -> None:
        """Change the message; `strikes` counts each row that is changed."""
        raise NotImplementedError

    def reaches(self, place: str) -> bool:
        """Tell whether it acts on the `stream` or on `rest`."""
        return self.on_streams if place == "stream" else self.on_rest

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Send a frame with its rows changed, or none where all are gone."""
        message = self.scene.dialect.message(frame) if self.reaches("stream") and self.concerns(frame) else None
        if message is None:
            return (frame,)
        before = self.done.total()
        self.edit(message)
        if self.done.total() == before:
            return (frame,)
        text = message.text() if message.rows else None
        return () if text is None else (frame._replace(text=text),)

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Answer a page with its rows changed."""
        if not self.reaches("rest"):
            return response
        return await edited_page(self, request, response, self.edit)


@dataclass(kw_only=True)
class Anywhere(OnRows):
    """A fault of rows on the streams, over REST, or both."""

    where: str | None = choice("stream", "on the streams, over REST, or both", of=("stream", "rest", "both"))

    def reaches(self, place: str) -> bool:
        """Tell whether it acts on the `stream` or on `rest`."""
        return self.where in (place, "both")


async def edited_page(
    fault: OnChannel, request: web.Request, response: web.StreamResponse, edit: Callable[[Message], None]
) -> web.StreamResponse:
    """Return a page of the fault's market and channel as `edit` leaves it, and any other answer as it is."""
    dialect = fault.scene.dialect
    if not isinstance(response, web.Response) or not response.text:
        return response
    about = await dialect.about(request)
    if about.channel not in ((fault.channel,) if fault.channel else DATA):
        return response
    if fault.symbol not in (None, about.symbol) or (page := dialect.page(request, about, response.text)) is None:
        return response
    edit(page)
    return rewritten(response, page.text() or "")


def rewritten(response: web.Response, text: str) -> web.Response:
    """Return an answer with another text."""
    kept = {name: value for name, value in response.headers.items() if name not in ("Content-Length", "Content-Type")}
    return web.Response(text=text, status=response.status, headers=kept, content_type=response.content_type)
