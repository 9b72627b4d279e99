"""How long a first back-fill will take: a page of a few symbols, and the pace that the exchange allows."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from fullon_exchange.clock import Clock, floor_minute_us
from fullon_exchange.errors import ExchangeError
from fullon_exchange.interface import Exchange, Urgency
from fullon_exchange.native import NativeExchange
from fullon_ohlcv_service.history import DAY_US

SAMPLES = 3
SAMPLE_MAX_S = 10.0


async def estimate_s(exchange: Exchange, symbols: Sequence[str], days: int) -> float | None:
    """Return the seconds that `days` of history of all symbols will take; None where no sample could be had."""
    chosen = sorted({symbols[index * (len(symbols) - 1) // (SAMPLES - 1)] for index in range(SAMPLES)})
    costs = []
    for symbol in chosen:
        try:
            async with asyncio.timeout(SAMPLE_MAX_S):
                cost = await _sample(exchange, symbol, days)
        except (TimeoutError, ExchangeError):
            continue
        if cost is not None:
            costs.append(cost)
    return sum(costs) / len(costs) * len(symbols) if costs else None


async def _sample(exchange: Exchange, symbol: str, days: int) -> float | None:
    """Return the seconds that one symbol takes, going by its first page with anything in it."""
    clock = Clock.from_env()
    end_us = floor_minute_us(clock.now_us())
    start_us = end_us - days * DAY_US
    if start_us >= end_us:
        return 0.0
    pages: Any
    if exchange.traits.candles_from_trades:
        pages = exchange.fetch_trades(symbol, start_us, end_us, urgency=Urgency.RECHECK)
    else:
        pages = exchange.fetch_candles(symbol, "1m", start_us, end_us, urgency=Urgency.RECHECK)
    native = exchange if isinstance(exchange, NativeExchange) else None
    spent = native.budget_use().spent if native else 0.0
    begun_s = time.monotonic()
    reached_us = settled_us = pages_read = 0
    async with aclosing(pages) as open_pages:
        async for page in open_pages:
            pages_read += 1
            settled_us = page.interval[1] - page.interval[0]
            reached_us = max(page.interval[1], *(end for (_, end), _ in page.unavailable), 0)
            if page.records:
                break
    if not pages_read:
        return None
    elapsed_s = time.monotonic() - begun_s
    page_s = elapsed_s / pages_read
    if native is not None:
        budget = native.budget_use()
        page_s = max(page_s, (budget.spent - spent) / pages_read / (budget.per_s * clock.speed))
    left = (end_us - reached_us) / settled_us if settled_us > 0 else 0.0
    return page_s * (pages_read + max(0.0, left))
