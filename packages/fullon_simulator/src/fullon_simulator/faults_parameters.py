"""What a fault can be told: each parameter with its meaning, what is allowed, and how one is drawn at random."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

_METADATA = "parameter"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kind of fault."""

    means: str
    allowed: str
    check: Callable[[Any], bool]
    draw: Callable[[Random], Any]


def number(default: float, means: str, *, low: float, high: float, drawn: tuple[float, float] | None = None) -> Any:
    """Return a field that holds a number; drawn so that small ones are as likely as big ones."""
    first, last = drawn or (default, default)

    def draw(random: Random) -> float:
        if first <= 0:
            return round(random.uniform(first, last), 3)
        return float(f"{math.exp(random.uniform(math.log(first), math.log(last))):.3g}")

    return _field(default, Parameter(means, f"a number from {low:g} to {high:g}", _is_number(low, high), draw))


def whole(
    default: int | None,
    means: str,
    *,
    low: int,
    high: int,
    drawn: Sequence[int | None] = (),
    optional: bool = False,
) -> Any:
    """Return a field that holds a whole number, or none where that is allowed."""

    def check(value: Any) -> bool:
        return (optional and value is None) or (type(value) is int and low <= value <= high)

    allowed = f"a whole number from {low} to {high}{' or null' if optional else ''}"
    return _field(default, Parameter(means, allowed, check, lambda random: random.choice(drawn or (default,))))


def flag(default: bool, means: str) -> Any:
    """Return a field that holds true or false."""
    return _field(
        default,
        Parameter(means, "true or false", lambda value: type(value) is bool, lambda random: random.random() < 0.5),
    )


def choice(default: str | None, means: str, *, of: Sequence[str | None], drawn: Sequence[str | None] = ()) -> Any:
    """Return a field that holds one of some words."""
    words = ", ".join("null" if word is None else word for word in of)
    return _field(
        default,
        Parameter(means, f"one of {words}", lambda value: value in of, lambda random: random.choice(drawn or of)),
    )


def word(default: str | None, means: str) -> Any:
    """Return a field that holds any word or none; it is not drawn but set."""
    return _field(
        default,
        Parameter(
            means, "a word or null", lambda value: value is None or isinstance(value, str), lambda random: default
        ),
    )


def _field(default: Any, parameter: Parameter) -> Any:
    return field(default=default, metadata={_METADATA: parameter})


def _is_number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high


def parameters_of(kind: Any) -> Mapping[str, Parameter]:
    """Return the parameters of a kind of fault by name."""
    return {each.name: each.metadata[_METADATA] for each in fields(kind) if _METADATA in each.metadata}
