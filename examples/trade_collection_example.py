"""Trades of an exchange whose candles are not trusted, and the candles made from them.

Phase 1 fetches a day of trades over REST, phase 2 streams them: into a Redis stream, out of it by the batcher, into the
database. Each candle is the fold of the trades of its minute, which is shown for the last one.
"""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import timedelta

from demo_data import demo_symbols, dual_test_databases, install_demo_data
from rich.console import Console
from rich.table import Table
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
    last_candles,
    number,
    open_stage,
    run,
    show_last_candles,
    step,
    within,
)

from fullon_ohlcv.repositories.ohlcv import TradeRepository
from fullon_ohlcv_service.trade.batcher import GlobalTradeBatcher
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector
from fullon_ohlcv_service.trade.live_collector import LiveTradeCollector
from fullon_orm.models import Symbol


async def collect(stage: Stage, symbols: Sequence[Symbol]) -> bool:
    """Run both phases; True where trades were found and everything stored is true."""
    step(stage.console, f"Phase 1: history, a day of trades of {len(symbols)} symbols over REST")
    historic = HistoricTradeCollector(symbols)
    async with within(stage.seconds + PATIENCE_S, "history"):
        rows = await historic.start_collection()
    for name, count in rows.items():
        done(stage.console, f"{name}: {count:,} trades", count > 0)
    await show_last_candles(stage, symbols)

    step(stage.console, f"Phase 2: live, {stage.seconds:g} s over WebSocket and through Redis")
    batcher = GlobalTradeBatcher()
    for symbol in symbols:
        batcher.register_symbol(symbol)
    await batcher.start_batch_processing()
    live = LiveTradeCollector(symbols)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(live.start_collection())
            seen = await follow_candles(stage, symbols, stage.seconds)
            streamed = sum(live.is_collecting(symbol) for symbol in symbols)
            await live.stop_collection()
    finally:
        await batcher.stop_batch_processing()
    done(stage.console, f"{streamed} symbols streamed, {seen} candles made", streamed == len(symbols))

    step(stage.console, "The gap between the phases: history once more")
    end_us = stage.closed_us()
    rows = await historic.start_collection()
    done(stage.console, f"{sum(rows.values())} trades filled in")
    await show_last_trades(stage, symbols[0])
    await show_last_candles(stage, symbols, 1)
    folded = [await is_fold_of_its_trades(stage, symbol) for symbol in symbols]
    return await check(stage, symbols, end_us) and all(folded)


async def show_last_trades(stage: Stage, symbol: Symbol, count: int = 5) -> None:
    """Show the newest stored trades of a symbol."""
    table = Table(box=None, title=f"Last trades of {symbol.exchange_name} {symbol.symbol}", title_justify="left")
    for name in ("UTC", "price", "volume", "side", "type", "id"):
        table.add_column(name, justify="right", no_wrap=True, min_width=8, header_style="dim")
    async with TradeRepository(symbol.exchange_name, symbol.symbol) as repository:
        for one in await repository.get_recent_trades(limit=count):
            at = f"{one.timestamp:%H:%M:%S.%f}"
            table.add_row(at, number(one.price), number(one.volume), one.side, one.type, one.trade_id)
    stage.console.print(table)


async def is_fold_of_its_trades(stage: Stage, symbol: Symbol) -> bool:
    """Fold the trades of the last candle's minute by hand and compare."""
    rows = await last_candles(symbol, 1)
    if not rows:
        return False
    at, *prices, volume = rows[0]
    async with TradeRepository(symbol.exchange_name, symbol.symbol) as repository:
        trades = await repository.get_trades_in_range(at, at + timedelta(minutes=1))
    paid = [one.price for one in trades]
    same = prices == [paid[0], max(paid), min(paid), paid[-1]]
    same = same and abs(volume - sum(one.volume for one in trades)) < 1e-9 * volume
    done(stage.console, f"the {at:%H:%M} candle of {symbol.symbol} is the fold of its {len(trades)} trades", same)
    return same


async def play(options: Namespace, console: Console) -> bool:
    """Set the stage, collect, and leave nothing behind."""
    headline(console, __doc__ or "")
    exchange = options.exchange
    names = options.symbol or demo_symbols(exchange)
    async with dual_test_databases(console), open_stage(options, console, {exchange: names}) as stage:
        symbols = await install_demo_data({exchange: names})
        if not (await ask_exchange(symbols)).needs_trades_for_ohlcv():
            raise BadInput(f"candles of {exchange} are trusted as they come; run ohlcv_collection_example.py")
        return await collect(stage, symbols)


def main() -> int:
    """Run the command line."""
    parser = Parser(__doc__ or "")
    parser.add_market_options()
    parser.add_argument("--exchange", default="kraken", help="where from (kraken)")
    parser.add_argument("--symbol", action="append", help="what; may be repeated (BTC, ETH and SOL)")
    return run(parser, play)


if __name__ == "__main__":
    sys.exit(main())
