"""The service's own back-fill of a fresh database, what of it is decoding, and the requests it makes."""

import os
import time
from dataclasses import dataclass

import uvloop
from measuring import Stopwatch, Timed
from pages import PAGE_ROWS, History, Pages
from stores import cpu_s
from venue_rest import symbols

from fullon_exchange.binance import mapper as binance
from fullon_exchange.budget import BudgetSpec, shared_budget
from fullon_exchange.clock import Clock
from fullon_exchange.kraken import mapper as kraken
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.runtime import open_runtime
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector
from fullon_simulator import SimulatedMarket, SymbolSpec

NO_LIMIT = BudgetSpec(per_s=1e9, burst=1e9)


@dataclass(frozen=True)
class Wanted:
    """As much of a symbol as a collector looks at."""

    exchange_name: str
    symbol: str
    backtest: int


def fill(history: History, port: int, pids: list[int]) -> Timed:
    """Let a historic collector fill all there is."""
    return uvloop.run(_fill(history, port, pids))


async def _fill(history: History, port: int, pids: list[int]) -> Timed:
    os.environ["OHLCV_COLLECT_TRADES"] = "all"
    shared_budget(history.venue, f"127.0.0.1:{port}", NO_LIMIT, speed=1.0)
    wanted = [Wanted(history.venue, symbol, history.days) for symbol in symbols(history.venue, history.symbols)]
    of_kind = HistoricOHLCVCollector if history.kind == "klines" else HistoricTradeCollector
    async with open_runtime() as runtime:
        await runtime.exchanges.reach(history.venue)
        collector = of_kind(wanted, runtime=runtime)  # type: ignore[arg-type]
        servers_started_s, watch = cpu_s(pids), Stopwatch()
        stored = await collector.start_collection()
        used_s, wall_s = watch.read()
        rows = sum(stored.values())
        if rows < 0.99 * history.symbols * history.rows:  # the oldest rows grow too old while the server starts
            raise RuntimeError(f"{rows} rows stored of {history.symbols} × {history.rows}")
        return Timed(rows, used_s, wall_s, cpu_s(pids) - servers_started_s)


def decode_alone(history: History) -> Timed:
    """Decode the same pages into records by the venue's mapper alone."""
    bodies = Pages(history, int(time.time())).bodies() * history.symbols
    watch = Stopwatch()
    rows = 0
    for body in bodies:
        if history.kind == "klines":
            rows += len(binance.parse_candles(body, "BTC/USDT", "1m").rows)
        elif history.kind == "aggTrades":
            rows += len(binance.parse_trades(body, "BTC/USDT", first_id=0, start_us=0, cursor=0).rows)
        else:
            rows += len(kraken.parse_trades(body, "BTC/USD", 0).rows)
    used_s, wall_s = watch.read()
    return Timed(rows, used_s, wall_s)


def count(smoke: bool) -> list[tuple[str, int, int, int]]:
    """Fill the history of a small market; return venue, requests, fewest requests, refused ones."""
    return uvloop.run(_count(smoke))


async def _count(smoke: bool) -> list[tuple[str, int, int, int]]:
    os.environ["OHLCV_COLLECT_TRADES"] = "needed"
    days = 1 if smoke else 30
    venues = {
        "binance": [SymbolSpec(f"SIM{at}/USDT", kind="normal") for at in range(1 if smoke else 5)],
        "kraken": [SymbolSpec(f"SIM{at}/USD", trades_per_day=3_000.0) for at in range(1 if smoke else 2)],
    }
    counted: list[tuple[str, int, int, int]] = []
    async with SimulatedMarket(venues, seed=7) as market:
        os.environ.update(market.environment())
        async with open_runtime() as runtime:
            for venue, collector in (("binance", HistoricOHLCVCollector), ("kraken", HistoricTradeCollector)):
                wanted = [Wanted(venue, symbol, days) for symbol in market.symbols(venue)]
                start_us = Clock.from_env().now_us() - days * 86_400_000_000
                await collector(wanted, runtime=runtime).start_collection()  # type: ignore[arg-type]
                end_us = Clock.from_env().now_us()
                requests = market.requests(venue)
                fewest = 1  # of the listings
                for symbol in market.symbols(venue):
                    if venue == "binance":
                        rows = (end_us - start_us) // 60_000_000
                    else:
                        rows = len(market.truth(venue, symbol).trades(start_us, end_us))
                    fewest += -(-rows // PAGE_ROWS)
                counted.append((venue, sum(requests.paths.values()), fewest, requests.refused))
    return counted
