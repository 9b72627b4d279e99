"""One rate budget for each venue and IP, shared by the whole process.

A weighted token bucket in front of a queue: live before repair before backfill, first come first served inside.
The bucket refills in the venue's seconds, so an accelerated clock accelerates it too.
"""

import asyncio
import heapq
import itertools
import time
from dataclasses import dataclass, field

from fullon_exchange.interface import Urgency


@dataclass(frozen=True)
class BudgetSpec:
    """What a venue allows one IP: `per_s` weight a second on average, `burst` at once."""

    per_s: float
    burst: float
    window_max: float | None = None
    """The venue's own limit on the weight it reports as used; None where it reports none."""


@dataclass(frozen=True)
class BudgetUse:
    """A gauge: how full the bucket is, who waits, how long everybody is paused."""

    available: float
    burst: float
    waiting: int
    paused_s: float
    spent: float
    """Weight granted since the process started."""
    per_s: float
    """Weight the venue allows in a second of its clock, on average."""


@dataclass(order=True)
class _Ticket:
    urgency: Urgency
    number: int
    weight: float = field(compare=False)
    granted: asyncio.Future[None] = field(compare=False)


class RateBudget:
    """Grant weight in the order of urgency, as fast as the venue allows and no faster."""

    def __init__(self, spec: BudgetSpec, *, speed: float = 1.0) -> None:
        self.spec = spec
        self._speed = speed
        self._available = spec.burst
        self._filled_at = time.monotonic()
        self._paused_until = 0.0
        self._spent = 0.0
        self._numbers = itertools.count()
        self._queue: list[_Ticket] = []
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, weight: float = 1.0, urgency: Urgency = Urgency.BACKFILL) -> None:
        """Return once `weight` has been granted; a cancelled waiter gives its place and its weight back."""
        ticket = _Ticket(urgency, next(self._numbers), weight, asyncio.get_running_loop().create_future())
        heapq.heappush(self._queue, ticket)
        self._grant()
        try:
            await ticket.granted
        except asyncio.CancelledError:
            if ticket.granted.done() and not ticket.granted.cancelled():
                self._available += weight
                self._spent -= weight
            else:
                ticket.granted.cancel()
            self._grant()
            raise

    def pause(self, seconds: float) -> None:
        """Grant nothing for `seconds` of the venue, for instance because of its `Retry-After`."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds / self._speed)

    @property
    def paused_s(self) -> float:
        """Seconds of the venue until anything is granted again."""
        return max(0.0, self._paused_until - time.monotonic()) * self._speed

    def observe_used(self, used: float) -> None:
        """Take over the weight the venue says this IP has used in its window: other processes share it."""
        if self.spec.window_max is not None:
            self._refill()
            self._available = min(self._available, self.spec.window_max - used)

    def use(self) -> BudgetUse:
        """Return the gauge."""
        self._refill()
        waiting = sum(1 for ticket in self._queue if not ticket.granted.done())
        return BudgetUse(self._available, self.spec.burst, waiting, self.paused_s, self._spent, self.spec.per_s)

    def _refill(self) -> None:
        now = time.monotonic()
        earned = (now - self._filled_at) * self._speed * self.spec.per_s
        self._available = min(self.spec.burst, self._available + earned)
        self._filled_at = now

    def _grant(self) -> None:
        """Grant what can be granted now and set the timer for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._refill()
        while self._queue:
            ticket = self._queue[0]
            if ticket.granted.done():
                heapq.heappop(self._queue)
                continue
            wait_s = self._wait_s(ticket.weight)
            if wait_s > 0:
                self._timer = asyncio.get_running_loop().call_later(wait_s, self._grant)
                return
            heapq.heappop(self._queue)
            self._available -= ticket.weight
            self._spent += ticket.weight
            ticket.granted.set_result(None)

    def _wait_s(self, weight: float) -> float:
        """Return real seconds until `weight` fits; a weight above the burst needs a full bucket and overdraws it."""
        missing = min(weight, self.spec.burst) - self._available
        refilled_s = missing / (self.spec.per_s * self._speed) if missing > 1e-9 else 0.0
        return max(refilled_s, self._paused_until - time.monotonic())


_budgets: dict[tuple[str, str, float], RateBudget] = {}


def shared_budget(exchange: str, address: str, spec: BudgetSpec, *, speed: float = 1.0) -> RateBudget:
    """Return the process's one budget for `exchange` at `address` (scheme, host and port)."""
    key = (exchange, address, speed)
    if key not in _budgets:
        _budgets[key] = RateBudget(spec, speed=speed)
    return _budgets[key]
