"""Faults of a venue as a whole, and of its markets: those that are facts change the truth too."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from fullon_simulator.clock import SECOND_US
from fullon_simulator.faults import Fault, rewritten
from fullon_simulator.faults_dialect import Dialect
from fullon_simulator.faults_message import UNREADABLE
from fullon_simulator.faults_parameters import choice, number, whole, word
from fullon_simulator.sockets import Connection, Frame


@dataclass(kw_only=True)
class Down(Fault):
    """Takes the venue off the network: connections are cut and refused; its markets trade on."""

    kind = "down"
    deafens: ClassVar[bool] = True

    def begin(self) -> None:
        """Close the port."""
        self.scene.venue.go_down()
        self.done[""] += 1

    def end(self) -> None:
        """Let the port be opened."""
        self.scene.venue.come_back()


@dataclass(kw_only=True)
class Skew(Fault):
    """Sets the venue's clock wrong; what it publishes comes by that clock."""

    kind = "skew"
    seconds: float = number(5.0, "how far it is fast; negative is slow", low=-1e6, high=1e6, drawn=(-10.0, 10.0))

    def begin(self) -> None:
        """Set it."""
        self.scene.clock.skew_us += int(self.seconds * SECOND_US)
        self.done[""] += 1

    def end(self) -> None:
        """Set it right; a fast clock stands still until then."""
        self.scene.clock.skew_us -= int(self.seconds * SECOND_US)


@dataclass(kw_only=True)
class ClockAhead(Fault):
    """Lets the clock of the venue's clients be fast: its own stands still for so long, and is behind until the end."""

    kind = "clock_ahead"
    seconds: float = number(300.0, "how far the clients' clock is fast", low=0.001, high=1e6, drawn=(5.0, 60.0))

    def begin(self) -> None:
        """Let the clients' clock go ahead."""
        self.scene.clock.skew_us -= int(self.seconds * SECOND_US)
        self.done[""] += 1

    def end(self) -> None:
        """Let them agree again."""
        self.scene.clock.skew_us += int(self.seconds * SECOND_US)


@dataclass(kw_only=True)
class _StopsTrading(Fault):
    """A fact: nothing is traded while it lasts."""

    state: ClassVar[str] = ""
    _pauses: dict[str, int] = field(init=False, default_factory=dict, repr=False, compare=False)
    _ends: dict[str, int] = field(init=False, default_factory=dict, repr=False, compare=False)

    def pause(self, symbols: Iterable[str]) -> None:
        """Let some markets stand still from now on."""
        for symbol in symbols:
            # By the venue's clock: it may have published what by the market's is still to come.
            self._pauses[symbol] = self.scene.venue.tapes[symbol].pause(self.now_us())
            self.done[symbol] += 1

    def finish(self, symbols: Iterable[str], *, unlisted: bool) -> None:
        """End some markets now."""
        self.pause(symbols)
        for symbol in self._pauses:
            self._ends[symbol] = self.scene.venue.tapes[symbol].end(self.now_us(), unlisted=unlisted)

    def end(self) -> None:
        """Let them trade again."""
        tapes = self.scene.venue.tapes
        for symbol, ended in self._ends.items():
            tapes[symbol].relist(ended)
        for symbol, paused in self._pauses.items():
            tapes[symbol].resume(paused, self.now_us())
            self.scene.venue.reconsider(symbol)

    def marks(self) -> Iterable[str]:
        """Return the markets that are listed in another state."""
        return self._pauses

    def listed_as(self) -> str:
        """Return that state."""
        return self.state

    async def marked(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Return a list of markets with theirs marked."""

        def mark(text: str) -> str:
            for symbol in self.marks():
                text = self.scene.dialect.mark(text, symbol, self.listed_as())
            return text

        return await _relisted(self.scene.dialect, request, response, mark)


@dataclass(kw_only=True)
class Halt(_StopsTrading):
    """Halts a market, or all: nothing is traded, and its venue says so where it can."""

    kind = "halt"
    state: ClassVar[str] = "halted"
    symbol: str | None = word(None, "only this market")

    def begin(self) -> None:
        """Halt."""
        self.pause(self.scene.venue.tapes if self.symbol is None else [self.symbol])

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Mark it in the list of markets."""
        return await self.marked(request, response)


@dataclass(kw_only=True)
class Maintenance(_StopsTrading):
    """Takes the venue down for maintenance, or lets all markets trade again, still listed as restricted."""

    kind = "maintenance"
    phase: str = choice(
        "closed", "closed: nothing is traded; limited: all is, and listed as limited", of=("closed", "limited")
    )

    def begin(self) -> None:
        """Close every socket, and halt all markets unless they are traded again."""
        if self.phase == "closed":
            self.pause(self.scene.venue.tapes)
        else:
            self.done[""] += 1
        for connection in list(self.scene.venue.connections):
            connection.close(1012, "maintenance")

    def marks(self) -> Iterable[str]:
        """Return all markets."""
        return self.scene.venue.tapes

    def listed_as(self) -> str:
        """Return the state of the phase."""
        return "maintenance" if self.phase == "closed" else "limited"

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Mark them in the list of markets."""
        return await self.marked(request, response)


@dataclass(kw_only=True)
class Delist(_StopsTrading):
    """Ends a market: nothing is traded or streamed, and its venue forgets it or marks it."""

    kind = "delist"
    state: ClassVar[str] = "delisted"
    symbol: str | None = word(None, "which; else one of them")
    listed: str | None = choice(
        None, "whether it stays listed, marked; else as the venue does it", of=(None, "yes", "no")
    )

    def begin(self) -> None:
        """End it."""
        tapes = self.scene.venue.tapes
        there = [symbol for symbol, tape in tapes.items() if tape.ended_at_us is None]
        if self.symbol is None and not there:
            return
        forgotten = self.scene.dialect.forgets_delisted if self.listed is None else self.listed == "no"
        self.finish([self.symbol or self.scene.random.choice(there)], unlisted=forgotten)

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Stream nothing of it, empty candles neither."""
        gone = frame.symbol in self._pauses and self.scene.dialect.channel(frame)
        return () if gone else (frame,)

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Mark it in the list of markets, if it is still there."""
        return await self.marked(request, response)


@dataclass(kw_only=True)
class _Relists(Fault):
    """Lists a market in another way; it trades on."""

    symbol: str | None = word(None, "which; else one of them")
    _chosen: str = field(init=False, default="", repr=False, compare=False)

    def begin(self) -> None:
        """Choose it."""
        self._chosen = self.symbol or self.scene.random.choice(list(self.scene.venue.tapes))
        self.done[self._chosen] += 1

    def how(self) -> str:
        """Return how it is listed; see `Dialect.relist`."""
        raise NotImplementedError

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Change the list of markets."""
        dialect = self.scene.dialect
        return await _relisted(dialect, request, response, lambda text: dialect.relist(text, self._chosen, self.how()))


@dataclass(kw_only=True)
class MalformedListing(_Relists):
    """Lists a market with null where its name should be."""

    kind = "malformed_listing"

    def how(self) -> str:
        """Return that."""
        return "malformed"


@dataclass(kw_only=True)
class RenamedMarket(_Relists):
    """Lists a market under another name; its id stays where the venue has one, and what it streams and serves."""

    kind = "renamed_market"

    def how(self) -> str:
        """Return that."""
        return "renamed"


@dataclass(kw_only=True)
class DuplicateName(_Relists):
    """Lists another market with the name of one, which is unknown wherever it is asked for."""

    kind = "duplicate_name"
    place: str = choice("before", "where the other stands", of=("before", "after", "instead"))

    def how(self) -> str:
        """Return where."""
        return self.place


async def _relisted(
    dialect: Dialect, request: web.Request, response: web.StreamResponse, change: Callable[[str], str]
) -> web.StreamResponse:
    """Return a list of markets changed; one that another fault has spoiled, and any other answer, as it is."""
    if not isinstance(response, web.Response) or not response.text:
        return response
    if (await dialect.about(request)).channel != "listings":
        return response
    try:
        return rewritten(response, change(response.text))
    except UNREADABLE:
        return response


@dataclass(kw_only=True)
class Close(_StopsTrading):
    """Closes the venue for good: nothing is traded, every socket is closed, every request refused."""

    kind = "close"
    status: int = whole(410, "the HTTP status of every answer", low=400, high=599, drawn=(403, 404, 410, 503))

    def begin(self) -> None:
        """Close it."""
        self.finish(self.scene.venue.tapes, unlisted=False)
        for connection in list(self.scene.venue.connections):
            connection.close(1001, "closed")

    def admit(self, request: web.Request) -> web.StreamResponse:
        """Refuse."""
        return self._closed()

    async def asked(self, request: web.Request) -> web.StreamResponse:
        """Refuse."""
        return self._closed()

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Say nothing more."""
        return ()

    def _closed(self) -> web.Response:
        self.done[""] += 1
        return web.Response(status=self.status, text=f"{self.scene.venue.name} is closed.")
