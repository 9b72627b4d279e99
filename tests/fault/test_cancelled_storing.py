"""Who is cancelled while PostgreSQL says nothing is cancelled within seconds, and not told something else instead."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fault.proxy import FaultProxy

from fullon_ohlcv.records import CandleWrite, Series, TradeWrite
from fullon_ohlcv.store import TimeseriesStore

MINUTE_US = 60_000_000
START_US = 1_700_000_040_000_000
INTERVAL = (START_US, START_US + 5_000 * MINUTE_US)

Call = Callable[[TimeseriesStore, Series, Series], Awaitable[object]]
CALLS: dict[str, Call] = {
    "writing candles": lambda store, candles, trades: store.write_candles(
        [
            CandleWrite(
                candles, [(START_US + n * MINUTE_US, 1.0, 2.0, 1.0, 2.0, 3.0, 4) for n in range(5_000)], [INTERVAL]
            )
        ]
    ),
    "writing trades": lambda store, candles, trades: store.write_trades(
        [TradeWrite(trades, [(START_US + n, 1.0, 2.0, "buy", "", str(n)) for n in range(5_000)], [INTERVAL])]
    ),
    "listing gaps": lambda store, candles, trades: store.gaps({candles: INTERVAL}),
}


@pytest.mark.parametrize(
    ("what", "hung"),
    [
        ("writing candles", "in the middle"),
        ("writing trades", "in the middle"),
        ("listing gaps", "before it hears"),
    ],
)
async def test_who_is_cancelled_while_the_server_says_nothing_is_cancelled_and_nothing_else(
    fresh_databases: None, monkeypatch: pytest.MonkeyPatch, what: str, hung: str
) -> None:
    async with FaultProxy.postgres() as proxy:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in proxy.environment().items():
                patch.setenv(name, value)
            async with TimeseriesStore.open(pool_max=1) as store:
                candles = await store.series("kraken", "BTC/USD", "candles1m")
                trades = await store.series("kraken", "BTC/USD", "trades")
                passed = proxy.passed["requests"]
                if hung == "before it hears":
                    await proxy.hang("replies")
                task = asyncio.ensure_future(CALLS[what](store, candles, trades))
                while proxy.passed["requests"] == passed:
                    await asyncio.sleep(0)
                await proxy.hang()
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task], timeout=25)
                assert task.cancelled()
                await proxy.heal()
                assert (await store.gaps({candles: INTERVAL}))[candles] == [INTERVAL]
