"""What one connection should carry and what the venue has acknowledged; pure."""

import itertools
import math
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from typing import Literal

from fullon_exchange.wire import Key

_ATTEMPTS_MAX = 2


@dataclass
class _State:
    phase: Literal["asked", "active", "leaving"]
    asked_at: float
    attempts: int = 1


@dataclass(frozen=True)
class Order:
    """One message to send: (un)subscribe these keys, all of one channel."""

    subscribe: bool
    keys: tuple[Key, ...]


class Subscriptions:
    """Wanted against acknowledged, of one connection; times are real seconds."""

    def __init__(self, *, ack_timeout_s: float, keys_per_order: int) -> None:
        self._ack_timeout_s = ack_timeout_s
        self._keys_per_order = keys_per_order
        self._states: dict[Key, _State] = {}
        self._suspects: dict[Key, int] = {}
        """Keys of a refused request, by the number of the half that they are asked for again in."""
        self._halves = itertools.count()

    @property
    def active(self) -> bool:
        """Whether the venue has acknowledged any subscription."""
        return any(state.phase == "active" for state in self._states.values())

    @property
    def idle(self) -> bool:
        """Whether nothing has been asked for or everything has been given up."""
        return not self._states

    @property
    def leaving(self) -> list[Key]:
        """The subscriptions given up whose end has not been acknowledged."""
        return [key for key, state in self._states.items() if state.phase == "leaving"]

    @property
    def unanswered(self) -> list[Key]:
        """The subscriptions asked for that the venue has not acknowledged."""
        return [key for key, state in self._states.items() if state.phase == "asked"]

    def knows(self, key: Key) -> bool:
        """Tell whether the venue has been asked for `key`."""
        return key in self._states

    def carries(self, key: Key) -> bool:
        """Tell whether the venue has acknowledged `key`."""
        return key in self._states and self._states[key].phase == "active"

    def next_order(self, wanted: Iterable[Key], now: float, *, last: Container[Key] = ()) -> Order | None:
        """Return what to send next to bring the venue to `wanted`, and count it as sent; None if nothing.

        Those in `last` are asked for once all others have been. A request without an acknowledgement is sent once
        more; `overdue` tells when that was not enough.
        """
        wanted = set(wanted)
        leaving = [key for key, state in self._states.items() if key not in wanted and state.phase != "leaving"]
        if leaving:
            return self._order(leaving, subscribe=False, now=now)
        missing = [key for key in wanted if self._is_due(key, now)]
        missing = [key for key in missing if key not in last] or missing
        return self._order(sorted(missing), subscribe=True, now=now) if missing else None

    def _is_due(self, key: Key, now: float) -> bool:
        state = self._states.get(key)
        if state is None:
            return True
        return state.phase == "asked" and state.attempts < _ATTEMPTS_MAX and self._is_late(state, now)

    def _order(self, keys: list[Key], *, subscribe: bool, now: float) -> Order:
        channel = keys[0][0]
        chosen = [key for key in keys if key[0] == channel][: self._keys_per_order]
        halves = [self._suspects[key] for key in keys if key[0] == channel and key in self._suspects]
        if subscribe and halves:
            chosen = [key for key in keys if self._suspects.get(key) == halves[0]]
        for key in chosen:
            if not subscribe:
                self._states[key] = _State("leaving", now)
            elif key in self._states:
                self._states[key] = _State("asked", now, self._states[key].attempts + 1)
            else:
                self._states[key] = _State("asked", now)
        return Order(subscribe, tuple(chosen))

    def acknowledge(self, key: Key, *, subscribed: bool) -> bool:
        """Take over an acknowledgement; return whether it changed anything."""
        state = self._states.get(key)
        if state is None:
            return False
        if subscribed and state.phase == "asked":
            state.phase = "active"
            self._suspects.pop(key, None)
            return True
        if not subscribed and state.phase == "leaving":
            del self._states[key]
            return True
        return False

    def refuse(self, keys: Collection[Key], *, final: bool, now: float) -> list[Key]:
        """Take over a refusal; return the keys that are refused for good.

        A refused request of several keys says nothing about any one of them: each half is then asked for again, until
        the refused ones stand alone.
        """
        refused = [key for key in keys if key in self._states and self._states[key].phase == "asked"]
        if not final:
            for key in refused:
                self._states[key] = _State("asked", now, attempts=0)
            return []
        for key in keys:
            if key in self._states and self._states[key].phase == "leaving":
                # A market that the venue does not know any more cannot be unsubscribed either: it is as good as gone.
                self._states[key].asked_at = -math.inf
        for key in refused:
            del self._states[key]
        if len(refused) > 1:
            middle = len(refused) // 2
            for half in (refused[:middle], refused[middle:]):
                self._suspects.update(dict.fromkeys(half, next(self._halves)))
            return []
        for key in refused:
            self._suspects.pop(key, None)
        return refused

    def forgive(self, now: float) -> None:
        """Let what is unacknowledged start waiting anew: it was we who stopped reading."""
        for state in self._states.values():
            state.asked_at = max(state.asked_at, now) if state.phase != "active" else state.asked_at

    def overdue(self, now: float) -> list[Key]:
        """Return the keys whose repeated request has not been acknowledged either."""
        return [
            key
            for key, state in self._states.items()
            if state.phase == "asked" and state.attempts >= _ATTEMPTS_MAX and self._is_late(state, now)
        ]

    def unanswered_for(self, seconds: float, now: float) -> list[Key]:
        """Return the keys that were asked for `seconds` ago or earlier and have not been acknowledged."""
        return [
            key for key, state in self._states.items() if state.phase == "asked" and now - state.asked_at >= seconds
        ]

    def drop_overdue_leaving(self, now: float) -> list[Key]:
        """Return the keys whose unsubscription has not been acknowledged in time, and count them as gone."""
        gone = [key for key, state in self._states.items() if state.phase == "leaving" and self._is_late(state, now)]
        for key in gone:
            del self._states[key]
        return gone

    def _is_late(self, state: _State, now: float) -> bool:
        return now - state.asked_at >= self._ack_timeout_s
