"""Room on the disk of the embedded servers: warn before it is full, and leave the rest to live data.

Servers of somebody else's keep their own disk; nothing is known of it here.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from fullon_embedded.disk import FULL_BYTES, describe_full, free_bytes
from fullon_log import get_component_logger
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig

CHECK_EVERY_S = 5.0
MB = 1_000_000
RELEASE_RATIO = 1.1
"""A limit is left again only with a tenth more than it, so that a disk at the limit is not reported over and over."""


@dataclass(frozen=True)
class DiskRoom:
    """How much room a directory has, and what that means."""

    directory: Path
    free_bytes: int
    is_low: bool
    """Somebody should make room."""
    is_short: bool
    """So little is left that back-filling stops."""

    @property
    def sentence(self) -> str:
        """What is wrong, and what helps; empty where nothing is."""
        if self.free_bytes < FULL_BYTES:
            return describe_full(self.directory)
        free = f"{self.free_bytes / MB:,.0f} MB free at {self.directory}"
        if self.is_short:
            return f"disk nearly full, {free}: back-filling is paused until there is room"
        return f"disk filling up, {free}: make room" if self.is_low else ""


def read_room(directory: Path, config: OhlcvServiceConfig, before: DiskRoom | None = None) -> DiskRoom:
    """Look at the disk of `directory`; `before` is what was found last."""
    free = free_bytes(directory)

    def is_below(limit_mb: float, *, was: bool) -> bool:
        return free < limit_mb * MB * (RELEASE_RATIO if was else 1.0)

    return DiskRoom(
        directory,
        free,
        is_low=is_below(config.disk_free_warn_mb, was=before is not None and before.is_low),
        is_short=is_below(config.disk_free_min_mb, was=before is not None and before.is_short),
    )


class DiskWatch:
    """Keeps an eye on the disk of a directory; others read `room`."""

    def __init__(self, directory: Path, config: OhlcvServiceConfig) -> None:
        self._directory = directory
        self._config = config
        self._log = get_component_logger("fullon.ohlcv.daemon")
        self.room: DiskRoom | None = None
        """None until it has been looked at."""

    @property
    def is_short(self) -> bool:
        """True while back-filling must wait."""
        return self.room is not None and self.room.is_short

    @property
    def problem(self) -> str:
        """What is wrong with the disk; empty where nothing is."""
        return self.room.sentence if self.room is not None else ""

    async def run(self) -> None:
        """Look until cancelled; a change is logged once."""
        while True:
            before = self.room
            # A file system may hang where an event loop must not.
            self.room = room = await asyncio.to_thread(read_room, self._directory, self._config, before)
            if before is None or (before.is_low, before.is_short) != (room.is_low, room.is_short):
                self._report(room, is_first=before is None)
            await asyncio.sleep(CHECK_EVERY_S)

    def _report(self, room: DiskRoom, *, is_first: bool) -> None:
        if room.is_short:
            self._log.error(room.sentence)
        elif room.is_low:
            self._log.warning(room.sentence)
        elif not is_first:
            self._log.info("the disk has room again", free_mb=room.free_bytes // MB)
