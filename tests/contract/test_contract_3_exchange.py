"""Contract, section 3: fullon_exchange, on simulated venues."""

import asyncio
import inspect
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fullon_exchange import open_exchange
from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.queue import ExchangeQueue
from fullon_exchange.queue.priority import Priority, PriorityLevel
from fullon_exchange.records import Trades, Watermark
from fullon_orm.models import Trade
from fullon_simulator import SimulatedMarket

SYMBOLS = {"kraken": "BTC/USD", "binance": "BTC/USDT", "bitmex": "BTC/USD:BTC", "hyperliquid": "BTC/USDC:USDC"}
PATIENCE_S = 20.0


def an_account(exchange: str, ex_id: int = 1) -> SimpleNamespace:
    """All that a handler needs to know."""
    return SimpleNamespace(ex_id=ex_id, uid=1, test=False, cat_exchange=SimpleNamespace(name=exchange))


class Heard:
    """A callback that remembers what it was called with."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._news = asyncio.Event()

    async def __call__(self, value: Any) -> None:
        self.values.append(value)
        self._news.set()

    async def until(self, enough: Callable[[list[Any]], bool]) -> list[Any]:
        async with asyncio.timeout(PATIENCE_S):
            while not enough(self.values):
                self._news.clear()
                await self._news.wait()
        return self.values


class TestQueue:
    def test_its_methods_are_async_classmethods(self) -> None:
        for name in ("initialize_factory", "shutdown_factory", "get_rest_handler", "get_websocket_handler"):
            method = inspect.getattr_static(ExchangeQueue, name)
            assert isinstance(method, classmethod)
            assert inspect.iscoroutinefunction(method.__func__)

    async def test_initialising_and_shutting_down_are_idempotent_and_optional(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_rest_handler(an_account("binance"))
        for _ in range(2):
            await ExchangeQueue.initialize_factory()
        assert await ExchangeQueue.get_rest_handler(an_account("binance")) is handler
        for _ in range(2):
            await ExchangeQueue.shutdown_factory()

    async def test_handlers_are_cached_per_account(self, venues: SimulatedMarket) -> None:
        for get in (ExchangeQueue.get_rest_handler, ExchangeQueue.get_websocket_handler):
            one, same, other = [await get(an_account("binance", ex_id)) for ex_id in (1, 1, 2)]
            assert one is same
            assert one is not other

    async def test_handlers_are_connected(self, venues: SimulatedMarket) -> None:
        assert (await ExchangeQueue.get_websocket_handler(an_account("kraken"))).is_connected()
        rest = await ExchangeQueue.get_rest_handler(an_account("kraken"))
        assert await rest.get_ohlcv("BTC/USD", "1m", limit=1)

    async def test_empty_credentials_mean_public_data(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_rest_handler(an_account("binance"), credential_provider=lambda _: ("", ""))
        assert await handler.get_ohlcv("BTC/USDT", limit=1)

    async def test_an_unknown_exchange_is_an_error_that_lists_near_names(self) -> None:
        for get in (ExchangeQueue.get_rest_handler, ExchangeQueue.get_websocket_handler):
            with pytest.raises(ValueError, match="kraken"):
                await get(an_account("krakenn"))
        await ExchangeQueue.shutdown_factory()


class TestRest:
    async def test_connecting_and_disconnecting_are_idempotent(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_rest_handler(an_account("binance"))
        for action in (handler.connect, handler.connect, handler.disconnect, handler.disconnect, handler.connect):
            await action()

    async def test_candles_are_the_markets_oldest_first_in_milliseconds(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_rest_handler(an_account("binance"))
        since_us = floor_minute_us(venues.clock.now_us()) - 90 * MINUTE_US
        rows = await handler.get_ohlcv("BTC/USDT", timeframe="1m", since=since_us // 1000, limit=10)
        true = venues.truth("binance", "BTC/USDT").candles(since_us, since_us + 90 * MINUTE_US)[:10]
        traded = [row for row in rows if row[5]]
        assert traded
        assert traded == [[one.timestamp_us // 1000, *one[1:6]] for one in true][: len(traded)]
        assert len(await handler.get_ohlcv("BTC/USDT")) > 10

    async def test_trades_are_the_markets_from_epoch_seconds_on(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_rest_handler(an_account("kraken"))
        since_us = floor_minute_us(venues.clock.now_us()) - 60 * MINUTE_US
        rows = await handler.get_public_trades("BTC/USD", since=since_us / 1e6, limit=20)
        true = venues.truth("kraken", "BTC/USD").trades(since_us, since_us + 60 * MINUTE_US)[:20]
        assert [(row["id"], row["timestamp"], row["price"], row["amount"], row["side"]) for row in rows] == [
            (one.trade_id, one.timestamp_us // 1000, one.price, one.volume, one.side) for one in true
        ]

    @pytest.mark.parametrize("exchange", SYMBOLS)
    async def test_only_krakens_candles_are_made_from_trades(self, exchange: str, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_rest_handler(an_account(exchange))
        assert handler.needs_trades_for_ohlcv() is (exchange == "kraken")
        assert handler.supports_ohlcv()
        assert handler.supports_1m_ohlcv()
        assert {"1m", "1h", "1d"} <= set(handler.get_supported_timeframes())


class TestWebsocket:
    async def test_it_says_what_it_has_and_whether_it_is_connected(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_websocket_handler(an_account("binance"))
        for _ in range(2):
            await handler.connect()
        assert handler.is_connected()
        assert {name: handler.has[name] for name in ("ws", "watchOHLCV", "watchTrades")} == {
            "ws": True,
            "watchOHLCV": True,
            "watchTrades": True,
        }
        for _ in range(2):
            await handler.disconnect()
        assert not handler.is_connected()

    async def test_candles_and_trades_come_through_one_handler_to_callbacks(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_websocket_handler(an_account("binance"))
        candles, trades, ticker = Heard(), Heard(), Heard()
        ids = [
            await handler.subscribe_ohlcv("BTC/USDT", "1m", candles),
            await handler.subscribe_trades("BTC/USDT", trades),
            await handler.subscribe_ticker("BTC/USDT", ticker),
        ]
        assert len(set(ids)) == 3
        [first] = (await candles.until(bool))[0]
        assert len(first) == 6
        assert first[0] % 60_000 == 0
        [trade] = (await trades.until(bool))[:1]
        assert isinstance(trade, Trade)
        assert (trade.symbol, trade.side in {"buy", "sell"}, trade.cost) == (
            "BTC/USDT",
            True,
            trade.price * trade.volume,
        )
        assert (await ticker.until(bool))[0]["symbol"] == "BTC/USDT"
        assert venues.requests("binance").sockets <= 2

    async def test_candles_come_while_in_progress_too(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_websocket_handler(an_account("binance"))
        candles = Heard()
        await handler.subscribe_ohlcv("BTC/USDT", "1m", candles)
        values = await candles.until(lambda all_: len(all_) > len({each[0][0] for each in all_}) > 2)
        assert [each[0][0] for each in values] == sorted(each[0][0] for each in values)

    async def test_after_unsubscribing_nothing_more_comes(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_websocket_handler(an_account("kraken"))
        gone, stays = Heard(), Heard()
        subscription_id = await handler.subscribe_trades("BTC/USD", gone)
        await handler.subscribe_trades("BTC/USD", stays)
        await gone.until(bool)
        assert await handler.unsubscribe(subscription_id)
        count, before = len(gone.values), len(stays.values)
        await stays.until(lambda all_: len(all_) > before + 2)
        assert len(gone.values) == count
        assert not await handler.unsubscribe(subscription_id)


class TestPriority:
    def test_its_levels_are_the_documented_ones(self) -> None:
        levels = {"URGENT": 1, "HIGH": 2, "NORMAL": 5, "LOW": 8, "BULK": 10}
        assert {one.name: one.value for one in PriorityLevel} == levels

    async def test_a_request_takes_one(self, venues: SimulatedMarket) -> None:
        handler = await ExchangeQueue.get_rest_handler(an_account("binance"))
        urgent = Priority(level=PriorityLevel.URGENT, timeout=10.0, bypass_rate_limit=False)
        assert await handler.get_ohlcv("BTC/USDT", limit=2, priority=urgent)


async def test_market_data_only_no_orders_and_no_balances(venues: SimulatedMarket) -> None:
    account = an_account("binance")
    handlers = [await ExchangeQueue.get_rest_handler(account), await ExchangeQueue.get_websocket_handler(account)]
    names = [name for handler in handlers for name in dir(handler)]
    assert not [name for name in names if "order" in name.lower() or "balance" in name.lower()]


async def test_the_service_uses_the_batch_wise_interface_underneath(venues: SimulatedMarket) -> None:
    """History as async iterators of pages, live data as events in order."""
    end_us = floor_minute_us(venues.clock.now_us()) - MINUTE_US
    async with open_exchange("kraken") as exchange:
        pages = [page async for page in exchange.fetch_trades("BTC/USD", end_us - 30 * MINUTE_US, end_us)]
        assert sum(end - start for page in pages for start, end in [page.interval]) == 30 * MINUTE_US
        async with exchange.live() as session:
            await session.subscribe("trades", ["BTC/USD"])
            kinds: set[type] = set()
            give_up_s = time.monotonic() + PATIENCE_S
            async for events in session.events():
                kinds |= {type(event) for event in events}
                if {Trades, Watermark} <= kinds or time.monotonic() > give_up_s:
                    break
    assert {Trades, Watermark} <= kinds
