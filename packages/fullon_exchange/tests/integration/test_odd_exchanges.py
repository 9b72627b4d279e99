"""The servers of `odd_exchanges` answer as told, and an ordinary one is an exchange that can be used."""

import aiohttp
import pytest
from odd_exchanges import OddExchange, Request, kraken

from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock
from fullon_exchange.records import Subscribed


async def test_an_ordinary_kraken_is_listed_timed_and_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    async with OddExchange("kraken", kraken.answers(clock), stream=kraken.stream(clock)) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange("kraken") as exchange:
            assert sorted(await exchange.fetch_listings()) == ["BTC/USD", "ETH/USD"]
            assert abs(await exchange.fetch_time() - clock.now_us()) < 5_000_000
            async with exchange.live() as session:
                await session.subscribe("trades", ["BTC/USD"])
                async for events in session.events():
                    if any(isinstance(event, Subscribed) for event in events):
                        break
        assert odd.sockets[0].received[0]["params"]["symbol"] == ["BTC/USD"]


async def test_a_route_with_names_and_an_unknown_path() -> None:
    def market(request: Request) -> object:
        return {"id": request.names["id"]}

    async with OddExchange("coinbase", {"/markets/{id}": market}) as odd, aiohttp.ClientSession() as session:
        async with session.get(f"{odd.origin}/markets/BTC-USD?x=1") as response:
            assert await response.json() == {"id": "BTC-USD"}
        async with session.get(f"{odd.origin}/other") as response:
            assert response.status == 404
        assert odd.asked_for("/markets/BTC-USD")[0].query == {"x": "1"}
