"""The process monitor: what the daemon and each of its symbols say about themselves in Redis.

A daemon is started as a process of its own and watched from outside. With `--watch` nothing is started: the monitor
looks at whatever works with the Redis that the environment names.
"""

import asyncio
import os
import sys
from argparse import Namespace
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from demo_data import DEMO_SYMBOLS, demo_symbols, dual_test_databases, install_demo_data
from rich.console import Console
from rich.live import Live
from rich.table import Table
from stage import PATIENCE_S, Parser, done, headline, open_stage, run, seconds_of, step

from fullon_cache import ProcessCache, ProcessRecord
from fullon_cache.process_cache import ProcessStatus, ProcessType

REFRESH_S = 1.0
STOP_S = 15.0
STYLES = {
    ProcessStatus.RUNNING: "green",
    ProcessStatus.PROCESSING: "yellow",
    ProcessStatus.IDLE: "cyan",
    ProcessStatus.ERROR: "red",
}


def build_table(records: Sequence[ProcessRecord]) -> Table:
    """Return the records as a table."""
    table = Table(box=None, title=f"Processes at {datetime.now(UTC):%H:%M:%S} UTC", title_justify="left")
    for name in ("component", "what", "status", "beat", "says"):
        table.add_column(name, no_wrap=True, header_style="dim")
    for one in records:
        status = one["status"]
        style = STYLES.get(ProcessStatus(status), "dim")
        what = str(one["params"].get("type", one["process_type"]))
        age = "silent" if one["is_stale"] else f"{one['heartbeat_age_s']:.0f} s"
        table.add_row(one["component"], what, f"[{style}]{status}[/]", age, one["message"] or "")
    return table


async def watch(console: Console, cache: ProcessCache, seconds: float, count: int = 0) -> list[ProcessRecord]:
    """Show the processes for `seconds` from when `count` have reported; return them as they were last."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + PATIENCE_S
    ends_s = None
    records: list[ProcessRecord] = []
    with Live(build_table(records), console=console, auto_refresh=False) as live:
        while ends_s is None or loop.time() < ends_s:
            records = await cache.get_active_processes(ProcessType.OHLCV)
            live.update(build_table(records), refresh=True)
            if ends_s is None and (len(records) >= count or loop.time() > give_up_s):
                ends_s = loop.time() + seconds
            await asyncio.sleep(REFRESH_S / 2)
    if not console.is_terminal:
        console.print()
    return records


async def summarise(console: Console, cache: ProcessCache) -> bool:
    """Say how the system is as a whole; True where nobody is silent or in error."""
    health = await cache.get_system_health()
    metrics = await cache.get_metrics()
    states = ", ".join(f"{count} {status}" for status, count in sorted(metrics["by_status"].items()))
    done(console, f"health: {health['active']} active, {health['stale']} silent, {health['error']} in error")
    done(console, f"metrics: {metrics['total']} processes ({states or 'none'}), Redis answers in "
        f"{health['redis_ping_s'] * 1000:.1f} ms")  # fmt: skip
    return bool(health["healthy"])


@asynccontextmanager
async def running_daemon() -> AsyncIterator[Process]:
    """A daemon as an operator starts it; what it logs is not shown here."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fullon_ohlcv_service.daemon",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def monitor_a_daemon(options: Namespace, console: Console) -> bool:
    """Start a daemon, watch it, stop it, and see that it says so."""
    symbols = {name: demo_symbols(name, 2) for name in options.exchange or list(DEMO_SYMBOLS)}
    os.environ["OHLCV_HEALTH_INTERVAL"] = str(REFRESH_S)
    async with (
        dual_test_databases(console),
        open_stage(options, console, symbols) as stage,
        ProcessCache() as cache,
    ):
        await install_demo_data(symbols)
        count = sum(map(len, symbols.values())) + 1
        async with running_daemon() as process:
            step(console, f"The daemon runs as process {process.pid}")
            records = await watch(console, cache, stage.seconds, count)
            ended = process.returncode
            healthy = await summarise(console, cache)
        all_there = len(records) == count and ended is None
        done(console, f"{len(records)} of {count} processes reported", all_there)
        step(console, "The daemon has been stopped")
        stopped = await cache.get_component_status("ohlcv_daemon")
        said = stopped["status"] if stopped else "nothing"
        left = await cache.get_active_processes(ProcessType.OHLCV)
        done(console, f"it says: {said}; {len(left)} processes are left", not left and said == ProcessStatus.STOPPED)
    return all_there and healthy and not left


async def monitor_what_runs(options: Namespace, console: Console) -> bool:
    """Watch the processes of others."""
    async with ProcessCache() as cache:
        records = await watch(console, cache, seconds_of(options))
        await summarise(console, cache)
    if not records:
        console.print("No process has reported within the last five minutes: does a daemon run on this Redis?")
    return True


async def play(options: Namespace, console: Console) -> bool:
    """Set the stage, watch, and leave nothing behind."""
    headline(console, __doc__ or "")
    return await (monitor_what_runs if options.watch else monitor_a_daemon)(options, console)


def main() -> int:
    """Run the command line."""
    parser = Parser(__doc__ or "")
    parser.add_market_options()
    parser.add_argument("--watch", action="store_true", help="start nothing; watch the processes of others")
    parser.add_argument("--exchange", action="append", choices=list(DEMO_SYMBOLS), help="may be repeated (all)")
    return run(parser, play)


if __name__ == "__main__":
    sys.exit(main())
