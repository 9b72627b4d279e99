"""Why a venue does not serve an interval, and from when on its history is settled.

Reasons of `Page.unavailable` start with one of these words. What is named unavailable is asked for again rarely or
never, so pagers confirm it by a second request first.
"""

from dataclasses import dataclass

from fullon_exchange.clock import Clock

LISTED_LATER = "listed later"
"""The market did not exist yet."""
RETENTION = "retention"
"""The venue no longer serves it."""
TOO_OLD = f"{RETENTION}: an older start is refused"
"""The venue refuses to begin so long ago: a rule of the moment, not what it keeps."""
NOT_PUBLISHED = "not published"
"""The venue has nothing here although the market existed: an outage of its own."""
START_IGNORED = "start ignored"
"""The venue answers with its newest rows whatever start is asked for."""
UNREADABLE = "unreadable"
"""The venue's rows cannot be read, twice."""


@dataclass(frozen=True)
class Settle:
    """How long after an instant a venue's REST answers hold everything that happened before it."""

    exchange_s: float = 5.0
    """The venue's own delay, in seconds of its clock."""
    real_s: float = 0.5
    """What no clock accelerates: processing and the network."""

    def until_us(self, clock: Clock) -> int:
        """Return the exchange time up to which history is settled now."""
        return clock.now_us() - round((self.exchange_s + self.real_s * clock.speed) * 1_000_000)
