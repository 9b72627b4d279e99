"""What is wrong at the moment: faults begun and healed, each with its number, its end and its counts."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from aiohttp import web

from fullon_simulator.clock import SECOND_US, MarketClock, VenueClock
from fullon_simulator.faults import Fault, Scene
from fullon_simulator.faults_dialect import Subscriptions
from fullon_simulator.faults_dialects import DIALECTS
from fullon_simulator.faults_kinds import make_fault
from fullon_simulator.scenario import FOR_S_MAX, Scenario
from fullon_simulator.schedule import Schedule, tick_s
from fullon_simulator.sockets import Connection, Frame, Outlet
from fullon_simulator.venue import Venue

_PAST_MAX = 10_000


class ActiveOutlet(Outlet):
    """A venue's outlet: everything passes its active faults, oldest first."""

    def __init__(self, subscriptions: Subscriptions, alive: Iterable[Connection]) -> None:
        self.faults: list[Fault] = []
        self._subscriptions = subscriptions
        self._alive = alive

    def admit(self, request: web.Request) -> web.StreamResponse | None:
        """Return the first refusal."""
        for fault in self.faults:
            refusal = fault.admit(request)
            if refusal is not None:
                return refusal
        return None

    def opened(self, connection: Connection) -> None:
        """Tell every fault."""
        self._subscriptions.opened(connection, self._alive)
        for fault in list(self.faults):
            fault.opened(connection)

    def received(self, connection: Connection, text: str) -> Iterable[str]:
        """Return what all faults leave of a client's message."""
        texts = [text]
        for fault in self.faults:
            texts = [each for heard in texts for each in fault.received(connection, heard)]
        for heard in texts:
            self._subscriptions.heard(connection, heard)
        return texts

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Return what all faults leave of a frame."""
        frames = [frame]
        for fault in self.faults:
            frames = [each for sent in frames for each in fault.frames(connection, sent)]
        return frames

    def beats(self, connection: Connection) -> bool:
        """Tell whether every fault lets pings pass."""
        return all(fault.beats(connection) for fault in self.faults)

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Return the first answer, or what all faults make of the question."""
        for fault in list(self.faults):
            asked = await fault.asked(request)
            if not isinstance(asked, web.Request):
                return asked
            request = asked
        return request

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Return what all faults make of an answer."""
        for fault in list(self.faults):
            response = await fault.answer(request, response)
        return response


@dataclass(eq=False)
class Episode:
    """One fault, from its beginning to its end, in every venue it is for."""

    number: int
    kind: str
    arguments: Mapping[str, Any]
    faults: Mapping[str, Fault]
    """By venue."""
    begun_us: int
    ends_us: int | None
    """When it will end or has ended by the market's clock; None until it is healed."""
    active: bool = True

    @property
    def done(self) -> Counter[str]:
        """How often it has struck, by symbol, in all its venues together."""
        return sum((fault.done for fault in self.faults.values()), Counter())

    @property
    def struck(self) -> int:
        """How often it has struck in all."""
        return self.done.total()

    def record(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "number": self.number,
            "kind": self.kind,
            "venues": list(self.faults),
            "arguments": dict(self.arguments),
            "begun_us": self.begun_us,
            "ends_us": self.ends_us,
            "active": self.active,
            "struck": self.struck,
            "done": dict(self.done),
        }


class Faults:
    """All faults of a market. Times are seconds of its clock; the same seed and calls draw the same chances."""

    def __init__(
        self, venues: Mapping[str, Venue], clocks: Mapping[str, VenueClock], clock: MarketClock, seed: int
    ) -> None:
        self.venues = venues
        self.clock = clock
        self.seed = seed
        self.past: deque[Episode] = deque(maxlen=_PAST_MAX)
        """What has ended, oldest first."""
        self._active: dict[int, Episode] = {}
        self._numbers = 0
        self._schedule = Schedule()
        self._waiting = 0
        self._outlets: dict[str, ActiveOutlet] = {}
        self._scenes: dict[str, Scene] = {}
        for name, venue in venues.items():
            dialect = DIALECTS[name]([tape.spec for tape in venue.tapes.values()])
            subscriptions = Subscriptions(dialect)
            venue.outlet = self._outlets[name] = ActiveOutlet(subscriptions, venue.connections)
            self._scenes[name] = Scene(venue, clocks[name], dialect, subscriptions, Random(seed))  # noqa: S311

    @property
    def active(self) -> list[Episode]:
        """What is wrong now, oldest first."""
        return list(self._active.values())

    @property
    def idle(self) -> bool:
        """True where nothing is wrong and nothing is to come."""
        return not self._active and not self._waiting

    def begin(
        self, fault: Fault | str, *, venue: str | None = None, for_s: float | None = None, **arguments: Any
    ) -> Episode:
        """Begin a fault in one venue or, without a name, in all, for so many seconds or until it is healed.

        `fault` is one with its parameters, or a kind whose parameters follow. What is over at once (`drop`,
        `lose_subscription`) ends at once, unless it is given a time.

        Raises:
            ValueError: an unknown venue, symbol, kind or parameter, or a value that is not allowed.
        """
        made = make_fault(fault, arguments) if isinstance(fault, str) else fault
        if for_s is not None and not 0 < for_s <= FOR_S_MAX:
            raise ValueError(f"for_s is {for_s}; allowed is more than 0 and at most {FOR_S_MAX:g}")
        return self._begin(made, self._venues_for(made, venue), for_s, f"{self.seed}|{self._numbers + 1}")

    def _begin(self, fault: Fault, names: Iterable[str], for_s: float | None, seed: str) -> Episode:
        self._numbers += 1
        now_us = self.clock.now_us()
        ends_us = None if for_s is None else now_us + int(for_s * SECOND_US)
        placed = {
            name: fault.placed(replace(self._scenes[name], random=Random(f"{seed}|{name}")))  # noqa: S311 - no secret
            for name in names
        }
        episode = Episode(self._numbers, fault.kind, fault.arguments(), placed, now_us, ends_us)
        self._active[episode.number] = episode
        for name, each in placed.items():
            self._outlets[name].faults.append(each)
            each.begin()
        if ends_us is not None:
            self._schedule.at(ends_us, lambda _: self._end(episode))
        elif fault.momentary:
            self._end(episode)
        return episode

    def _end(self, episode: Episode) -> None:
        if self._active.pop(episode.number, None) is None:
            return
        for name, each in episode.faults.items():
            # Out of the way first, so that what it holds back passes the others only.
            faults = self._outlets[name].faults
            faults[:] = [other for other in faults if other is not each]
            each.end()
        episode.active = False
        episode.ends_us = self.clock.now_us()
        self.past.append(episode)

    def _venues_for(self, fault: Fault, venue: str | None) -> list[str]:
        """Return the venues a fault is for: the one named, or all that have its market."""
        if venue is not None and venue not in self.venues:
            raise ValueError(f"venue is {venue!r}; this market has {', '.join(self.venues)}")
        names = list(self.venues) if venue is None else [venue]
        symbol = fault.arguments().get("symbol")
        having = [name for name in names if symbol is None or symbol in self.venues[name].tapes]
        if not having:
            raise ValueError(f"symbol is {symbol!r}; {' and '.join(names)} do not have it")
        return having

    def heal(self, episode: Episode | int | None = None) -> None:
        """End a fault, or all of them and what a scenario has still in store; one that is over is left alone.

        Raises:
            ValueError: no fault has this number.
        """
        if isinstance(episode, int):
            if not 1 <= episode <= self._numbers:
                raise ValueError(f"fault {episode} was never begun; the last one is {self._numbers}")
            episode = self._active.get(episode)
            if episode is None:
                return
        if episode is not None:
            self._end(episode)
            return
        self._schedule, self._waiting = Schedule(), 0
        for each in self.active:
            self._end(each)

    def draw(self, seed: int, *, length_s: float, every_s: float = 20.0, **more: Any) -> Scenario:
        """Draw a scenario for this market's venues and symbols; `more` is what `Scenario.draw` takes besides."""
        symbols = {name: list(venue.tapes) for name, venue in self.venues.items()}
        return Scenario.draw(seed, symbols, length_s=length_s, every_s=every_s, **more)

    def play(self, scenario: Scenario) -> None:
        """Let a scenario happen, beginning now; `idle` tells when it is over.

        Raises:
            ValueError: a step names what this market has not.
        """
        places = [self._venues_for(step.fault, step.venue) for step in scenario.steps]
        now_us = self.clock.now_us()
        for index, (step, names) in enumerate(zip(scenario.steps, places, strict=True)):
            begin = partial(self._begin, step.fault, names, step.for_s, f"{scenario.seed}|step {index}")
            self._waiting += 1
            self._schedule.at(now_us + int(step.at_s * SECOND_US), partial(self._take, begin))

    def _take(self, begin: Callable[[], Episode], now_us: int) -> None:
        self._waiting -= 1
        begin()

    async def run(self, stopping: asyncio.Event) -> None:
        """Begin and end faults at their times until `stopping` is set."""
        while not stopping.is_set():
            self._schedule.run(self.clock.now_us())
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), tick_s(self.clock))
