"""Count what is wrong with frames by kind; speak of each kind at most once a minute."""

import time
from collections import Counter

from fullon_exchange.errors import excerpt_of
from fullon_log import get_component_logger

_LOG_EVERY_S = 60.0


class Faults:
    """The counters of one session.

    Kinds: `garbage` (no JSON), `unknown` (a message nobody asked for), `row` (a value that is missing, of the
    wrong type or out of range), `time` (a timestamp before 2009 or in the future), `unsubscribed` (a market that
    is not subscribed), `void` (a trade in which nothing was traded), `binary` (not a text frame), `defect` (a mistake
    of ours).
    """

    def __init__(self, exchange: str) -> None:
        self.counts: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}
        self._logged_counts: Counter[str] = Counter()
        self._log = get_component_logger(f"fullon.exchange.{exchange}.live")

    def count(self, kind: str, excerpt: str) -> None:
        """Count one fault; `excerpt` is shown if this kind has been silent for a minute."""
        self.counts[kind] += 1
        now = time.monotonic()
        if now - self._logged_at.get(kind, float("-inf")) >= _LOG_EVERY_S:
            self._log.warning(
                "skipped what cannot be used",
                kind=kind,
                count=self.counts[kind] - self._logged_counts[kind],
                excerpt=excerpt_of(excerpt),
            )
            self._logged_at[kind] = now
            self._logged_counts[kind] = self.counts[kind]
