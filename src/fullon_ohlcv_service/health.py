"""What the daemon is doing and whether its data are fresh: what HTTP and systemd tell of it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from fullon_exchange.errors import ExchangeError, NotSupported
from fullon_exchange.interface import Exchange
from fullon_log import get_component_logger
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.disk_watch import DiskWatch
from fullon_ohlcv_service.live import LiveCollector
from fullon_ohlcv_service.proof_check import ProofChecker
from fullon_ohlcv_service.recheck import Rechecker
from fullon_ohlcv_service.runtime import Runtime
from fullon_ohlcv_service.status import StatusBoard

STALE_S = 300.0
"""A symbol whose newest covered minute ended longer ago than this is stale (seconds of the clock)."""
DOUBT_S = 60.0
"""So long a silent stream may wait to be examined before it counts as stale (seconds of the clock)."""
STUCK_S = 600.0
"""So long nothing at all may be fresh before a restart is worth a try (seconds of the clock)."""
STUCK_MAX_S = 6 * 3600.0
"""After this long a restart is worth a try whatever came before."""
BOARD_AGE_MAX_S = 60.0
"""A board that is older has lost its ledger: the database is away, and a restart would not bring it back."""
PROBE_S = 10.0
"""How long a venue may take to show that it is there."""
PROBE_EVERY_S = 60.0
"""Real seconds between two questions whether it is."""


class Doing(StrEnum):
    """What a daemon does as a whole."""

    STARTING = "starting"
    WAITING = "waiting"
    """For a server, or for another daemon to end; `why` says so."""
    COLLECTING = "collecting"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Collecting:
    """What a daemon collects with."""

    runtime: Runtime
    live: Sequence[LiveCollector]
    rechecker: Rechecker | None
    checker: ProofChecker | None


class Condition:
    """What a daemon is doing; it writes, others look and wait for `changed`."""

    def __init__(self) -> None:
        self.doing = Doing.STARTING
        self.why = ""
        self.collecting: Collecting | None = None
        """What it collects with; None unless it is collecting, or stopping."""
        self.disk: DiskWatch | None = None
        """The disk of embedded servers; None where there are none."""
        self.changed = asyncio.Event()
        """Set with every change; whoever waits for it clears it."""

    def become(self, doing: Doing, why: str = "", collecting: Collecting | None = None) -> None:
        """Note what is done from now on; stopping keeps what it collected with until that has ended."""
        self.doing, self.why = doing, why
        if doing is not Doing.STOPPING:
            self.collecting = collecting
        self.changed.set()

    @property
    def sentence(self) -> str:
        """What it is doing, and why."""
        return f"{self.doing.value}: {self.why}" if self.why else self.doing.value


class Stale(NamedTuple):
    """One symbol whose data are not fresh, or what keeps all of them from being so (without exchange and symbol)."""

    exchange: str
    symbol: str
    reason: str


def stale_after_s(config: OhlcvServiceConfig) -> float:
    """Return how far behind a symbol may be: history alone looks for new minutes once an interval."""
    return STALE_S if config.enable_streaming else STALE_S + config.collection_interval


def find_stale(board: StatusBoard, now_us: int, limit_s: float) -> list[Stale]:
    """Return every symbol that should be fresh and is not, in the order of the board, each with its reason.

    What is refused, halted, delisted or closed is left out: no data of it are due.
    """
    found = []
    for line in board.lines():
        if not line.should_be_fresh:
            continue
        name = line.wanted.exchange
        lag_s = line.lag_at_s(now_us)
        doubts = [why for since_us, why in line.doubts.values() if now_us - since_us > DOUBT_S * 1e6]
        if lag_s is None:
            reason = "nothing is stored yet"
        elif lag_s > limit_s:
            reason = f"{lag_s:.0f} s behind, {limit_s:.0f} s is the limit"
        elif doubts:
            reason = doubts[0]
        else:
            continue
        if problem := board.venue_problems.get(name):
            reason += f"; {problem}"
        found.append(Stale(name, line.wanted.symbol, reason))
    return found


def find_reasons(condition: Condition) -> list[Stale]:
    """Return why the daemon is not ready; nothing where all data that are due are fresh and there is room for more."""
    disk = condition.disk
    full = [Stale("", "", disk.problem)] if disk is not None and disk.is_short else []
    return full + _find_reasons_of_data(condition)


def _find_reasons_of_data(condition: Condition) -> list[Stale]:
    collecting = condition.collecting
    if condition.doing is not Doing.COLLECTING or collecting is None:
        return [Stale("", "", condition.sentence)]
    rt = collecting.runtime
    if not rt.board.told:
        return [Stale("", "", "the database has not been asked yet for what to collect")]
    return find_stale(rt.board, rt.clock.now_us(), stale_after_s(rt.config))


class Patience:
    """For how long a daemon may have nothing fresh before a restart is worth a try (pure).

    Ten minutes, or as long as the data had been old when that was first seen, up to six hours: so restarts that do not
    help become rare, after 10 minutes, 20, 40, …
    """

    def __init__(self) -> None:
        self._since_us: int | None = None

    def reset(self) -> None:
        """Begin anew: something is fresh, or nothing has to be."""
        self._since_us = None

    def is_over(self, now_us: int, newest_us: int | None) -> bool:
        """Tell whether nothing has been fresh for too long; `newest_us` is the end of the newest covered minute."""
        if self._since_us is None:
            self._since_us = now_us
        outage_s = 0.0 if newest_us is None else (self._since_us - newest_us) / 1e6
        return (now_us - self._since_us) / 1e6 >= min(STUCK_MAX_S, max(STUCK_S, outage_s))


class StuckWatch:
    """Decides whether a restart may help a daemon that has no fresh data.

    It may only where nothing at all is fresh although it should be, the database answers, a venue answers as well, and
    patience is over. So a venue or a database that is down never costs a restart, and one that answers without giving
    data costs a few.
    """

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        self._patience = Patience()
        self._probe_due_s = 0.0
        self._stuck = False
        self._log = get_component_logger("fullon.ohlcv.daemon")

    async def is_stuck(self) -> bool:
        """Tell whether a restart may help."""
        stuck = await self._examine()
        if stuck and not self._stuck:
            self._log.error("nothing is fresh although exchanges answer; the watchdog is left to restart the daemon")
        self._stuck = stuck
        return stuck

    async def _examine(self) -> bool:
        collecting = self._condition.collecting
        if self._condition.doing is not Doing.COLLECTING or collecting is None:
            self._patience.reset()
            return False
        rt = collecting.runtime
        now_us = rt.clock.now_us()
        due = [line for line in rt.board.lines() if line.should_be_fresh]
        if len(find_stale(rt.board, now_us, stale_after_s(rt.config))) < len(due) or not due:
            self._patience.reset()
            return False
        newest_us = max((line.covered_until_us for line in due if line.covered_until_us is not None), default=None)
        if not self._patience.is_over(now_us, newest_us) or rt.board.age_s > BOARD_AGE_MAX_S:
            return False
        if time.monotonic() < self._probe_due_s:
            return self._stuck
        venues = {line.wanted.exchange for line in due}
        opened = [exchange for name, exchange in rt.exchanges.opened().items() if name in venues]
        answers = await asyncio.gather(*map(_answers, opened))
        self._probe_due_s = time.monotonic() + PROBE_EVERY_S
        return any(answers)


async def _answers(exchange: Exchange) -> bool:
    """Ask a venue for the time, or for its markets where it does not tell it."""
    try:
        async with asyncio.timeout(PROBE_S):
            try:
                await exchange.fetch_time()
            except NotSupported:
                await exchange.fetch_listings(age_max_s=0)
    except (ExchangeError, TimeoutError):
        return False
    return True
