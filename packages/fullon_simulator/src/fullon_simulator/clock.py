"""The market's clock: real time, or another time at another pace.

`FULLON_CLOCK="<exchange epoch s>@<unix epoch s>x<speed>"` is shared by the market and the programs that read
it: exchange time = exchange + (unix now - unix) * speed. Everything the market paces (heartbeats, candle
updates, rate windows) runs on this clock; time-outs of the network stay real.
"""

import os
import time
from decimal import Decimal, InvalidOperation
from typing import Self

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
DAY_US = 86_400 * SECOND_US


class MarketClock:
    """Exchange time in microseconds; never runs backwards, even where Unix time is set back."""

    def __init__(self, *, exchange_us: int = 0, unix_us: int = 0, speed: float = 1.0) -> None:
        if not 0 < speed <= 100_000:
            raise ValueError(f"a clock's speed is {speed}; allowed is more than 0 and at most 100000")
        self.exchange_us = exchange_us
        self.unix_us = unix_us
        self.speed = speed
        self._latest_us = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `<exchange epoch s>@<unix epoch s>x<speed>`; an empty text is the real clock.

        Raises:
            ValueError: the text is neither; the sentence says what is allowed.
        """
        if not text:
            return cls()
        try:
            exchange, rest = text.split("@")
            unix, speed = rest.split("x")
            return cls(exchange_us=_micros(exchange), unix_us=_micros(unix), speed=float(speed))
        except (ValueError, InvalidOperation) as error:
            raise ValueError(
                f"the clock is {text!r}; allowed is <exchange epoch s>@<unix epoch s>x<speed>, "
                "for instance 1767225600@1767229200x12"
            ) from error

    @classmethod
    def from_env(cls) -> Self:
        """Read `FULLON_CLOCK`, at the time of the call."""
        return cls.parse(os.environ.get("FULLON_CLOCK", ""))

    @classmethod
    def starting_at(cls, exchange_us: int, *, speed: float = 1.0) -> Self:
        """Return a clock that shows `exchange_us` now and runs at `speed`."""
        return cls(exchange_us=exchange_us, unix_us=time.time_ns() // 1000, speed=speed)

    def now_us(self) -> int:
        """Return the exchange time now, in microseconds since the epoch."""
        passed_us = time.time_ns() // 1000 - self.unix_us
        self._latest_us = max(self._latest_us, self.exchange_us + round(passed_us * self.speed))
        return self._latest_us

    def environment(self) -> dict[str, str]:
        """Return what another process needs to share this clock; nothing for the real one."""
        return {} if self.real else {"FULLON_CLOCK": str(self)}

    @property
    def real(self) -> bool:
        """True where exchange time is Unix time."""
        return self.exchange_us == self.unix_us and self.speed == 1.0

    def __str__(self) -> str:
        if self.real:
            return ""
        return f"{_seconds(self.exchange_us)}@{_seconds(self.unix_us)}x{Decimal(repr(self.speed)):f}"


class VenueClock(MarketClock):
    """A venue's own clock: the market's, but for `skew_us`. Set back, it stands still until it is right."""

    def __init__(self, market: MarketClock) -> None:
        super().__init__(exchange_us=market.exchange_us, unix_us=market.unix_us, speed=market.speed)
        self._market = market
        self.skew_us = 0

    def now_us(self) -> int:
        """Return the time this venue believes it is."""
        self._latest_us = max(self._latest_us, self._market.now_us() + self.skew_us)
        return self._latest_us


def _micros(text: str) -> int:
    return round(Decimal(text) * SECOND_US)


def _seconds(micros: int) -> str:
    return f"{micros // SECOND_US}.{micros % SECOND_US:06d}"
