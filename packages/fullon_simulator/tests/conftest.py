"""Markets for the tests: small, accelerated where a test watches minutes go by."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from fullon_simulator import MarketClock, SimulatedMarket, SymbolSpec

NOON_US = 1_767_268_800_000_000
"""2026-01-01 12:00 UTC: where most test clocks start."""
DAY_US = 86_400_000_000


def specs(quote: str) -> list[SymbolSpec]:
    """Return one market of each kind, one of them listed three hours before `NOON_US`."""
    return [
        SymbolSpec(f"BTC/{quote}", 60_000, price=100_000, price_decimals=1, volume_decimals=8),
        SymbolSpec(f"ETH/{quote}", 20_000, price=3_500),
        SymbolSpec(f"DOGE/{quote}", 30, price=0.2, kind="quiet"),
        SymbolSpec(f"BAT/{quote}", 0.2, price=0.3, kind="dead"),
        SymbolSpec(f"NEW/{quote}", 4_000, price=7, listed_at_us=NOON_US - 3 * 3_600_000_000 + 25_000_000),
    ]


VENUES = {"kraken": specs("USD"), "binance": specs("USDT")}


@pytest.fixture
async def market() -> AsyncIterator[SimulatedMarket]:
    """A market at noon in real time, without rate limits."""
    async with SimulatedMarket(VENUES, clock=MarketClock.starting_at(NOON_US), rate_limits=False) as market:
        yield market


@pytest.fixture
async def fast_market() -> AsyncIterator[SimulatedMarket]:
    """A market from noon on at sixty times the pace: a minute takes a second."""
    clock = MarketClock.starting_at(NOON_US, speed=60)
    async with SimulatedMarket(VENUES, clock=clock, rate_limits=False) as market:
        yield market


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose requests end within ten seconds."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
