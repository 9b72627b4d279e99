"""History of exchanges that answer a window only, or refuse a start that is too old, through unmodified ccxt."""

from collections.abc import Iterable

import pytest
from fixed_clock import unix_now_s
from odd_exchanges import OddExchange, coinbaseexchange, gate

from fullon_exchange import open_exchange
from fullon_exchange.clock import MINUTE_US, Clock
from fullon_exchange.history import reasons
from fullon_exchange.records import Candle, Page

NOW_US = 1_767_225_630_000_000
LAST_END_US = NOW_US - NOW_US % MINUTE_US
DAY_US = 24 * 60 * MINUTE_US
BUSY = "BTC/USD"
QUIET = "AAA/USD"


def clock_at_now(speed: float = 1.0) -> Clock:
    """A clock that stands at `NOW_US` and goes on; its speed is that of the rate budget too."""
    return Clock(origin_s=NOW_US / 1e6, unix_s=unix_now_s(), speed=speed)


async def read(name: str, symbol: str, start_us: int, clock: Clock) -> list[Page[Candle]]:
    async with open_exchange(name, clock=clock) as exchange:
        return [page async for page in exchange.fetch_candles(symbol, "1m", start_us, LAST_END_US)]


def opens(pages: Iterable[Page[Candle]]) -> list[int]:
    return [row.timestamp_us for page in pages for row in page.records]


def lost(pages: Iterable[Page[Candle]]) -> list[tuple[int, int, str]]:
    return [(*interval, why.split(":")[0]) for page in pages for interval, why in page.unavailable]


def covered(pages: Iterable[Page[Candle]]) -> int:
    return sum(page.interval[1] - page.interval[0] for page in pages) // MINUTE_US


async def test_a_market_listed_three_days_ago_is_stored_from_its_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_at_now(10.0)
    listed_us = LAST_END_US - 4310 * MINUTE_US
    traded = range(listed_us, LAST_END_US, MINUTE_US)
    busy = range(LAST_END_US - 8 * DAY_US, LAST_END_US, MINUTE_US)
    answers = coinbaseexchange.answers(clock, {BUSY: busy, QUIET: traded})
    async with OddExchange("coinbaseexchange", answers) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        start_us = LAST_END_US - 5 * DAY_US
        pages = await read("coinbaseexchange", QUIET, start_us, clock)
    assert opens(pages) == list(traded)
    assert lost(pages) == [(start_us, listed_us, reasons.LISTED_LATER)]


async def test_six_quiet_hours_and_a_trade_every_seven_minutes_are_verified_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Coinbase documents that a minute without trades has no candle."""
    clock = clock_at_now(10.0)
    quiet = (LAST_END_US - 2 * DAY_US, LAST_END_US - 2 * DAY_US + 360 * MINUTE_US)
    busy = range(LAST_END_US - 8 * DAY_US, LAST_END_US, MINUTE_US)
    rare = [at for at in busy if (at // MINUTE_US) % 7 == 0 and not quiet[0] <= at < quiet[1]]
    answers = coinbaseexchange.answers(clock, {BUSY: busy, QUIET: rare})
    async with OddExchange("coinbaseexchange", answers) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        start_us = LAST_END_US - 3 * DAY_US + MINUTE_US
        pages = await read("coinbaseexchange", QUIET, start_us, clock)
    assert opens(pages) == [at for at in rare if at >= start_us]
    assert lost(pages) == []
    assert covered(pages) == (rare[-1] + MINUTE_US - start_us) // MINUTE_US
    assert all(page.doubtful for page in pages)


async def test_a_start_that_is_too_old_is_moved_to_the_oldest_that_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_at_now()
    minutes = range(LAST_END_US - 30 * DAY_US, LAST_END_US, MINUTE_US)
    young = range(LAST_END_US - 2 * DAY_US, LAST_END_US, MINUTE_US)
    answers = gate.answers(clock, {"BTC/USDT": minutes, "NEW/USDT": young})
    async with OddExchange("gate", answers) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        start_us = LAST_END_US - 20 * DAY_US
        pages = await read("gate", "BTC/USDT", start_us, clock)
        listed = await read("gate", "NEW/USDT", start_us, clock)
    stored = opens(pages)
    assert 9_990 <= len(stored) <= 10_000
    assert stored[-1] == LAST_END_US - MINUTE_US
    assert lost(pages) == [(start_us, stored[0], reasons.RETENTION)]
    assert opens(listed) == list(young)
    assert [why for *_, why in lost(listed)] == [reasons.RETENTION, reasons.LISTED_LATER]
