"""Candles of an exchange that publishes them, collected in two phases.

Phase 1 fetches a day of history over REST, phase 2 streams over WebSocket. The minutes between the phases are a gap
like any other: history is asked once more and fills it.
"""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Sequence

from demo_data import demo_symbols, dual_test_databases, install_demo_data
from rich.console import Console
from stage import (
    PATIENCE_S,
    BadInput,
    Parser,
    Stage,
    ask_exchange,
    check,
    done,
    follow_candles,
    headline,
    open_stage,
    run,
    show_last_candles,
    step,
    within,
)

from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.ohlcv.live_collector import LiveOHLCVCollector
from fullon_orm.models import Symbol

LAST = 10
"""How many candles of each symbol are shown, one a line."""


async def collect(stage: Stage, symbols: Sequence[Symbol]) -> bool:
    """Run both phases; True where candles were found and everything stored is true."""
    step(stage.console, f"Phase 1: history, a day of {len(symbols)} symbols over REST")
    historic = HistoricOHLCVCollector(symbols)
    async with within(stage.seconds + PATIENCE_S, "history"):
        rows = await historic.start_collection()
    for name, count in rows.items():
        done(stage.console, f"{name}: {count:,} candles", count > 0)
    await show_last_candles(stage, symbols, LAST)

    step(stage.console, f"Phase 2: live, {stage.seconds:g} s over WebSocket; a candle is stored once it has closed")
    live = LiveOHLCVCollector(symbols)
    async with asyncio.TaskGroup() as group:
        group.create_task(live.start_collection())
        seen = await follow_candles(stage, symbols, stage.seconds)
        streamed = sum(live.is_collecting(symbol) for symbol in symbols)
        await live.stop_collection()
    done(stage.console, f"{streamed} symbols streamed, {seen} candles arrived", streamed == len(symbols))

    step(stage.console, "The gap between the phases: history once more")
    end_us = stage.closed_us()
    rows = await historic.start_collection()
    done(stage.console, f"{sum(rows.values())} candles filled in")
    await show_last_candles(stage, symbols, LAST)
    return await check(stage, symbols, end_us)


async def play(options: Namespace, console: Console) -> bool:
    """Set the stage, collect, and leave nothing behind."""
    headline(console, __doc__ or "")
    exchange = options.exchange
    names = options.symbol or demo_symbols(exchange, 1)
    async with dual_test_databases(console), open_stage(options, console, {exchange: names}) as stage:
        symbols = await install_demo_data({exchange: names})
        exchange_says = await ask_exchange(symbols)
        if exchange_says.needs_trades_for_ohlcv():
            raise BadInput(f"candles of {exchange} are made from its trades; run trade_collection_example.py")
        console.print(f"Exchange: its candles are of {', '.join(exchange_says.get_supported_timeframes())}")
        return await collect(stage, symbols)


def main() -> int:
    """Run the command line."""
    parser = Parser(__doc__ or "")
    parser.add_market_options()
    parser.add_argument("--exchange", default="hyperliquid", help="where from (hyperliquid)")
    parser.add_argument("--symbol", action="append", help="what; may be repeated (BTC/USDC:USDC of hyperliquid)")
    return run(parser, play)


if __name__ == "__main__":
    sys.exit(main())
