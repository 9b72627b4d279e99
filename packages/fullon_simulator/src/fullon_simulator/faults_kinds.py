"""Every kind of fault by its name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fullon_simulator.faults import Fault
from fullon_simulator.faults_frames import Corrupt, Garbage, Late, Reorder, Repeat, Stall, Truncate
from fullon_simulator.faults_market import (
    ClockAhead,
    Close,
    Delist,
    Down,
    DuplicateName,
    Halt,
    Maintenance,
    MalformedListing,
    RenamedMarket,
    Skew,
)
from fullon_simulator.faults_rest import (
    BoundedWindow,
    HalfBody,
    HangAnswers,
    Html,
    IgnoreSince,
    Refusal,
    ResetAnswers,
    ShortPages,
    SlowBody,
    Status,
    StuckPages,
    TooOld,
)
from fullon_simulator.faults_rows import BadValues, NoneRows, Omit, ShiftTimes, VoidRows, WithoutRunning, WrongCandles
from fullon_simulator.faults_sockets import (
    AcceptAndClose,
    CutAtAge,
    Drop,
    Hang,
    IgnoreSubscriptions,
    LoseSubscription,
    NeverAcknowledge,
    RefuseSockets,
    RefuseSubscriptions,
)

KINDS: Mapping[str, type[Fault]] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (
            *(Drop, AcceptAndClose, RefuseSockets, Hang, CutAtAge),
            *(IgnoreSubscriptions, RefuseSubscriptions, NeverAcknowledge, LoseSubscription),
            *(Stall, Late, Repeat, Reorder, Corrupt, Truncate, Garbage),
            *(Omit, BadValues, VoidRows, ShiftTimes, WrongCandles),
            *(Status, Refusal, Html, HangAnswers, ResetAnswers, HalfBody, SlowBody),
            *(ShortPages, BoundedWindow, TooOld, IgnoreSince, StuckPages, NoneRows, WithoutRunning),
            *(Down, Skew, ClockAhead, Halt, Maintenance, Delist, Close),
            *(MalformedListing, RenamedMarket, DuplicateName),
        )
    }
)


def make_fault(kind: str, arguments: Mapping[str, Any]) -> Fault:
    """Return a fault of a kind.

    Raises:
        ValueError: no such kind, no such parameter, or a value that is not allowed.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; allowed are {', '.join(KINDS)}")
    allowed = KINDS[kind].parameters()
    for name in arguments:
        if name not in allowed:
            raise ValueError(f"{kind} has no {name}; it has {', '.join(allowed) or 'no parameters'}")
    return KINDS[kind](**arguments)


def describe_kinds() -> list[dict[str, Any]]:
    """Return name, sentence and parameters of every kind, ready for JSON."""
    return [
        {
            "kind": name,
            "sentence": kind.sentence(),
            "parameters": {
                each: {"means": parameter.means, "allowed": parameter.allowed, "default": getattr(kind(), each)}
                for each, parameter in kind.parameters().items()
            },
        }
        for name, kind in KINDS.items()
    ]
