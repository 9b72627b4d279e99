"""How long to wait before the next attempt: capped exponential backoff with full jitter."""

import random
from dataclasses import dataclass, field

_DOUBLINGS_MAX = 32


@dataclass
class Backoff:
    """Delays drawn evenly from `[0, min(cap_s, first_s * 2**attempts)]`.

    Full jitter keeps a thousand clients that lost one server from coming back together. Call `reset` when the
    first *data* has arrived, not when the connection stands: a server that accepts and closes at once would
    otherwise see a thousand attempts a second.
    """

    first_s: float = 0.5
    cap_s: float = 30.0
    attempts: int = 0
    jitter: random.Random = field(default_factory=random.Random, repr=False)

    def next_s(self) -> float:
        """Return the next delay in seconds, and count the attempt."""
        ceiling = min(self.cap_s, self.first_s * 2.0 ** min(self.attempts, _DOUBLINGS_MAX))
        self.attempts += 1
        return self.jitter.uniform(0.0, ceiling)

    def reset(self) -> None:
        """Start over with the shortest delay."""
        self.attempts = 0
