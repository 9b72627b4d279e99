"""The soak: a real daemon, real servers, a simulated market, and faults of every kind drawn from a seed.

    python tests/soak/soaking.py --minutes 10 --seed 7

At first the daemon is away for longer than `backtest`. Then faults for `minutes` of real time on an accelerated clock,
several at once; besides, the daemon, PostgreSQL and Redis are killed with -9, rows are deleted by somebody else, and
the disk of the embedded servers is full for seconds (as root: it is a file system of its own). Retention removes what
is older than `keep_days`. Then quiet until everything is repaired, then the audit: every candle and trade equal to the
tape, every minute classified. One table at the end; exit code 1 where anything is lost, twice, wrong or misclassified.
"""

import argparse
import asyncio
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
from aiohttp import ClientError, ClientSession, ClientTimeout
from rich.console import Console
from rich.table import Table

from fullon_embedded import EmbeddedServers, start_servers
from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.records import Series
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.audit import Audit, audit
from fullon_ohlcv_service.config.database_config import WantedSymbol, load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.history import DAY_US
from fullon_orm import dispose_engines, init_db
from fullon_simulator import MarketClock, SimulatedMarket

VENUES = ("kraken", "binance", "hyperliquid", "bitmex")
CLOCKS_AHEAD_S = (0.0, 0.0, 300.0, 45.0, -45.0, -300.0)
"""How far ahead of the market the clock of a daemon may be that is started again."""
KILLS = ("kill daemon", "kill PostgreSQL", "kill Redis")
DELETED, FULL = "rows deleted by others", "full disk"
DISK_MB = 4_000
BEGINS_US = 1_768_478_408_000_000
"""2026-01-15 12:00:08 UTC: what a seed found can be found again on another day."""


@dataclass(frozen=True)
class Plan:
    """What one soak is made of."""

    seed: int = 7
    minutes: float = 5.0
    """Real minutes with faults."""
    venues: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(VENUES, 50))
    speed: float = 10.0
    fault_every_s: float = 30.0
    """Clock seconds between two faults, on average."""
    fault_max_s: float = 240.0
    """Clock seconds that a fault lasts at most."""
    kill_every_s: float = 40.0
    """Real seconds between two kills, on average."""
    repair_max_s: float = 480.0
    """Real seconds that may pass until everything is repaired: markets are examined once in an hour of the clock."""
    backtest_days: int = 1
    away_hours: float = 26.0
    """For so long nothing runs after the first seconds: longer than `backtest_days`."""
    keep_days: int = 2
    """`OHLCV_KEEP_TRADES_DAYS` and `OHLCV_KEEP_CANDLES_DAYS` of the daemon."""
    mishaps: Sequence[str] = (*KILLS, DELETED, FULL)
    """What happens besides the faults of the market."""
    without: Sequence[str] = ()
    collect_trades: str = "needed"
    """`OHLCV_COLLECT_TRADES` of the daemon."""


@dataclass
class Suffered:
    """One kind of fault: how often, and how long until what it hurt was whole again."""

    count: int = 0
    recovered: int = 0
    worst_s: float = 0.0
    """Clock seconds."""


class Measured(NamedTuple):
    """What the daemon takes at one moment."""

    memory_mb: float
    descriptors: int
    tasks: int


@dataclass
class Report:
    """What a soak found."""

    plan: Plan
    audit: Audit
    kinds: dict[str, Suffered]
    lives: list[list[Measured]]
    """What each process of the daemon took, second by second."""
    revisions: int
    log: str

    @property
    def sound(self) -> bool:
        """True where nothing is lost, twice, wrong or misclassified, and nothing is unknown."""
        return self.audit.sound


class Daemon:
    """The daemon as a process that is killed and started again."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self.lives: list[list[Measured]] = []

    async def start(self, ahead_s: float = 0.0) -> None:
        """Start it on a machine whose clock is so far ahead of the market's."""
        self.lives.append([])
        clock = Clock.from_env()
        skewed = f"{clock.origin_s + ahead_s:.6f}@{clock.unix_s:.6f}x{clock.speed}"
        with self._log.open("ab") as sink:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fullon_ohlcv_service.daemon"),
                stdout=sink,
                stderr=sink,
                cwd=self._log.parent,
                env=os.environ | {"FULLON_CLOCK": skewed},
            )

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            return await self._process.wait()

    async def measure(self) -> None:
        """Note what it takes now, once it serves its metrics."""
        if self._process is None or self._process.returncode is not None:
            return
        url = f"http://{os.environ['OHLCV_HTTP_BIND']}/metrics"
        try:
            async with ClientSession(timeout=ClientTimeout(1.0)) as client, client.get(url) as answer:
                tasks = re.search(r"^fullon_ohlcv_tasks (\d+)", await answer.text(), re.M)
            process = psutil.Process(self._process.pid)
            taken = process.memory_info().rss / 1e6, process.num_fds()
        except (OSError, TimeoutError, ClientError, psutil.Error):
            return
        if tasks:
            self.lives[-1].append(Measured(*taken, int(float(tasks[1]))))


@dataclass
class _Hurt:
    """A fault whose harm is not known to be repaired yet."""

    kind: str
    venues: Sequence[str]
    ended_us: int


class Soak:
    """One run."""

    def __init__(self, plan: Plan, directory: Path, console: Console) -> None:
        self.plan = plan
        self.console = console
        self.daemon = Daemon(directory / "daemon.log")
        self.log = directory / "daemon.log"
        self.directory = directory
        self.kinds: dict[str, Suffered] = {}
        self.hurts: list[_Hurt] = []
        self._random = random.Random(f"kills {plan.seed}")
        self._mishaps = list(plan.mishaps)
        self._deleted: set[Series] = set()
        self._counted = 0
        self.early: set[str] = set()
        """Series of which something was known of a time that was still to come."""

    async def run(self) -> Report:
        os.environ.update(MarketClock.starting_at(BEGINS_US, speed=self.plan.speed).environment())
        os.environ["OHLCV_COLLECTION_INTERVAL"] = "60"
        os.environ["OHLCV_COLLECT_TRADES"] = self.plan.collect_trades
        for kept in ("TRADES", "CANDLES"):
            os.environ[f"OHLCV_KEEP_{kept}_DAYS"] = str(self.plan.keep_days)
        with socket.create_server(("127.0.0.1", 0)) as free:
            os.environ["OHLCV_HTTP_BIND"] = f"127.0.0.1:{free.getsockname()[1]}"
        with self._disk() as disk, start_servers(disk / "servers") as servers:
            os.environ.update(servers.environment())
            async with SimulatedMarket(self.plan.venues, seed=self.plan.seed) as market:
                os.environ.update(market.environment())
                await init_db()
                await seed_database(market, backtest_days=self.plan.backtest_days)
                wanted = await load_wanted_symbols(OhlcvServiceConfig.from_env())
                await dispose_engines()
                await self.daemon.start()
                try:
                    if self.plan.away_hours:
                        await self._be_away(market)
                    return await self._suffer(market, servers, wanted)
                finally:
                    await self.daemon.kill()

    @contextmanager
    def _disk(self) -> Iterator[Path]:
        """Give the servers a file system of their own that can be filled; a directory where none can be mounted."""
        disk = self.directory / "disk"
        disk.mkdir()
        options = f"size={DISK_MB}m,mode=0700"
        command = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk))
        mounted = FULL in self._mishaps and subprocess.run(command, capture_output=True, check=False).returncode == 0
        if not mounted and FULL in self._mishaps:
            self.console.print("no file system can be mounted here: the disk is never full")
            self._mishaps.remove(FULL)
        try:
            yield disk
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", str(disk)], check=True)

    async def _be_away(self, market: SimulatedMarket) -> None:
        """Kill the daemon in its first back-fill, and start it again much later."""
        await asyncio.sleep(10.0)
        await self.daemon.kill()
        market.clock.exchange_us += round(self.plan.away_hours * 3600e6)
        os.environ.update(market.clock.environment())
        await self.daemon.start()

    async def _suffer(self, market: SimulatedMarket, servers: EmbeddedServers, wanted: set[WantedSymbol]) -> Report:
        clock = Clock.from_env()
        plan = self.plan
        kinds = sorted(set(_all_kinds()) - set(plan.without))
        length_s = plan.minutes * 60 * plan.speed
        market.faults.play(
            market.faults.draw(
                plan.seed, length_s=length_s, every_s=plan.fault_every_s, for_s=(5.0, plan.fault_max_s), kinds=kinds
            )
        )
        ends_s = time.monotonic() + plan.minutes * 60
        next_kill_s = time.monotonic() + self._random.expovariate(1 / plan.kill_every_s)
        while time.monotonic() < ends_s:
            await asyncio.sleep(1.0)
            await self.daemon.measure()
            self._note_ended(market)
            if time.monotonic() > next_kill_s:
                next_kill_s = time.monotonic() + self._random.expovariate(1 / plan.kill_every_s)
                if self._mishaps:
                    await self._harm(self._random.choice(self._mishaps), servers, wanted, clock)
            await self._note_early(clock)
            await self._note_repaired(wanted, clock)
        market.faults.heal()
        self._note_ended(market)
        self.console.print(f"faults are over after {plan.minutes:g} minutes; waiting until all is repaired")
        return await self._audit(market, wanted, clock)

    async def _harm(self, what: str, servers: EmbeddedServers, wanted: "set[WantedSymbol]", clock: Clock) -> None:
        if what == "kill daemon":
            await self.daemon.kill()
            await asyncio.sleep(self._random.uniform(0, 3))
            await self.daemon.start(self._random.choice(CLOCKS_AHEAD_S))
        elif what == DELETED:
            if not await self._delete_rows(wanted, clock):
                return
        elif what == FULL:
            ballast = self.directory / "disk" / "ballast"
            await asyncio.to_thread(_fill, ballast)
            await asyncio.sleep(self._random.uniform(2, 8))
            ballast.unlink()
            await asyncio.to_thread(servers.ensure_running)
        else:
            pid = servers.pids()[what.removeprefix("kill ")]
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(self._random.uniform(0, 5))
            await asyncio.to_thread(servers.ensure_running)
        self.kinds.setdefault(what, Suffered()).count += 1
        self.hurts.append(_Hurt(what, list(self.plan.venues), clock.now_us()))

    async def _delete_rows(self, wanted: "set[WantedSymbol]", clock: Clock) -> bool:
        """Delete up to an hour of candles or trades of a symbol behind the daemon's back; return whether any were."""
        one = self._random.choice(sorted(wanted))
        channel = self._random.choice(("candles1m", "trades"))
        start_us = floor_minute_us(clock.now_us()) - self._random.randrange(60, 20 * 60) * MINUTE_US
        try:
            async with _opened(clock) as store:
                series = await store.find_series(one.exchange, one.symbol, channel)
                # What is removed a second time on a day is given up.
                if series is None or series in self._deleted:
                    return False
                async with store.connection("delete rows as others do") as connection:
                    table = "trades" if channel == "trades" else "candles"
                    status = await connection.execute(
                        f"DELETE FROM {table} WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3",
                        series.series_id,
                        *(datetime.fromtimestamp(at_us / 1e6, UTC) for at_us in (start_us, start_us + 60 * MINUTE_US)),
                    )
        except (StorageError, OSError):
            return False
        self._deleted.add(series)
        return int(status.split()[-1]) > 0

    @property
    def _days(self) -> float:
        """How many days before now are certainly wanted and kept."""
        return min(self.plan.backtest_days + self.plan.away_hours / 24, self.plan.keep_days)

    async def _ranges(
        self, store: TimeseriesStore, wanted: "Sequence[WantedSymbol] | set[WantedSymbol]", end_us: int
    ) -> dict[Series, tuple[int, int]]:
        start_us = end_us - round(self._days * DAY_US) + 120 * MINUTE_US
        return {await store.series(one.exchange, one.symbol, "candles1m"): (start_us, end_us) for one in wanted}

    def _note_ended(self, market: SimulatedMarket) -> None:
        for episode in market.faults.past:
            if episode.number > self._counted:
                self.kinds.setdefault(episode.kind, Suffered()).count += 1
                if episode.ends_us is not None:
                    self.hurts.append(_Hurt(episode.kind, list(episode.faults), episode.ends_us))
        if market.faults.past:
            self._counted = max(self._counted, *(one.number for one in market.faults.past))

    async def _note_early(self, clock: Clock) -> None:
        """Note what is known of a time that is still to come."""
        try:
            async with _opened(clock) as store:
                for name in self.plan.venues:
                    for series in await store.known_beyond(name, clock.now_us() + MINUTE_US):
                        self.early.add(str(series))
        except (StorageError, OSError):
            return

    async def _note_repaired(self, wanted: set[WantedSymbol], clock: Clock) -> None:
        if not self.hurts:
            return
        try:
            async with _opened(clock) as store:
                for hurt in list(self.hurts):
                    end_us = floor_minute_us(hurt.ended_us)
                    ranges = await self._ranges(store, [one for one in wanted if one.exchange in hurt.venues], end_us)
                    if clock.now_us() > end_us + MINUTE_US and not any((await store.gaps(ranges)).values()):
                        self.hurts.remove(hurt)
                        suffered = self.kinds[hurt.kind]
                        suffered.recovered += 1
                        suffered.worst_s = max(suffered.worst_s, (clock.now_us() - hurt.ended_us) / 1e6)
        except (StorageError, OSError):
            return

    async def _audit(self, market: SimulatedMarket, wanted: set[WantedSymbol], clock: Clock) -> Report:
        end_us = floor_minute_us(clock.now_us())
        start_us = end_us - round(self._days * DAY_US) + 120 * MINUTE_US
        give_up_s = time.monotonic() + self.plan.repair_max_s
        # The daemon finds deleted rows itself within an hour of the clock; an operator who knows of them need not wait.
        verify = (sys.executable, "-m", "fullon_ohlcv_service.cli", "verify", "--store")
        await (await asyncio.create_subprocess_exec(*verify, stdout=asyncio.subprocess.DEVNULL)).wait()
        async with _opened(clock) as store:
            while True:
                await asyncio.sleep(3.0)
                await self.daemon.measure()
                await self._note_repaired(wanted, clock)
                found = await audit(store, market, wanted, start_us=start_us, end_us=end_us)
                if found.sound or time.monotonic() > give_up_s:
                    break
            revisions = 0
            for series in await self._ranges(store, wanted, end_us):
                revisions += len(await store.read_revisions(series, (start_us, end_us)))
        code = await self.daemon.stop()
        log = self.log.read_text(errors="replace")
        for series in sorted(self.early):
            found.note("misclassified", f"{series}: something was known of a time that was still to come")
        if code:
            found.note("misclassified", f"the daemon ended with exit code {code}")
        return Report(self.plan, found, self.kinds, self.daemon.lives, revisions, log)


@asynccontextmanager
async def _opened(clock: Clock) -> AsyncIterator[TimeseriesStore]:
    async with TimeseriesStore.open(now_us=clock.now_us, pool_max=2) as store:
        yield store


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1_000_000)):
            pass


def _all_kinds() -> list[str]:
    from fullon_simulator.faults_kinds import KINDS

    return list(KINDS)


def print_report(report: Report, console: Console) -> None:
    """Print the one table and what it means."""
    table = Table(title=f"soak: seed {report.plan.seed}, {report.plan.minutes:g} minutes at {report.plan.speed:g}×")
    for name in ("fault", "times", "repaired", "worst recovery, clock s"):
        table.add_column(name, justify="left" if name == "fault" else "right")
    for kind, suffered in sorted(report.kinds.items()):
        table.add_row(kind, str(suffered.count), str(suffered.recovered), f"{suffered.worst_s:.0f}")
    console.print(table)
    found = report.audit
    console.print(f"{found}; {report.revisions} revisions")
    console.print(
        f"lost {found.missing}, duplicate {found.surplus}, wrong {found.different}, "
        f"misclassified {found.misclassified}, unknown {found.minutes['unknown']}"
    )
    life = max(report.lives, key=len)
    if third := len(life) // 3:
        early, late = (Measured(*map(median, zip(*part, strict=True))) for part in (life[third:-third], life[-third:]))
        console.print(
            f"longest life of the daemon, measured {len(life)} times, medians of its second and its last third: "
            f"memory {early.memory_mb:.0f} and {late.memory_mb:.0f} MB, tasks {early.tasks:.0f} and {late.tasks:.0f}, "
            f"descriptors {early.descriptors:.0f} and {late.descriptors:.0f}"
        )
    for example in found.examples:
        console.print(f"  {example}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Soak the daemon in faults and audit what it stored.")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or 5))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 7))
    parser.add_argument(
        "--trades", choices=("needed", "all"), help="which trades to collect (default: drawn from the seed)"
    )
    parser.add_argument("--symbols", type=int, default=50, help="how many on each venue")
    parser.add_argument("--kinds", help="only these kinds, separated by commas")
    parser.add_argument("--kill-every-s", type=float, default=40.0)
    parser.add_argument("--keep-log", type=Path, help="where to put the daemon's log")
    options = parser.parse_args(arguments)
    without: Sequence[str] = ()
    if options.kinds:
        without = [kind for kind in _all_kinds() if kind not in options.kinds.split(",")]
    console = Console()
    with tempfile.TemporaryDirectory(prefix="fullon-soak-") as directory:
        plan = Plan(
            options.seed,
            options.minutes,
            venues=dict.fromkeys(VENUES, options.symbols),
            kill_every_s=options.kill_every_s,
            without=without,
            collect_trades=options.trades or random.Random(f"trades {options.seed}").choice(("needed", "all")),
        )
        report = asyncio.run(Soak(plan, Path(directory), console).run())
    print_report(report, console)
    if options.keep_log:
        options.keep_log.write_text(report.log)
    return 0 if report.sound else 1


if __name__ == "__main__":
    sys.exit(main())
