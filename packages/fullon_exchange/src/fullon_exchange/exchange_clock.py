"""An exchange's own clock, as far as its answers have shown it.

This machine's clock may be minutes off and may be set while we run. So the exchange's time is counted from its last
answers on a clock that nobody sets. What it shows is a time that the exchange has surely reached: nothing after it is
over, whatever this machine believes.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from fullon_exchange.clock import Clock
from fullon_exchange.errors import ExchangeError, NotSupported
from fullon_log import get_component_logger

AGE_MAX_S = 60.0
"""A reading older than this is renewed before history relies on it (seconds of the exchange)."""
_DRIFT = 1e-3
"""How much faster or slower than ours, at most, an exchange's clock runs."""


def _steady_s() -> float:
    """Return seconds that no one sets; where the system can tell, they pass while it sleeps too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass
class _Bounds:
    """Where the exchange's clock stands to the steady one; None before the first answer."""

    lowest_us: int | None = None
    highest_us: int = 0
    observed_us: int = 0
    """When that was learned, on the steady clock."""


@dataclass(frozen=True)
class ExchangeClock(Clock):
    """The clock of one exchange; this machine's before the first answer."""

    ours: Clock = field(default_factory=Clock)
    _bounds: _Bounds = field(default_factory=_Bounds, repr=False, compare=False)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)

    @classmethod
    def beside(cls, ours: Clock) -> "ExchangeClock":
        """Return one that runs as fast as this machine's clock `ours`."""
        return cls(ours.origin_s, ours.unix_s, ours.speed, ours)

    def now_us(self) -> int:
        """Return a time that the exchange's clock has surely reached."""
        lowest_us = self._bounds.lowest_us
        return self.ours.now_us() if lowest_us is None else self.steady_us() + lowest_us

    def latest_us(self) -> int:
        """Return a time that the exchange's clock has surely not passed."""
        return self.ours.now_us() if self._bounds.lowest_us is None else self.steady_us() + self._bounds.highest_us

    def steady_us(self) -> int:
        """Return a reading of the clock that nobody sets, for `observe`."""
        return round(_steady_s() * self.speed * 1e6)

    def observe(self, exchange_us: int, *, sent_us: int, received_us: int, resolution_us: int = 0) -> None:
        """Learn from an answer with the exchange's time; `sent_us` and `received_us` are readings of `steady_us`."""
        bounds = self._bounds
        lowest_us, highest_us = exchange_us - received_us, exchange_us + resolution_us - sent_us
        if bounds.lowest_us is not None:
            drift_us = round((received_us - bounds.observed_us) * _DRIFT)
            kept_us = max(lowest_us, bounds.lowest_us - drift_us), min(highest_us, bounds.highest_us + drift_us)
            if kept_us[0] <= kept_us[1]:
                lowest_us, highest_us = kept_us
        bounds.lowest_us, bounds.highest_us, bounds.observed_us = lowest_us, highest_us, received_us

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[bool]:
        """Let one caller at a time read the exchange's clock; yields whether that is due."""
        async with self._reading:
            age_us = self.steady_us() - self._bounds.observed_us
            yield self._bounds.lowest_us is None or age_us > AGE_MAX_S * 1e6

    @property
    def known(self) -> bool:
        """Whether any answer has told the exchange's time."""
        return self._bounds.lowest_us is not None

    def ours_ahead_us(self) -> int:
        """Return how far, at least, this machine's clock is ahead; negative where it is behind, 0 where they agree."""
        if not self.known:
            return 0
        now_us = self.ours.now_us()
        return max(0, now_us - self.latest_us()) + min(0, now_us - self.now_us())


class TellsTime(Protocol):
    """What a clock can be read of."""

    name: str
    clock: ExchangeClock

    async def fetch_time(self) -> int:
        """Return the exchange's own clock, and let `clock` learn from it."""


async def know_time(exchange: TellsTime) -> None:
    """Read the exchange's clock unless it is known well enough; one that tells no time is taken to agree with ours.

    Raises:
        TransientExchangeError: it cannot be read now; nobody can tell what is over at this exchange.
    """
    async with exchange.clock.reading() as due:
        if not due:
            return
        try:
            await exchange.fetch_time()
        except NotSupported:
            pass
        except ExchangeError as error:
            if error.retryable:
                raise
            get_component_logger(f"fullon.exchange.{exchange.name}").warning(
                "the exchange's clock cannot be read, it is taken to agree with ours", why=str(error)
            )
