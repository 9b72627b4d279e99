"""Binance's futures through unmodified ccxt: history to its beginning, trades by id, streams that speak."""

import asyncio
from collections.abc import Sequence

import pytest
from fixed_clock import unix_now_s
from odd_exchanges import OddExchange
from odd_exchanges.binancefutures import AMOUNTS, DAY_US, Contract, answers, stream

from fullon_exchange import open_exchange
from fullon_exchange.clock import MINUTE_US, Clock
from fullon_exchange.history import reasons
from fullon_exchange.records import Candle, Candles, Page, Trade, Trades

NOW_US = 1_767_225_630_000_000
END_US = NOW_US - NOW_US % MINUTE_US
HOUR_US = 60 * MINUTE_US
BOTH = [("binanceusdm", "BTC/USDT:USDT"), ("binancecoinm", "BTC/USD:BTC")]
both = pytest.mark.parametrize(("name", "symbol"), BOTH)


def clock_at_now() -> Clock:
    """A clock that stands at `NOW_US` and goes on ten times as fast; so does the rate budget."""
    return Clock(origin_s=NOW_US / 1e6, unix_s=unix_now_s(), speed=10.0)


def lost(pages: Sequence[Page[Candle]] | Sequence[Page[Trade]]) -> list[tuple[int, int, str]]:
    return [(*interval, why.split(":")[0]) for page in pages for interval, why in page.unavailable]


async def read_candles(
    odd: OddExchange, clock: Clock, symbol: str, timeframe: str, start_us: int
) -> list[Page[Candle]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(odd.variable, odd.origin)
        async with open_exchange(odd.name, clock=clock) as exchange:
            assert exchange.traits.tested
            return [page async for page in exchange.fetch_candles(symbol, timeframe, start_us, END_US)]


async def read_trades(odd: OddExchange, clock: Clock, symbol: str, start_us: int, end_us: int) -> list[Page[Trade]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(odd.variable, odd.origin)
        async with open_exchange(odd.name, clock=clock) as exchange:
            return [page async for page in exchange.fetch_trades(symbol, start_us, end_us)]


@both
async def test_every_candle_since_the_listing_is_stored_in_the_unit_of_the_trades(name: str, symbol: str) -> None:
    clock, listed_us = clock_at_now(), END_US - 3500 * MINUTE_US
    contract = Contract(symbol, listed_us, every=7)
    start_us = END_US - 700 * DAY_US
    async with OddExchange(name, answers(clock, [contract])) as odd:
        pages = await read_candles(odd, clock, symbol, "1m", start_us)
        asked = [request for request in odd.asked if request.path.endswith("/klines")]
    candles = [row for page in pages for row in page.records]
    assert [row.timestamp_us for row in candles] == list(range(listed_us, END_US, MINUTE_US))
    assert {row.volume for row in candles} == {0.0, float(sum(AMOUNTS))}
    assert lost(pages) == [(start_us, listed_us, reasons.LISTED_LATER)]
    assert len(asked) <= 4 + 30


async def test_coarse_candles_of_coin_m_keep_to_the_range_that_is_allowed() -> None:
    clock, listed_us = clock_at_now(), END_US - 900 * DAY_US
    contract = Contract("BTC/USD:BTC", listed_us)
    async with OddExchange("binancecoinm", answers(clock, [contract])) as odd:
        pages = await read_candles(odd, clock, contract.symbol, "1d", END_US - 600 * DAY_US)
    assert len([row for page in pages for row in page.records]) == 600
    assert lost(pages) == []


@both
@pytest.mark.parametrize("looks_ahead_us", [None, HOUR_US])
async def test_trades_are_entered_by_time_however_far_the_exchange_looks_ahead(
    name: str, symbol: str, looks_ahead_us: int | None
) -> None:
    """No trade within an hour, answered with nothing, is no quiet day."""
    clock = clock_at_now()
    contract = Contract(symbol, END_US - 20 * DAY_US, every=600)
    start_us = END_US - 2 * DAY_US + HOUR_US
    async with OddExchange(name, answers(clock, [contract], looks_ahead_us=looks_ahead_us)) as odd:
        pages = await read_trades(odd, clock, symbol, start_us, END_US)
    told = [trade for page in pages for trade in page.records]
    first, until = contract.trades_before(start_us), contract.trades_before(END_US)
    assert [trade.trade_id for trade in told] == [str(trade_id) for trade_id in range(first, until)]
    assert [trade.volume for trade in told] == [float(AMOUNTS[trade_id % 2]) for trade_id in range(first, until)]
    assert pages[0].interval[0] == start_us
    assert pages[-1].interval[1] == END_US
    assert lost(pages) == []


@both
async def test_trades_older_than_a_year_are_named_and_the_others_read(name: str, symbol: str) -> None:
    clock = clock_at_now()
    contract = Contract(symbol, END_US - 500 * DAY_US, every=2000)
    start_us = END_US - 400 * DAY_US
    async with OddExchange(name, answers(clock, [contract])) as odd:
        pages = await read_trades(odd, clock, symbol, start_us, END_US)
    [(begin_us, reach_us, reason)] = lost(pages)
    assert (begin_us, reason) == (start_us, reasons.RETENTION)
    assert 363 * DAY_US < END_US - reach_us <= 364 * DAY_US
    first, until = contract.trades_before(reach_us), contract.trades_before(END_US)
    assert [int(trade.trade_id) for page in pages for trade in page.records] == list(range(first, until))


@both
async def test_aggregated_trades_and_candles_are_streamed_with_the_ids_and_units_of_history(
    name: str, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clock_at_now()
    contract = Contract(symbol, END_US - DAY_US)
    odd = OddExchange(name, answers(clock, [contract]), stream=stream(clock, [contract]))
    trades: list[Trade] = []
    candles: list[Candle] = []
    async with odd, asyncio.timeout(30):
        monkeypatch.setenv(odd.variable, odd.origin)
        opened = open_exchange(name, clock=clock)
        async with opened as exchange, exchange.live() as session:
            await session.subscribe("trades", [symbol])
            await session.subscribe("candles1m", [symbol])
            async for events in session.events():
                trades += [row for event in events if isinstance(event, Trades) for row in event.records]
                candles += [row for event in events if isinstance(event, Candles) for row in event.records]
                if trades and candles:
                    break
            minute_us = candles[0].timestamp_us
            [page] = [page async for page in exchange.fetch_candles(symbol, "1m", minute_us, minute_us + MINUTE_US)]
    assert contract.trade_us(int(trades[0].trade_id)) == trades[0].timestamp_us
    assert trades[0].volume == float(AMOUNTS[int(trades[0].trade_id) % 2])
    assert page.records[0].volume == candles[0].volume == float(sum(AMOUNTS))
    subscribed = [parameter for socket in odd.sockets for message in socket.received for parameter in message["params"]]
    assert sorted(subscribed) == [f"{contract.id.lower()}@aggTrade", f"{contract.id.lower()}@kline_1m"]
