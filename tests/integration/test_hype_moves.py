"""HYPE/USDC is @107; later a second token of that name is listed as @250: the closes of a series never jump."""

import asyncio
from typing import Any

import pytest
from fixed_clock import set_market_clock
from odd_exchanges import OddExchange, Request, Socket, hyperliquid
from support import eventually, running_daemon

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_log import configure_logger
from fullon_ohlcv.records import Lifecycle
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service import market_watch
from fullon_ohlcv_service.cli import main
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_orm import DatabaseContext, init_db
from fullon_orm.models import User

HYPE = ("hyperliquid", "HYPE/USDC")
CLOSES = {"@107": "25.0", "@250": "0.0001"}
TOKENS = [hyperliquid.token(0, "USDC"), hyperliquid.token(107, "HYPE"), hyperliquid.token(250, "HYPE")]
FIRST, SECOND = hyperliquid.spot(107), hyperliquid.spot(250)


def candle(coin: str, opened_ms: int) -> dict[str, Any]:
    prices = dict.fromkeys("ohlc", CLOSES[coin])
    return prices | {"t": opened_ms, "T": opened_ms + 59_999, "s": coin, "i": "1m", "v": "1.0", "n": 1}


def answers(clock: Clock, *universe: Any) -> dict[str, Any]:
    """Return what Hyperliquid answers while these are its spot markets: a candle in every minute of each."""
    ordinary = hyperliquid.answers(clock, tokens=TOKENS, universe=universe)

    def info(request: Request) -> Any:
        if request.body["type"] != "candleSnapshot":
            return ordinary["/info"](request)  # type: ignore[operator]  # it is a function
        asked = request.body["req"]
        minutes_ms = range(-(-asked["startTime"] // 60_000) * 60_000, asked["endTime"] + 1, 60_000)
        now_ms = clock.now_us() // 1000
        return [candle(asked["coin"], at_ms) for at_ms in minutes_ms if at_ms <= now_ms][-5000:]

    return {"/info": info}


async def acknowledge(socket: Socket, message: Any) -> None:
    if message["method"] == "ping":
        await socket.send({"channel": "pong"})
    else:
        await socket.send({"channel": "subscriptionResponse", "data": message})


async def test_the_close_of_hype_does_not_jump_when_a_second_hype_is_listed(
    fresh_databases: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_market_clock(monkeypatch, 60.0)
    monkeypatch.setattr(market_watch, "EXAMINE_EVERY_S", 60.0)
    monkeypatch.setattr(market_watch, "NEWS_S", 10.0)
    clock = Clock.from_env()
    async with (
        OddExchange("hyperliquid", answers(clock, FIRST), stream=acknowledge) as odd,
        TimeseriesStore.open(now_us=clock.now_us) as store,
    ):
        monkeypatch.setenv(odd.variable, odd.origin)
        await init_db()
        async with DatabaseContext() as db:
            mail = OhlcvServiceConfig.from_env().admin_mail
            await db.users.add_user(User(mail=mail, password="-", name="Admin", lastname="Admin"))
            await db.commit()
        wanted = ["symbols", "add", "hyperliquid:HYPE/USDC", "--backtest", "1", "--yes"]
        for command in (["exchanges", "add", "hyperliquid"], wanted):
            assert await asyncio.to_thread(main, command) == 0
        configure_logger(level="INFO", console=True, file_path="")  # commands are quiet
        series = await store.series(*HYPE, "candles1m")

        async def closes() -> list[float]:
            return [row[4] for row in await store.read_candles(series, (0, clock.now_us()))]

        async def is_collected_to(minute_us: int) -> bool:
            runs = await store.coverage_intervals(series, (minute_us, minute_us + MINUTE_US))
            return [run.state.value for run in runs] == ["covered"]

        async def is_in(state: Lifecycle) -> bool:
            return (await store.read_states())[HYPE].state is state

        async def until_collected() -> None:
            minute_us = floor_minute_us(clock.now_us())
            await eventually(lambda: is_collected_to(minute_us), "collected")

        async with running_daemon():
            await until_collected()
            odd.answers |= answers(clock, SECOND)
            await eventually(lambda: is_in(Lifecycle.DELISTED), "refused")
            logged = capfd.readouterr().err
            assert logged.count("a name means another market now and is refused") == 1
            assert "unknown symbol" not in logged  # nor is the other market proposed in its place
        async with running_daemon():
            assert await is_in(Lifecycle.DELISTED)
            odd.answers |= answers(clock, SECOND, FIRST)
            await eventually(lambda: is_in(Lifecycle.ACTIVE), "its own market is back")
            await until_collected()
        assert set(await closes()) == {25.0}
        asked = {one.body["req"]["coin"] for one in odd.asked if one.body["type"] == "candleSnapshot"}
        heard = {m["subscription"]["coin"] for one in odd.sockets for m in one.received if "subscription" in m}
        assert asked == {"@107"}
        assert heard <= {"@107"}
