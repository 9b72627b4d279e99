"""The real daemon on fed venues, and what it takes."""

import asyncio
import resource
import time
from collections.abc import Sequence
from typing import NamedTuple, get_args

import psutil
import uvloop
from measuring import Stopwatch
from stores import cpu_s
from venue_rest import VenueName, symbols

from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.demo import seed_database
from fullon_orm import init_db

_PATIENCE_S = 240.0
_SETTLE_S = 3.0


class Footprint(NamedTuple):
    """What the daemon took."""

    rss_bytes: int
    rss_peak_bytes: int
    tasks: int
    cpu_share: float
    """Of one core."""
    servers_cpu_share: float
    start_s: float
    """From its start until every symbol was streamed, their views created and all."""


class Markets:
    """The feeds' markets, as `seed_database` wants to see them."""

    def __init__(self, number: int) -> None:
        self._number = number

    def origins(self) -> Sequence[str]:
        """Return the venues."""
        return get_args(VenueName)

    def symbols(self, venue: VenueName) -> list[str]:
        """Return the venue's symbols."""
        return symbols(venue, self._number)


def seed(number: int) -> None:
    """Put the symbols into the database, with nothing to back-fill."""
    uvloop.run(_seed(number))


async def _seed(number: int) -> None:
    await init_db()
    await seed_database(Markets(number), backtest_days=0)  # type: ignore[arg-type]


def run_daemon(number: int, seconds: float, pids: list[int]) -> Footprint:
    """Run the daemon until everything is live, measure it, and stop it."""
    return uvloop.run(_run_daemon(number, seconds, pids))


async def _run_daemon(number: int, seconds: float, pids: list[int]) -> Footprint:
    daemon = OhlcvServiceDaemon()
    process = psutil.Process()
    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.run())
        await _until_live(daemon, number * len(get_args(VenueName)))
        start_s = time.perf_counter() - started_s
        await asyncio.sleep(min(_SETTLE_S, seconds))
        servers_started_s, watch = cpu_s(pids), Stopwatch()
        await asyncio.sleep(seconds)
        used_s, wall_s = watch.read()
        found = Footprint(
            rss_bytes=process.memory_info().rss,
            rss_peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            tasks=len(asyncio.all_tasks()) - 1,
            cpu_share=used_s / wall_s,
            servers_cpu_share=(cpu_s(pids) - servers_started_s) / wall_s,
            start_s=start_s,
        )
        await daemon.cleanup()
    return found


async def _until_live(daemon: OhlcvServiceDaemon, number: int) -> None:
    """Wait until live has promised every symbol's minutes."""
    give_up_s = time.monotonic() + _PATIENCE_S
    while True:
        runtime = daemon._runtime
        promised = 0
        if runtime is not None:
            promised = len(runtime.claims.of("kraken", "trades")) + len(runtime.claims.of("binance", "candles1m"))
        if promised >= number:
            return
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"{promised} of {number} symbols live after {_PATIENCE_S:.0f} s")
        await asyncio.sleep(0.1)
