"""The documented face: handlers by account, plain rows, callbacks; against the simulated market."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from fullon_exchange.errors import NotSupported, UnknownExchange, UnknownSymbol
from fullon_exchange.interface import Urgency
from fullon_exchange.queue import ExchangeQueue
from fullon_exchange.queue.priority import Priority, PriorityLevel
from fullon_orm.models import Trade

simulator: Any = pytest.importorskip("fullon_simulator")

START_US = 1_767_225_600_000_000
MARKETS = {"kraken": ("BTC/USD", "ETH/USD"), "binance": ("BTC/USDT", "ETH/USDT")}
VENUES = sorted(MARKETS)


def account(name: str, ex_id: int = 1) -> Any:
    return SimpleNamespace(ex_id=ex_id, uid=7, test=False, cat_exchange=SimpleNamespace(name=name))


@pytest.fixture
async def market(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    clock = simulator.MarketClock.starting_at(START_US, speed=20)
    venues = {name: [simulator.SymbolSpec(symbol, 400_000) for symbol in MARKETS[name]] for name in VENUES}
    async with simulator.SimulatedMarket(venues, seed=3, clock=clock) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        yield market
        await ExchangeQueue.shutdown_factory()


async def test_starting_and_stopping_the_factory_is_harmless_at_any_time() -> None:
    await ExchangeQueue.shutdown_factory()
    await ExchangeQueue.initialize_factory()
    await ExchangeQueue.initialize_factory()
    await ExchangeQueue.shutdown_factory()
    await ExchangeQueue.shutdown_factory()


def test_a_factory_of_an_ended_loop_is_replaced() -> None:
    asyncio.run(ExchangeQueue.initialize_factory())
    asyncio.run(ExchangeQueue.initialize_factory())
    asyncio.run(ExchangeQueue.shutdown_factory())


async def test_handlers_are_connected_and_cached_by_account(market: Any) -> None:
    rest = await ExchangeQueue.get_rest_handler(account("kraken"))
    assert rest.is_connected()
    assert await ExchangeQueue.get_rest_handler(account("kraken"), lambda exchange: ("", "")) is rest
    other = await ExchangeQueue.get_rest_handler(account("kraken", ex_id=2))
    assert other is not rest
    assert other.exchange is rest.exchange, "the venue itself is shared: its data is the same for everybody"
    live = await ExchangeQueue.get_websocket_handler(account("kraken"))
    assert live.is_connected()
    assert await ExchangeQueue.get_websocket_handler(account("kraken")) is live


async def test_an_unknown_exchange_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownExchange, match="did you mean"):
        await ExchangeQueue.get_rest_handler(account("binanse"))


async def test_what_a_venue_can_do_is_told(market: Any) -> None:
    kraken = await ExchangeQueue.get_rest_handler(account("kraken"))
    binance = await ExchangeQueue.get_rest_handler(account("binance"))
    assert kraken.needs_trades_for_ohlcv()
    assert not binance.needs_trades_for_ohlcv()
    assert kraken.supports_ohlcv()
    assert kraken.supports_1m_ohlcv()
    assert kraken.get_supported_timeframes()[:2] == ["1m", "5m"]
    live = await ExchangeQueue.get_websocket_handler(account("binance"))
    assert {"ws", "watchOHLCV", "watchTrades"} <= live.has.keys()


@pytest.mark.parametrize("name", VENUES)
async def test_candles_are_rows_oldest_first(market: Any, name: str) -> None:
    handler = await ExchangeQueue.get_rest_handler(account(name))
    symbol = MARKETS[name][0]
    since_ms = START_US // 1000 - 3_600_000
    rows = await handler.get_ohlcv(symbol, "1m", since=since_ms, limit=10)
    assert [row[0] for row in rows] == list(range(since_ms, since_ms + 600_000, 60_000))
    told = market.truth(name, symbol).candles(since_ms * 1000, since_ms * 1000 + 600_000_000)
    assert rows == [
        [candle.timestamp_us // 1000, candle.open, candle.high, candle.low, candle.close, candle.volume]
        for candle in told
    ]
    newest = await handler.get_ohlcv(symbol, limit=3)
    assert len(newest) == 3
    assert newest[-1][0] >= START_US // 1000 - 120_000
    with pytest.raises(NotSupported, match="allowed are 1"):
        await handler.get_ohlcv(symbol, "7m")
    with pytest.raises(ValueError, match="limit is 0"):
        await handler.get_ohlcv(symbol, limit=0)
    with pytest.raises(UnknownSymbol):
        await handler.get_ohlcv("NO/PE")


@pytest.mark.parametrize("name", VENUES)
async def test_public_trades_are_dicts_from_a_moment_on(market: Any, name: str) -> None:
    handler = await ExchangeQueue.get_rest_handler(account(name))
    symbol = MARKETS[name][0]
    since = START_US / 1_000_000 - 600
    trades = await handler.get_public_trades(symbol, since=since, limit=50, priority=Priority(PriorityLevel.HIGH, 30))
    truth = market.truth(name, symbol)
    told = (truth.trades if name == "kraken" else truth.aggregates)(START_US - 600_000_000, START_US)[:50]
    assert [(one["id"], one["timestamp"], one["price"], one["amount"], one["side"]) for one in trades] == [
        (str(one.trade_id), one.timestamp_us // 1000, one.price, one.volume, one.side) for one in told
    ]
    assert len(await handler.get_public_trades(symbol, limit=5)) == 5


@pytest.mark.parametrize("name", VENUES)
async def test_callbacks_get_trades_candles_and_tickers_over_one_socket(market: Any, name: str) -> None:
    handler = await ExchangeQueue.get_websocket_handler(account(name))
    symbol = MARKETS[name][0]
    trades: list[Trade] = []
    candles: list[Any] = []
    tickers: list[Any] = []
    enough = asyncio.Event()

    def note(into: list[Any]) -> Any:
        async def callback(value: Any) -> None:
            into.append(value)
            if trades and candles and tickers:
                enough.set()

        return callback

    identities = [
        await handler.subscribe_trades(symbol, note(trades)),
        await handler.subscribe_ohlcv(symbol, "1m", note(candles)),
        await handler.subscribe_ticker(symbol, note(tickers)),
    ]
    assert len(set(identities)) == 3
    async with asyncio.timeout(20):
        await enough.wait()
    assert isinstance(trades[0], Trade)
    assert (trades[0].symbol, trades[0].uid, trades[0].ex_id) == (symbol, 7, 1)
    assert trades[0].cost == trades[0].price * trades[0].volume
    assert trades[0].time is not None
    ((open_ms, *values),) = candles[0]
    assert open_ms % 60_000 == 0
    assert len(values) == 5
    assert tickers[0]["symbol"] == symbol
    assert market.requests(name).sockets == 1
    for identity in identities:
        assert await handler.unsubscribe(identity)
        assert not await handler.unsubscribe(identity)


async def test_a_callback_that_fails_disturbs_no_other(market: Any) -> None:
    handler = await ExchangeQueue.get_websocket_handler(account("kraken"))
    received: list[Trade] = []
    enough = asyncio.Event()

    async def fails(trade: Trade) -> None:
        raise RuntimeError("mine")

    async def works(trade: Trade) -> None:
        received.append(trade)
        if len(received) >= 3:
            enough.set()

    await handler.subscribe_trades("BTC/USD", fails)
    await handler.subscribe_trades("BTC/USD", works)
    async with asyncio.timeout(20):
        await enough.wait()


async def test_disconnecting_is_idempotent_and_connecting_again_works(market: Any) -> None:
    handler = await ExchangeQueue.get_websocket_handler(account("binance"))
    await handler.disconnect()
    await handler.disconnect()
    assert not handler.is_connected()
    again = await ExchangeQueue.get_websocket_handler(account("binance"))
    assert again is handler
    assert handler.is_connected()


async def test_what_cannot_be_streamed_is_refused_at_once(market: Any) -> None:
    handler = await ExchangeQueue.get_websocket_handler(account("kraken"))

    async def callback(value: Any) -> None: ...

    with pytest.raises(UnknownSymbol):
        await handler.subscribe_trades("NO/PE", callback)
    with pytest.raises(NotSupported, match="'1w' are not streamed"):
        await handler.subscribe_ohlcv("BTC/USD", "1w", callback)
    assert not await handler.unsubscribe("nothing")


def test_priorities_keep_their_published_numbers() -> None:
    assert [(level.name, level.value) for level in PriorityLevel] == [
        ("URGENT", 1), ("HIGH", 2), ("NORMAL", 5), ("LOW", 8), ("BULK", 10),
    ]  # fmt: skip
    assert Priority(PriorityLevel.BULK).urgency is Urgency.BACKFILL
    assert Priority(PriorityLevel.BULK, timeout=5.0, bypass_rate_limit=True).urgency is Urgency.LIVE
