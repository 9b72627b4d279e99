"""A market that has ended is let go: whoever starts one for each test does not collect them."""

import gc
import weakref

import aiohttp
from fixed_clock import BEGINS_US

from fullon_simulator import MarketClock, SimulatedMarket


async def test_a_market_that_has_ended_holds_no_memory() -> None:
    venues = {"kraken": 2, "binance": 2, "hyperliquid": 2, "bitmex": 2}
    async with SimulatedMarket(venues, seed=3, clock=MarketClock.starting_at(BEGINS_US)) as market:
        async with aiohttp.ClientSession() as client:
            for name, path in ("kraken", "/0/public/Time"), ("binance", "/api/v3/time"), ("bitmex", "/api/v1/trade"):
                async with client.get(market.origin(name) + path) as answer:
                    await answer.read()
            async with client.post(market.origin("hyperliquid") + "/info", json={"type": "meta"}) as answer:
                assert answer.status == 200
        kept = [weakref.ref(market.venue(name)) for name in market.origins()]
    del market
    gc.collect()
    assert [venue() for venue in kept] == [None] * 4
