"""HTTP 403 and 451 mean "not served from here", whatever the body: over REST and at a WebSocket's handshake."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from odd_exchanges import OddExchange, binance, kraken

from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock
from fullon_exchange.errors import NotServedHere
from fullon_log import configure_logger

BODIES = {
    "kraken": {"error": ["EGeneral:Permission denied"]},
    "binance": {"code": 0, "msg": "Service unavailable from a restricted location"},
}


def refusal(name: str, status: int) -> web.Response:
    return web.json_response(BODIES[name], status=status)


@pytest.mark.parametrize("via", ["native", "ccxt"])
@pytest.mark.parametrize("name", ["kraken", "binance"])
@pytest.mark.parametrize("status", [403, 451])
async def test_a_country_that_is_not_served_is_no_refused_request(
    name: str, via: Any, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with OddExchange(name, {"/{path:.*}": lambda _: refusal(name, status)}) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange(name, via=via) as exchange:
            with pytest.raises(NotServedHere) as raised:
                await exchange.fetch_listings()
        sentence = str(raised.value)
        assert raised.value.retryable
        assert raised.value.status == status
        assert f"not served from here: HTTP {status} to " in sentence
        assert sentence.endswith(f"; FULLON_{name.upper()}_PROXY can name a proxy for it")
        asked = len(odd.asked)
    assert asked <= 4  # each of the questions that a list of markets takes, once


@pytest.mark.parametrize("via", ["native", "ccxt"])
async def test_a_websocket_that_is_not_served_is_logged_once_and_tried_again_calmly(
    via: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock, refused = Clock(), 0

    def refuse() -> web.Response:
        nonlocal refused
        refused += 1
        return refusal("kraken", 451)

    configure_logger(level="INFO", console=True, file_path="")
    async with OddExchange("kraken", kraken.answers(clock), stream=kraken.stream(clock), upgrade=refuse) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange("kraken", via=via) as exchange, exchange.live() as session:
            await session.subscribe("trades", ["BTC/USD"])
            async with asyncio.timeout(30):
                while refused < 3:
                    await asyncio.sleep(0.01)
    logged = [line for line in capfd.readouterr().err.splitlines() if "not served from here: HTTP 451" in line]
    assert len(logged) == 1
    assert "FULLON_KRAKEN_PROXY can name a proxy for it" in logged[0]


async def test_an_ordinary_binance_is_listed_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with OddExchange("binance", binance.answers(Clock()), stream=binance.stream) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange("binance") as exchange:
            assert sorted(await exchange.fetch_listings()) == ["BTC/USDT", "ETH/USDT"]
            assert await exchange.fetch_time() > 0
