"""The control endpoint: `/_control` on every venue's port, JSON in and out, for faults in the whole market.

    GET    /_control               the clock, what is wrong now, what the venues were asked
    GET    /_control/kinds         every kind of fault, its sentence and its parameters
    GET    /_control/faults        faults active and past, with how often they struck
    POST   /_control/faults        {"kind": "stall", "for_s": 30, "symbol": "BTC/USD", "heartbeats": false} begins one
    DELETE /_control/faults/3      heals number 3; without a number all of them
    POST   /_control/scenario      {"seed": 7, "steps": [{"at_s": 0, "kind": "drop"}, …]} plays a scenario,
                                   {"draw": 7, "length_s": 600, "every_s": 20} one that is drawn from a seed

A fault is begun in the venue whose port it is, in `"venue": "binance"`, or with `"venue": "all"` in every one. What
is wrong with a request is one sentence under `error`, with status 400.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from fullon_simulator.faults_active import Faults
from fullon_simulator.faults_kinds import KINDS, describe_kinds
from fullon_simulator.scenario import Scenario, parse_step
from fullon_simulator.venue import CONTROL_PATH

_BODY_TIMEOUT_S = 10.0


class Control:
    """What one venue's port says about the faults of the market."""

    def __init__(self, faults: Faults, venue: str) -> None:
        self._faults = faults
        self._venue = venue
        self._routes: dict[tuple[str, str], Callable[[str], Any]] = {
            ("GET", ""): self._overview,
            ("GET", "kinds"): lambda _: describe_kinds(),
            ("GET", "faults"): self._list,
            ("POST", "faults"): self._begin,
            ("DELETE", "faults"): self._heal,
            ("POST", "scenario"): self._play,
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        path, _, number = request.path.removeprefix(CONTROL_PATH).strip("/").partition("/")
        route = self._routes.get((request.method, path))
        if route is None or (number and request.method != "DELETE"):
            known = ", ".join(f"{method} {CONTROL_PATH}/{name}".rstrip("/") for method, name in self._routes)
            return _refused(f"{request.method} {request.path} is not known; there are {known}", 404)
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            text = await request.text()
        try:
            return web.json_response(route(number or text))
        except ValueError as error:
            return _refused(str(error), 400)

    def _overview(self, text: str) -> dict[str, Any]:
        venues = {
            name: {
                "sockets_open": len(venue.connections),
                "sockets": venue.counters.sockets,
                "subscriptions": venue.counters.subscriptions,
                "frames": venue.counters.frames,
                "refused": venue.counters.refused,
                "paths": dict(venue.counters.paths),
                "ended": {symbol: tape.ended_at_us for symbol, tape in venue.tapes.items() if tape.ended_at_us},
                "pauses": {symbol: tape.pauses for symbol, tape in venue.tapes.items() if tape.pauses},
            }
            for name, venue in self._faults.venues.items()
        }
        now_us, idle = self._faults.clock.now_us(), self._faults.idle
        return {"now_us": now_us, "seed": self._faults.seed, "idle": idle, "venues": venues} | self._list(text)

    def _list(self, text: str) -> dict[str, Any]:
        return {
            "active": [episode.record() for episode in self._faults.active],
            "past": [episode.record() for episode in self._faults.past],
        }

    def _begin(self, text: str) -> dict[str, Any]:
        body = _object(text)
        body.setdefault("venue", self._venue)
        if body["venue"] == "all":
            del body["venue"]
        step = parse_step(body)
        if step.at_s:
            raise ValueError("a fault begins at once; what begins later is a step of a scenario")
        if KINDS[step.fault.kind].deafens and step.for_s is None:
            raise ValueError(f"{step.fault.kind} needs for_s here: over its own port it could not be healed")
        return self._faults.begin(step.fault, venue=step.venue, for_s=step.for_s).record()

    def _heal(self, number: str) -> dict[str, Any]:
        if number and not number.isdecimal():
            raise ValueError(f"fault is {number!r}; allowed is its number, or nothing for all")
        self._faults.heal(int(number) if number else None)
        return self._list("")

    def _play(self, text: str) -> dict[str, Any]:
        match _object(text):
            case {"draw": int(seed), "length_s": int() | float() as length_s, **rest} if rest.keys() <= {"every_s"}:
                every_s = rest.get("every_s", 20.0)
                if type(every_s) not in (int, float):
                    raise ValueError(f"every_s is {every_s!r}; allowed is a number")
                scenario = self._faults.draw(seed, length_s=length_s, every_s=every_s)
            case {"draw": _}:
                raise ValueError('a scenario is drawn with {"draw": 7, "length_s": 600, "every_s": 20}')
            case _:
                scenario = Scenario.parse(text)
        self._faults.play(scenario)
        return scenario.record()


def _object(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the body must be a JSON object: {error}") from error
    match body:
        case dict():
            return body
        case _:
            raise ValueError('the body must be a JSON object, for instance {"kind": "drop"}')


def _refused(error: str, status: int) -> web.Response:
    return web.json_response({"error": error}, status=status)
