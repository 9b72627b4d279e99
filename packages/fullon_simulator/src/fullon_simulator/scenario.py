"""Scenarios: which faults begin when and for how long, written down or drawn at random from a seed."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Self

from fullon_simulator.faults import Fault
from fullon_simulator.faults_kinds import KINDS, make_fault

FOR_S_MAX = 1e9
_STEPS_MAX = 100_000
_ALL_VENUES_SHARE = 0.1
_ONE_SYMBOL_SHARE = 0.5


@dataclass(frozen=True)
class Step:
    """One fault of a scenario; times are seconds of the market's clock, `at_s` since the beginning."""

    at_s: float
    fault: Fault
    venue: str | None = None
    """None: in every venue."""
    for_s: float | None = None
    """None: until it is healed."""

    def record(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        place: dict[str, Any] = {"at_s": self.at_s, "kind": self.fault.kind, "venue": self.venue, "for_s": self.for_s}
        return {name: value for name, value in place.items() if value is not None} | self.fault.arguments()


@dataclass(frozen=True)
class Scenario:
    """Steps in the order of their times. The seed decides every chance that they leave open."""

    steps: tuple[Step, ...]
    seed: int = 7

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `{"seed": 7, "steps": [{"at_s": 0, "kind": "stall", "venue": "kraken", "for_s": 30, …}, …]}`.

        What a step has besides `at_s`, `kind`, `venue` and `for_s` are the parameters of its kind.

        Raises:
            ValueError: the sentence names the step and what is wrong with it.
        """
        try:
            body = json.loads(text)
        except ValueError as error:
            raise ValueError(f"a scenario is JSON, and this is not: {error}") from error
        match body:
            case {"seed": int(seed), "steps": list(records)}:
                pass
            case _:
                raise ValueError('a scenario is {"seed": 7, "steps": [{"at_s": 0, "kind": "drop"}, …]}')
        steps: list[Step] = []
        for index, step in enumerate(records):
            try:
                steps.append(parse_step(step))
            except ValueError as error:
                raise ValueError(f"step {index}: {error}") from error
        return cls(tuple(sorted(steps, key=lambda step: step.at_s)), seed)

    @classmethod
    def draw(
        cls,
        seed: int,
        venues: Mapping[str, Sequence[str]],
        *,
        length_s: float,
        every_s: float = 20.0,
        for_s: tuple[float, float] = (2.0, 60.0),
        kinds: Collection[str] = tuple(KINDS),
        fixed: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """Draw faults from a seed: about one in `every_s`, each lasting as long as `for_s` says, several at once.

        Every kind comes once before any comes twice. `venues` says which symbols each venue has. `fixed` holds
        parameters that are not left to chance, by kind: `{"omit": {"where": "stream"}}` never lies over REST. The
        same arguments give the same scenario in any process.
        """
        if not 0 < length_s <= FOR_S_MAX or not 0 < every_s <= FOR_S_MAX or length_s / every_s > _STEPS_MAX:
            raise ValueError(
                f"length_s is {length_s} and every_s {every_s}; allowed are positive numbers and {_STEPS_MAX} faults"
            )
        if not 0 < for_s[0] <= for_s[1] <= FOR_S_MAX:
            raise ValueError(f"for_s is {for_s}; allowed are a shortest and a longest time, above 0")
        random = Random(f"scenario {seed}")  # noqa: S311 - no secret
        deck = _deck(random, kinds)
        steps: list[Step] = []
        at_s = random.expovariate(1 / every_s)
        while at_s < length_s:
            venue = random.choice(sorted(venues))
            symbol = random.choice(sorted(venues[venue]))
            whole = random.random() < _ALL_VENUES_SHARE
            kind = next(deck)
            drawn = _fault(random, kind, None if whole else symbol, (fixed or {}).get(kind, {}))
            lasts_s = round(min(random.uniform(*for_s), length_s - at_s), 3)
            if lasts_s > 0:
                steps.append(Step(round(at_s, 3), drawn, None if whole else venue, lasts_s))
            at_s += random.expovariate(1 / every_s)
        return cls(tuple(steps), seed)

    def record(self) -> dict[str, Any]:
        """Return it ready for JSON, as `parse` reads it."""
        return {"seed": self.seed, "steps": [step.record() for step in self.steps]}

    def __str__(self) -> str:
        """Return it as `parse` reads it."""
        return json.dumps(self.record())


def _deck(random: Random, kinds: Collection[str]) -> Iterator[str]:
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds are {unknown}; allowed are {', '.join(KINDS)}")
    while True:
        yield from random.sample(sorted(kinds), len(kinds))


def _fault(random: Random, kind: str, symbol: str | None, fixed: Mapping[str, Any]) -> Fault:
    parameters = KINDS[kind].parameters()
    arguments = {name: parameter.draw(random) for name, parameter in parameters.items()}
    if "symbol" in parameters and random.random() < _ONE_SYMBOL_SHARE:
        arguments["symbol"] = symbol
    return make_fault(kind, arguments | dict(fixed))


def parse_step(record: Any) -> Step:
    """Read one step of a scenario.

    Raises:
        ValueError: the sentence says what is wrong with it.
    """
    match record:
        case {"kind": str(kind), **rest}:
            arguments: dict[str, Any] = {str(name): value for name, value in rest.items()}
        case _:
            raise ValueError('a step is {"at_s": 0, "kind": "drop", …}')
    at_s = arguments.pop("at_s", 0)
    venue, for_s = arguments.pop("venue", None), arguments.pop("for_s", None)
    if type(at_s) not in (int, float) or not 0 <= at_s <= FOR_S_MAX:
        raise ValueError(f"at_s is {at_s!r}; allowed is a number from 0 to {FOR_S_MAX:g}")
    if for_s is not None and (type(for_s) not in (int, float) or not 0 < for_s <= FOR_S_MAX):
        raise ValueError(f"for_s is {for_s!r}; allowed is a number above 0 and at most {FOR_S_MAX:g}, or null")
    if venue is not None and not isinstance(venue, str):
        raise ValueError(f"venue is {venue!r}; allowed is a name or null")
    return Step(at_s, make_fault(kind, arguments), venue, for_s)
