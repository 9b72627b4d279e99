"""The retry policy of HTTP, against a real server that misbehaves."""

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from fixed_clock import wall_now

from fullon_exchange.backoff import Backoff
from fullon_exchange.binance.mapper import BinanceHttp
from fullon_exchange.budget import BudgetSpec, RateBudget
from fullon_exchange.errors import (
    ExchangeUnavailable,
    MalformedMessage,
    RateLimited,
    RequestRefused,
    UnknownSymbol,
)
from fullon_exchange.http import HttpClient, parse_retry_after
from fullon_exchange.kraken.mapper import KrakenHttp

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
GOOD = b'{"error":[],"result":{"answer":42}}'


class Script:
    """Answers in order, the last one for ever."""

    def __init__(self, *answers: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return await answer(request)


def says(body: bytes = GOOD, status: int = 200, **headers: str):  # type: ignore[no-untyped-def]
    async def answer(request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, status=status, headers=named)

    return answer


async def breaks_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(GOOD) + 10)})
    await response.prepare(request)
    await response.write(GOOD)
    assert request.transport is not None
    request.transport.close()
    return response


async def hangs(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


def client(origin: str, dialect: KrakenHttp | BinanceHttp | None = None, **options: float) -> HttpClient:
    budget = RateBudget(BudgetSpec(per_s=1000, burst=100, window_max=1000), speed=options.pop("speed", 1.0))
    return HttpClient(
        "kraken",
        origin,
        budget,
        dialect or KrakenHttp(),
        timeout_s=options.pop("timeout_s", 5.0),
        backoff=lambda: Backoff(0.001, 0.01),
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    "trouble",
    [
        says(b"<html>busy</html>", 200),
        says(b"<html>busy</html>", 503),
        says(b"", 200),
        says(b'{"error":["EService:Unavailable"]}', 200),
        says(b'{"error":["EGeneral:Internal error"]}', 500),
        says(b'{"error":[],"result":{"answer', 200),
        says(b"", 302, Location="http://127.0.0.1:1/"),
        breaks_off,
    ],
    ids=["html", "503", "empty", "error-in-200", "internal", "half-json", "redirect", "breaks-off"],
)
async def test_a_passing_trouble_is_asked_again(serve: Serve, trouble: Callable[..., Awaitable[web.Response]]) -> None:
    script = Script(trouble, trouble, says())
    async with client(await serve(script)) as http:
        assert await http.get("/x", {}, len) == len(GOOD)
    assert script.asked == 3


async def test_a_time_out_is_asked_again(serve: Serve) -> None:
    script = Script(hangs, says())
    async with client(await serve(script), timeout_s=0.05) as http:
        assert await http.get("/x", {}, len) == len(GOOD)


async def test_a_lasting_trouble_is_raised_after_a_bounded_number_of_attempts(serve: Serve) -> None:
    script = Script(says(b"<html>maintenance</html>", 200))
    async with client(await serve(script)) as http:
        with pytest.raises(ExchangeUnavailable, match="something else than JSON: <html>maintenance") as raised:
            await http.get("/x", {}, len)
    assert script.asked == 4
    assert raised.value.retryable


async def test_nobody_listening_is_unavailable() -> None:
    async with client("http://127.0.0.1:9") as http:
        with pytest.raises(ExchangeUnavailable, match="no answer to /x"):
            await http.get("/x", {}, len)


@pytest.mark.parametrize("status", [429, 418])
async def test_retry_after_is_waited_for_by_everybody(serve: Serve, status: int) -> None:
    script = Script(says(b"", status, Retry_After="5"), says())
    async with client(await serve(script), speed=50.0) as http:
        started = time.monotonic()
        assert await http.get("/x", {}, len) == len(GOOD)
        assert time.monotonic() - started >= 5 / 50 * 0.9
    assert script.asked == 2


async def test_a_long_ban_is_raised_at_once_and_nobody_asks_meanwhile(serve: Serve) -> None:
    script = Script(says(b"", 418, Retry_After="7200"))
    async with client(await serve(script)) as http:
        with pytest.raises(RateLimited) as banned:
            await http.get("/x", {}, len)
        with pytest.raises(RateLimited):
            await http.get("/y", {}, len)
    assert banned.value.retry_after_s == pytest.approx(7200, abs=5)
    assert script.asked == 1


async def test_too_many_requests_in_http_200_is_a_rate_limit(serve: Serve) -> None:
    script = Script(says(b'{"error":["EGeneral:Too many requests"]}'), says())
    async with client(await serve(script), speed=200.0) as http:
        assert await http.get("/x", {}, len) == len(GOOD)


@pytest.mark.parametrize(
    ("dialect", "body", "status", "error"),
    [
        (KrakenHttp(), b'{"error":["EQuery:Unknown asset pair"]}', 200, UnknownSymbol),
        (KrakenHttp(), b'{"error":["EGeneral:Invalid arguments"]}', 200, RequestRefused),
        (BinanceHttp(), b'{"code":-1121,"msg":"Invalid symbol."}', 400, UnknownSymbol),
        (BinanceHttp(), b'{"code":-1100,"msg":"Illegal characters"}', 400, RequestRefused),
        (KrakenHttp(), b"not found", 404, RequestRefused),
    ],
)
async def test_a_refusal_is_raised_as_what_it_means_and_not_repeated(
    serve: Serve, dialect: KrakenHttp | BinanceHttp, body: bytes, status: int, error: type[Exception]
) -> None:
    script = Script(says(body, status))
    async with client(await serve(script), dialect) as http:
        with pytest.raises(error):
            await http.get("/x", {}, len)
    assert script.asked == 1


async def test_an_answer_of_the_wrong_shape_is_asked_for_once_more(serve: Serve) -> None:
    def refuse(body: bytes) -> int:
        raise MalformedMessage("no", excerpt=body)

    script = Script(says())
    async with client(await serve(script)) as http:
        with pytest.raises(MalformedMessage):
            await http.get("/x", {}, refuse)
    assert script.asked == 2


async def test_a_body_without_bound_is_refused(serve: Serve) -> None:
    async with client(await serve(Script(says(b"[" + b"1," * 5000 + b"1]"))), body_max=1000) as http:
        with pytest.raises(ExchangeUnavailable, match="more than 1000 bytes"):
            await http.get("/x", {}, len)


async def test_compressed_answers_are_read(serve: Serve) -> None:
    async with client(await serve(Script(says(gzip.compress(GOOD), Content_Encoding="gzip")))) as http:
        assert await http.get("/x", {}, len) == len(GOOD)


async def test_the_weight_the_venue_reports_is_taken_over(serve: Serve) -> None:
    async with client(await serve(Script(says(X_MBX_USED_WEIGHT_1M="995"))), BinanceHttp()) as http:
        await http.get("/x", {}, len)
        assert http.budget.use().available < 10


async def test_a_client_that_was_not_entered_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await client("http://127.0.0.1:9").get("/x", {}, len)


def test_retry_after_is_a_number_or_a_date() -> None:
    assert parse_retry_after("17") == 17
    later = format_datetime(wall_now() + timedelta(seconds=90), usegmt=True)
    assert parse_retry_after(later) == pytest.approx(90, abs=2)
    assert parse_retry_after(format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)) == 0
    assert parse_retry_after("soon") is None
    assert parse_retry_after("") is None
