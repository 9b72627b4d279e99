"""How often a client may ask; all times are the exchange's, so limits keep pace with an accelerated clock."""

import math
from dataclasses import dataclass

from fullon_simulator.clock import MINUTE_US, SECOND_US


class TokenBucket:
    """A burst at once, then so many a second."""

    def __init__(self, *, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_us = per_second / SECOND_US
        self._tokens = burst
        self._at_us = 0

    def take(self, now_us: int, tokens: float = 1) -> bool:
        """Take one token, or so many; False, and nothing taken, where there are too few."""
        self._tokens = min(self._burst, self._tokens + (now_us - self._at_us) * self._per_us)
        self._at_us = now_us
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def spend(self, tokens: float) -> None:
        """Take tokens whether they are there or not, so that those to come make up for them."""
        self._tokens -= tokens

    @property
    def left(self) -> int:
        """Whole tokens that were left the last time one was asked for."""
        return max(0, int(self._tokens))

    def wait_s(self, tokens: float = 1) -> int:
        """Return in how many whole seconds there will be so many tokens, at least one."""
        return max(1, math.ceil((tokens - self._tokens) / (self._per_us * SECOND_US)))


class MessageWindow:
    """So many messages in each second."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._seen = 0

    def take(self, now_us: int) -> bool:
        """Count one message; False where it is one too many."""
        second = now_us // SECOND_US
        if second != self._second:
            self._second, self._seen = second, 0
        self._seen += 1
        return self._seen <= self._per_second


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: HTTP status 429 or 418, and when to come again."""

    status: int
    retry_after_s: int


class WeightBudget:
    """Binance's request weight: so much a minute; who goes on regardless is banned, each time longer.

    Source: binance-spot-api-docs, "IP Limits": 429 with Retry-After, then 418 from 2 minutes to 3 days.
    """

    PATIENCE = 10
    """How many refused requests are forgiven before the ban."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._minute = 0
        self._refused = 0
        self._banned_until_us = 0
        self._ban_s = 120
        self.used = 0

    def take(self, weight: int, now_us: int) -> Refusal | None:
        """Count a request; None where it may pass."""
        if now_us < self._banned_until_us:
            return Refusal(418, -(-(self._banned_until_us - now_us) // SECOND_US))
        minute = now_us // MINUTE_US
        if minute != self._minute:
            self._minute, self.used, self._refused = minute, 0, 0
        self.used += weight
        if self.used <= self._per_minute:
            return None
        self._refused += 1
        if self._refused > self.PATIENCE:
            self._banned_until_us = now_us + self._ban_s * SECOND_US
            refusal = Refusal(418, self._ban_s)
            self._ban_s = min(self._ban_s * 2, 3 * 86_400)
            return refusal
        return Refusal(429, -(-((minute + 1) * MINUTE_US - now_us) // SECOND_US))
