"""The whole pipeline: one daemon, several exchanges, from an empty database to live data.

Every symbol passes two phases: catching up, then live. While the daemon runs, one more symbol is put into the database;
it is noticed and collected without a restart. In the end the last candles of all symbols are shown and checked.
"""

import asyncio
import os
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress

from demo_data import DEMO_SYMBOLS, demo_symbols, dual_test_databases, install_demo_data
from rich.console import Console
from stage import (
    PATIENCE_S,
    POLL_S,
    BadInput,
    Parser,
    Stage,
    check,
    done,
    headline,
    open_stage,
    run,
    show_last_candles,
    step,
)

from fullon_cache import ProcessCache, ProcessRecord
from fullon_cache.process_cache import ProcessStatus, ProcessType
from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_orm.models import Symbol

HEALTH_S = 0.5
"""How often the daemon reports; otherwise every 30 s."""


class Phases:
    """What the daemon says of each symbol, printed whenever it enters another phase."""

    def __init__(self, stage: Stage, cache: ProcessCache) -> None:
        self._stage = stage
        self._cache = cache
        self._began_s = time.monotonic()
        self._said: dict[str, str] = {}
        self.refused: set[str] = set()

    async def wait_until_live(self, symbols: Sequence[Symbol], seconds: float) -> bool:
        """Wait until every symbol is live or refused; tell whether that was so within `seconds`."""
        asked = {f"{one.exchange_name}:{one.symbol}" for one in symbols}
        waiting = set(asked)
        live: set[str] = set()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while waiting:
                    for record in await self._cache.get_active_processes(ProcessType.OHLCV):
                        component, status = record["component"], record["status"]
                        if component not in waiting:
                            continue
                        self._say(component, status, record["message"] or "")
                        if status == ProcessStatus.RUNNING:
                            live.add(component)
                        elif is_not_collected(record):
                            self.refused.add(component)
                    waiting -= live | self.refused
                    await asyncio.sleep(POLL_S)
        late = f"; not yet {', '.join(sorted(waiting))}" if waiting else ""
        refused = sorted(self.refused & asked)
        late += f"; not collected {', '.join(refused)}" if refused else ""
        done(self._stage.console, f"{len(live)} of {len(symbols)} live{late}", not waiting)
        return not waiting

    def _say(self, component: str, status: str, message: str) -> None:
        if self._said.get(component) != status:
            self._said[component] = status
            elapsed_s = time.monotonic() - self._began_s
            self._stage.console.print(f"  {elapsed_s:5.1f} s  {component:<26} {message}")


def is_not_collected(record: ProcessRecord) -> bool:
    """Tell whether a symbol is left alone for good: unknown, delisted, or of an exchange that has closed."""
    idle_for_a_reason = record["status"] == ProcessStatus.IDLE and not (record["message"] or "").startswith("complete")
    return idle_for_a_reason or record["status"] == ProcessStatus.ERROR


async def collect(stage: Stage, symbols: Sequence[Symbol], more: Mapping[str, Sequence[str]]) -> bool:
    """Run the daemon until every symbol is live and then for a while; True where all went well."""
    step(stage.console, f"A daemon for {len(symbols)} symbols: catching up, then live")
    daemon = OhlcvServiceDaemon()
    patience_s = stage.seconds + PATIENCE_S
    async with ProcessCache() as cache, asyncio.TaskGroup() as group:
        group.create_task(daemon.run())
        try:
            phases = Phases(stage, cache)
            all_live = await phases.wait_until_live(symbols, patience_s)
            names = ", ".join(f"{exchange} {name}" for exchange, added in more.items() for name in added)
            step(stage.console, f"While it runs: {names} is put into the database")
            added = await install_demo_data(more)
            all_live = await phases.wait_until_live(added, patience_s) and all_live

            step(stage.console, "Live for two minutes of the market's time")
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await stage.clock.sleep_until(stage.clock.now_us() + 2 * MINUTE_US + MINUTE_US // 2)
            end_us = stage.closed_us() - MINUTE_US
        finally:
            await daemon.cleanup()
    collected = [one for one in [*symbols, *added] if f"{one.exchange_name}:{one.symbol}" not in phases.refused]
    await show_last_candles(stage, collected, 2)
    # A real exchange may be closed for good; of the simulated ones nothing is refused.
    all_well = all_live and (stage.market is None or not phases.refused)
    return bool(collected) and await check(stage, collected, end_us) and all_well


async def play(options: Namespace, console: Console) -> bool:
    """Set the stage, collect, and leave nothing behind."""
    headline(console, __doc__ or "")
    exchanges = options.exchange or list(DEMO_SYMBOLS)
    if unknown := sorted(set(exchanges) - set(DEMO_SYMBOLS)):
        raise BadInput(f"{', '.join(unknown)}: no exchange of the demo data; allowed are {', '.join(DEMO_SYMBOLS)}")
    symbols = {name: list(DEMO_SYMBOLS[name]) for name in exchanges}
    more = {exchanges[-1]: demo_symbols(exchanges[-1], 2)[1:]}
    listed = {name: [*symbols[name], *more.get(name, [])] for name in exchanges}
    os.environ["OHLCV_HEALTH_INTERVAL"] = str(HEALTH_S)
    async with dual_test_databases(console), open_stage(options, console, listed) as stage:
        return await collect(stage, await install_demo_data(symbols), more)


def main() -> int:
    """Run the command line."""
    parser = Parser(__doc__ or "")
    parser.add_market_options()
    parser.add_argument("--exchange", action="append", help="where from; may be repeated (all of the demo data)")
    return run(parser, play)


if __name__ == "__main__":
    sys.exit(main())
