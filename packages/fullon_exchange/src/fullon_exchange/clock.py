"""The exchange's clock, real or accelerated.

Everything that waits for minutes asks this clock. `FULLON_CLOCK` lets a simulated market and the programs that
collect it agree on another time and pace: `<exchange epoch s>@<unix epoch s>x<speed>` means
`exchange + (unix_now - unix) * speed`. Time-outs of the network stay in real seconds.
"""

import asyncio
import os
import re
import time
from dataclasses import dataclass

MINUTE_US = 60_000_000

_FORM = re.compile(r"(?P<exchange>\d+(\.\d+)?)@(?P<unix>\d+(\.\d+)?)x(?P<speed>\d+(\.\d+)?)")


@dataclass(frozen=True)
class Clock:
    """Exchange time as a linear function of Unix time: `origin_s + (unix - unix_s) * speed`."""

    origin_s: float = 0.0
    unix_s: float = 0.0
    speed: float = 1.0

    @classmethod
    def from_env(cls) -> "Clock":
        """Read `FULLON_CLOCK`; the real clock where it is unset or empty.

        Raises:
            ValueError: the value does not parse; the sentence says what is allowed.
        """
        text = os.environ.get("FULLON_CLOCK", "")
        if not text:
            return cls()
        match = _FORM.fullmatch(text)
        if match is None or float(match["speed"]) <= 0:
            raise ValueError(
                f"FULLON_CLOCK is {text!r}; allowed is <exchange epoch s>@<unix epoch s>x<speed>, "
                "for instance 1767225600@1767229200x12"
            )
        return cls(float(match["exchange"]), float(match["unix"]), float(match["speed"]))

    def now_us(self) -> int:
        """Return the exchange time now, in microseconds since the epoch."""
        return round((self.origin_s + (time.time() - self.unix_s) * self.speed) * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds` of this clock."""
        await asyncio.sleep(seconds / self.speed)

    async def sleep_until(self, timestamp_us: int) -> None:
        """Return once this clock has reached `timestamp_us`; at once if it has already."""
        while (left_us := timestamp_us - self.now_us()) > 0:
            await self.sleep(left_us / 1_000_000)


def floor_minute_us(timestamp_us: int) -> int:
    """Return the start of the minute that `timestamp_us` lies in."""
    return timestamp_us - timestamp_us % MINUTE_US


def ceil_minute_us(timestamp_us: int) -> int:
    """Return the first minute start at or after `timestamp_us`."""
    return -(-timestamp_us // MINUTE_US) * MINUTE_US
