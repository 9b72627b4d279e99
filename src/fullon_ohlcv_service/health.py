"""What the daemon is doing and whether its data are fresh: the one definition of health.

`/ready`, the metrics, systemd's status line and the live table ask `find_reasons`; the daemon publishes the same answer
in its status record, where `fullon-ohlcv status` and its exit code take it from. Where no answer can be read, `status`
judges what the ledger shows by the same rule, `why_stale`.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

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
CLOCK_OFF_S = 10.0
"""This machine's clock is not well where it differs from an exchange's by more (seconds of the clock)."""
SYNCHRONISE = "timedatectl set-ntp true"
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


def why_stale(lag_s: float | None, limit_s: float) -> str | None:
    """Return why a symbol whose data are due is not fresh; None where it is. `lag_s` is None of one without data."""
    if lag_s is None:
        return "nothing is stored yet"
    if lag_s > limit_s:
        return f"{lag_s:.0f} s behind, {limit_s:.0f} s is the limit"
    return None


def find_stale(board: StatusBoard, now_us: int, limit_s: float) -> list[Stale]:
    """Return every symbol that should be fresh and is not, in the order of the board, each with its reason.

    `now_us` is this machine's time; each symbol is judged by its exchange's.
    What is refused, halted, delisted or closed is left out: no data of it are due.
    """
    found = []
    ahead_us = {name: board.ahead_us(name) for name in board.clocks}
    for line in board.lines():
        if not line.should_be_fresh:
            continue
        name = line.wanted.exchange
        theirs_us = now_us - ahead_us.get(name, 0)
        doubts = [why for since_us, why in line.doubts.values() if theirs_us - since_us > DOUBT_S * 1e6]
        reason = why_stale(line.lag_at_s(theirs_us), limit_s) or next(iter(doubts), None)
        if reason is None:
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
    off = [Stale(name, "", describe_offset(name, ahead_s)) for name, ahead_s in find_clocks_off(rt.board).items()]
    return off + find_stale(rt.board, rt.clock.now_us(), stale_after_s(rt.config))


def find_clocks_off(board: StatusBoard) -> dict[str, float]:
    """Return the exchanges that this machine's clock differs from by more than is well, and how many seconds it is
    ahead at least; negative where it is behind.
    """
    ahead_s = {name: clock.ours_ahead_us() / 1e6 for name, clock in sorted(board.clocks.items())}
    return {name: each_s for name, each_s in ahead_s.items() if abs(each_s) > CLOCK_OFF_S}


def describe_offset(exchange: str, ahead_s: float) -> str:
    """Say by how much this machine's clock is off."""
    direction = "ahead of" if ahead_s > 0 else "behind"
    return f"this machine's clock is {abs(ahead_s):.0f} s {direction} {exchange}'s: synchronise it, {SYNCHRONISE}"


REASONS_MAX = 100
"""How many reasons are published one by one."""


def describe_health(reasons: Sequence[Stale]) -> dict[str, Any]:
    """Return the answer to whether the daemon is ready, as `/ready` gives it and the status record has it."""
    listed = [
        {"exchange": one.exchange or None, "symbol": one.symbol or None, "reason": one.reason}
        for one in reasons[:REASONS_MAX]
    ]
    return {"ready": not reasons, "reasons": listed, "reasons_left_out": len(reasons) - len(listed)}


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
