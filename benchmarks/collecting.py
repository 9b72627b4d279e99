"""The service's own live path: session → sink → Redis → batcher → store, or session → candles → store."""

# ruff: noqa: ASYNC110 - waiting for another process is polling

import asyncio
import os
import time
from collections.abc import AsyncIterator, MutableSequence, Sequence
from contextlib import asynccontextmanager

import uvloop
from feed import COMMITTED, STARTED_S
from measuring import Timed
from stores import cpu_s
from venue_rest import VenueName, symbols

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_ohlcv.records import Series
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.live import LiveCollector
from fullon_ohlcv_service.ohlcv.live_collector import LiveOHLCVCollector
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.trade.batcher import GlobalTradeBatcher
from fullon_ohlcv_service.trade.live_collector import LiveTradeCollector

_POLL_S = 0.02
_CLOSING_MAX_S = 15.0
_TAKE_OVER_S = 0.5


@asynccontextmanager
async def collecting(venue: VenueName, number: int, *, trades: bool) -> AsyncIterator[Runtime]:
    """Collect the live trades, or the live candles, of a venue's first symbols."""
    wanted = {WantedSymbol(venue, symbol, 0) for symbol in symbols(venue, number)}
    async with open_runtime() as runtime:
        runtime.board.want(wanted)
        live: LiveCollector
        if not trades:
            live = LiveOHLCVCollector(runtime=runtime)
        else:
            live = LiveTradeCollector(runtime=runtime)
            batcher = GlobalTradeBatcher(runtime=runtime, on_break=live.restart_runs)
            for one in wanted:
                batcher.register_symbol(one)
            await batcher.start_batch_processing()
            # It begins by taking over what is in the stream, and ends the runs that have begun by then.
            await asyncio.sleep(_TAKE_OVER_S)
        await live.want(wanted)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(live.run())
            yield runtime
            running.cancel()
        if trades:
            await batcher.stop_batch_processing()


def collect_burst(
    board: MutableSequence[float], venue: VenueName, number: int, trades: int, pids: Sequence[int]
) -> Timed:
    """Collect so many trades and, where candles are folded from them, the candles of the minute that they lie in.

    The CPU is of all that, the wall from the first trade on a socket to the last committed.
    """
    os.environ["OHLCV_COLLECT_TRADES"] = "all"
    return uvloop.run(_collect_burst(venue, number, trades, board, pids))


async def _collect_burst(
    venue: VenueName, number: int, trades: int, board: MutableSequence[float], pids: Sequence[int]
) -> Timed:
    async with collecting(venue, number, trades=True) as runtime:
        while not board[STARTED_S]:
            await asyncio.sleep(_POLL_S)
        servers_started_s, cpu_started_s = cpu_s(pids), time.process_time()
        minute_end_us = floor_minute_us(runtime.clock.now_us()) + MINUTE_US
        while (stored := sum(line.rows for line in runtime.board.lines())) < trades:
            board[COMMITTED] = stored
            await asyncio.sleep(_POLL_S)
            if time.time() > board[STARTED_S] + 240:
                raise RuntimeError(f"{stored} of {trades} trades stored after four minutes")
        used_s = time.process_time() - cpu_started_s
        wall_s = time.time() - board[STARTED_S]
        if venue == "kraken":
            await runtime.clock.sleep_until(minute_end_us)
            cpu_started_s = time.process_time()
            await _close(runtime, minute_end_us, number)
            used_s += time.process_time() - cpu_started_s
        return Timed(trades, used_s, wall_s, cpu_s(pids) - servers_started_s)


async def _close(runtime: Runtime, minute_end_us: int, number: int) -> None:
    """Wait until the candles of the minute are stored for every symbol."""
    series = [await runtime.store.series("kraken", one, "candles1m") for one in symbols("kraken", number)]
    wanted: dict[Series, tuple[int, int]] = dict.fromkeys(series, (minute_end_us - MINUTE_US, minute_end_us))
    give_up_s = time.monotonic() + _CLOSING_MAX_S
    while any((await runtime.store.gaps(wanted)).values()):
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"the minute was not closed within {_CLOSING_MAX_S:.0f} s")
        await asyncio.sleep(_POLL_S * 5)


def collect_until(done: MutableSequence[float], venue: VenueName, number: int) -> None:
    """Collect live until `done` is set: Kraken's trades, Binance's candles."""
    uvloop.run(_collect_until(done, venue, number))


async def _collect_until(done: MutableSequence[float], venue: VenueName, number: int) -> None:
    async with collecting(venue, number, trades=venue == "kraken"):
        while not done[0]:
            await asyncio.sleep(_POLL_S)
