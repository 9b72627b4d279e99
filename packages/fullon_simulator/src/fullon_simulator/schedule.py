"""What is to happen at which time of the exchange's clock."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from fullon_simulator.clock import MarketClock

_TICK_MIN_S = 0.01
_TICK_MAX_S = 0.1

Action = Callable[[int], None]
"""Called with the exchange time in microseconds."""


class Schedule:
    """Actions in the order of their times; equal times in the order they were put in."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Action]] = []
        self._number = count()

    def at(self, time_us: int, action: Action) -> None:
        """Run `action` at the first tick at or after `time_us`."""
        heappush(self._due, (time_us, next(self._number), action))

    def run(self, now_us: int) -> None:
        """Run everything due, including what those actions ask for until `now_us`."""
        while self._due and self._due[0][0] <= now_us:
            heappop(self._due)[2](now_us)


def tick_s(clock: MarketClock) -> float:
    """Return how often to look at a schedule, in real seconds: the more often the faster the clock."""
    return min(_TICK_MAX_S, max(_TICK_MIN_S, _TICK_MAX_S / clock.speed))
