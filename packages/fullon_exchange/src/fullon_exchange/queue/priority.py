"""How urgent one request is, in the words of the documented face."""

from dataclasses import dataclass
from enum import IntEnum

from fullon_exchange.interface import Urgency


class PriorityLevel(IntEnum):
    """The lower number goes first."""

    URGENT = 1
    HIGH = 2
    NORMAL = 5
    LOW = 8
    BULK = 10


_URGENCY = {
    PriorityLevel.URGENT: Urgency.LIVE,
    PriorityLevel.HIGH: Urgency.LIVE,
    PriorityLevel.NORMAL: Urgency.REPAIR,
    PriorityLevel.LOW: Urgency.BACKFILL,
    PriorityLevel.BULK: Urgency.BACKFILL,
}


@dataclass(frozen=True)
class Priority:
    """Priority of one request; `timeout` in seconds, None for none.

    `bypass_rate_limit` puts a request in front of everything else that waits. The venue's own limit always holds:
    going past it would get the address banned for everybody.
    """

    level: PriorityLevel = PriorityLevel.NORMAL
    timeout: float | None = None
    bypass_rate_limit: bool = False

    @property
    def urgency(self) -> Urgency:
        """The urgency that the rate budget knows."""
        return Urgency.LIVE if self.bypass_rate_limit else _URGENCY[self.level]
