"""How the venue's clock stands to ours, as far as answers have shown; pure."""

from dataclasses import dataclass


@dataclass
class ServerTime:
    """Bounds of (venue clock − our clock), from answers that carried the venue's time.

    The venue read its clock between our sending and our receiving, so the difference lies in
    `[venue − received, venue − sent]`. Before the first answer the clocks are taken to agree.
    """

    lowest_us: int = 0
    highest_us: int = 0
    observed: bool = False

    def observe(self, venue_us: int, *, sent_us: int, received_us: int, resolution_us: int = 0) -> None:
        """Take over one answer; `resolution_us` where the venue cuts its time to coarser units."""
        self.lowest_us = venue_us - received_us
        self.highest_us = venue_us + resolution_us - sent_us
        self.observed = True

    def earliest_us(self, ours_us: int) -> int:
        """Return a time that the venue's clock has surely reached: never later than our own reading."""
        return ours_us + min(0, self.lowest_us)

    def latest_us(self, ours_us: int) -> int:
        """Return a time that the venue's clock has not passed: never earlier than our own reading."""
        return ours_us + max(0, self.highest_us)
