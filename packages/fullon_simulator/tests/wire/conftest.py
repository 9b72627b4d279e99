"""A market of four venues that is cheap to start, and plain clients of it."""

import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from wire_clients import (
    NOON_US,
    PATIENCE_S,
    SPEED,
    VENUES,
    Client,
    tapes,
)

from fullon_simulator import MarketClock, SimulatedMarket


@pytest.fixture
async def market() -> AsyncIterator[SimulatedMarket]:
    """Four venues with two busy symbols each; a minute takes half a second."""
    venues = {name: tapes(name) for name in VENUES}
    clock = MarketClock.starting_at(NOON_US, speed=SPEED)
    async with SimulatedMarket(venues, clock=clock, rate_limits=False) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, json_serialize=json.dumps) as session:
        yield session


@pytest.fixture
def client(market: SimulatedMarket, http: aiohttp.ClientSession) -> Callable[[str], Client]:
    return lambda name: Client(market, name, http)
