"""An exchange that refuses a country with JSON is unreachable, logged once, and reached once it serves."""

import asyncio

import pytest
from aiohttp import web
from odd_exchanges import OddExchange, binance
from support import eventually

from fullon_exchange.clock import Clock
from fullon_ohlcv_service import runtime
from fullon_ohlcv_service.runtime import Exchanges
from fullon_ohlcv_service.status import StatusBoard


async def no_market_ids(_: str) -> dict[str, str]:
    return {}


async def test_a_country_that_is_refused_is_a_problem_of_the_exchange_logged_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "REACH_FIRST_S", 0.01)
    monkeypatch.setattr(runtime, "REACH_MAX_S", 0.05)
    clock = Clock()
    board, answers = StatusBoard(clock), binance.answers(clock)
    refusal = {"code": 0, "msg": "Service unavailable from a restricted location"}
    async with OddExchange("binance", answers) as odd:
        odd.answers["/api/v3/exchangeInfo"] = lambda _: web.json_response(refusal, status=451)
        monkeypatch.setenv(odd.variable, odd.origin)
        exchanges = Exchanges(clock, board, 1000, no_market_ids)
        try:
            reaching = asyncio.create_task(exchanges.reach("binance"))
            await eventually(lambda: len(odd.asked) >= 4, "asked again and again")
            assert "not served from here: HTTP 451" in board.venue_problems["binance"]
            assert "FULLON_BINANCE_PROXY" in board.venue_problems["binance"]
            odd.answers["/api/v3/exchangeInfo"] = answers["/api/v3/exchangeInfo"]
            _, listings = await reaching
            assert "BTC/USDT" in listings
            assert board.venue_problems == {}
        finally:
            await exchanges.close()
    errors = capfd.readouterr().err
    assert errors.count("not served from here") == 1
    assert "Traceback" not in errors
