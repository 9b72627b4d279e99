"""When to ask a connection for proof of life, and what its answer proves; pure.

A ping that comes back proves that everything the venue sent before its pong has been received. Two things can
still make that less than everything that *happened* before: the way from the matching engine to the socket
(`grace`) and a feed that lags (`late` below). A watermark takes both off and never goes back.
"""

from collections import deque

from fullon_exchange.clock import MINUTE_US, floor_minute_us

_INTERVAL_REAL_MIN_S = 0.2
"""Under an accelerated clock a second is short; the venue's message limits are not accelerated."""
_PINGS_MAX = 64
_LAG_WINDOW_US = 30_000_000


class Proof:
    """Proof of life of one connection, in exchange time."""

    def __init__(self, *, speed: float, grace_s: float, cadence_s: float, ping_s: float = 1.0) -> None:
        self._grace_us = round((cadence_s + grace_s * speed) * 1_000_000)
        self._interval_us = round(max(ping_s, min(ping_s, _INTERVAL_REAL_MIN_S) * speed) * 1_000_000)
        self._sent: deque[tuple[int, int, float]] = deque()
        self._next_id = 0
        self._next_us = 0
        self._lag_us = 0
        self._lag_before_us = 0
        self._lag_window_end_us = 0
        self.watermark_us = 0

    def next_ping_us(self, now_us: int) -> int:
        """Return when the next ping is due on a clock that shows `now_us`; now, where it has been set back."""
        return self._next_us if self._next_us - now_us <= self._interval_us else now_us

    def start_ping(self, now_us: int, real_s: float) -> int:
        """Count a ping sent now and return its id.

        The next one is due in a second, or right after the minute so that a minute closes at once.
        """
        self._next_id += 1
        self._sent.append((self._next_id, now_us, real_s))
        if len(self._sent) > _PINGS_MAX:
            self._sent.popleft()
        boundary_us = floor_minute_us(now_us - self._grace_us) + MINUTE_US + self._grace_us
        self._next_us = min(now_us + self._interval_us, boundary_us)
        return self._next_id

    def unanswered_s(self, real_s: float) -> float:
        """Return for how many real seconds the oldest open ping has been waiting."""
        return real_s - self._sent[0][2] if self._sent else 0.0

    def forgive(self, real_s: float) -> None:
        """Let open pings start waiting anew: it was we who stopped reading."""
        self._sent = deque((ping_id, sent_us, real_s) for ping_id, sent_us, _ in self._sent)

    def take_pong(self, ping_id: int) -> int | None:
        """Return when the ping was sent, on our clock; None where it is not one of ours."""
        while self._sent and self._sent[0][0] <= ping_id:
            number, sent_us, _ = self._sent.popleft()
            if number == ping_id:
                return sent_us
        return None

    def observe_lag(self, lag_us: int, now_us: int) -> None:
        """Note how much later than it happened a trade arrived."""
        if now_us >= self._lag_window_end_us:
            self._lag_before_us = self._lag_us if now_us < self._lag_window_end_us + _LAG_WINDOW_US else 0
            self._lag_us = 0
            self._lag_window_end_us = now_us + _LAG_WINDOW_US
        self._lag_us = max(self._lag_us, lag_us)

    def lag_us(self) -> int:
        """Return the largest lag of the last half minute to minute."""
        return max(self._lag_us, self._lag_before_us)

    def advance(self, venue_us: int) -> int | None:
        """Take over that everything up to `venue_us` was sent; return the new watermark if it has moved."""
        watermark_us = venue_us - max(self._grace_us, 2 * self.lag_us())
        if watermark_us <= self.watermark_us:
            return None
        self.watermark_us = watermark_us
        return watermark_us
