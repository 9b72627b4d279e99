"""However frames, repetitions, late trades, disconnects and flushes fall: stored is the fold of what was made."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.records import Disconnected, Event, Subscribed, Trade, Trades, Watermark
from fullon_ohlcv.records import CandleRow, Interval, TradeWrite
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.trade.trade_tracker import TradeTracker
from fullon_simulator import SimulatedMarket

START_US = 1_700_000_040_000_000
"""A minute boundary."""
SPAN: Interval = (START_US, START_US + 60 * MINUTE_US)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["make", "make", "deliver", "deliver", "mark", "late", "again", "cut", "replace", "flush"]),
        st.integers(0, 50),
    ),
    min_size=10,
    max_size=60,
)


class Stream:
    """One symbol's trades, numbered without a hole, on one connection or on two while one replaces the other."""

    def __init__(self, tracker: TradeTracker, symbol: str) -> None:
        self.tracker = tracker
        self.symbol = symbol
        self.now_us = START_US + 20_000_000
        self.made: list[Trade] = []
        self.held: list[Trade] = []
        """Those that come late: after a later one, maybe after a watermark that has promised them."""
        self.names = (f"c{number}" for number in count())
        self.next: dict[str, int] = {}
        """By connection, the older first: which trade it delivers next."""
        self.open()

    def feed(self, *events: Event) -> None:
        self.tracker.feed(events)

    def open(self) -> None:
        name = next(self.names)
        self.now_us += 1
        self.next[name] = len(self.made)
        self.feed(Subscribed(name, self.symbol, "trades", self.now_us))

    def close(self) -> None:
        name = next(iter(self.next))
        del self.next[name]
        self.feed(Disconnected(name, self.now_us, "gone"))

    def make(self) -> None:
        self.now_us += 1_500_000
        number = len(self.made)
        price = 100.0 + number * 7 % 13
        self.made.append(Trade(self.symbol, self.now_us, price, 0.25 * (1 + number % 4), "buy", str(number)))

    def deliver(self, name: str, amount: int, *, turned: bool = False) -> None:
        """Deliver the next trades in one frame, maybe back to front."""
        first = self.next[name]
        trades = self.made[first : first + amount]
        self.next[name] = first + len(trades)
        trades = [trade for trade in trades if trade not in self.held]
        if trades:
            self.feed(Trades(name, trades[::-1] if turned else trades, 0))

    def deliver_all(self) -> None:
        for name in self.next:
            self.deliver(name, len(self.made))
            self.feed(Watermark(name, self.now_us))

    def step(self, kind: str, size: int) -> None:
        older, newer = next(iter(self.next)), list(self.next)[-1]
        match kind:
            case "make":
                for _ in range(1 + size // 5):
                    self.make()
            case "deliver":
                self.deliver(newer if size % 2 else older, 1 + size // 4, turned=size % 5 == 0)
            case "mark":
                name = newer if size % 2 else older
                self.deliver(name, len(self.made))
                self.feed(Watermark(name, self.now_us))
            case "late" if self.made and not self.held:
                self.held = self.made[-1:]
            case "late":
                held, self.held = self.held, []
                self.feed(Trades(older, held, 0))
            case "again" if self.made:
                self.feed(Trades(newer, self.made[: self.next[newer]][-1 - size // 5 :], 0))
            case "replace" if len(self.next) == 1:
                self.open()
            case "cut":
                self.now_us += size * 1_000_000
                self.close()
                if not self.next:
                    self.open()
            case _:
                pass


def fold(trades: list[Trade]) -> list[CandleRow]:
    minutes: dict[int, list[Trade]] = {}
    for trade in trades:
        minutes.setdefault(floor_minute_us(trade.timestamp_us), []).append(trade)
    return [
        (
            at_us,
            ours[0].price,
            max(one.price for one in ours),
            min(one.price for one in ours),
            ours[-1].price,
            sum(one.volume for one in ours),
            len(ours),
        )
        for at_us, ours in sorted(minutes.items())
    ]


@pytest.fixture
async def runtime(market: SimulatedMarket) -> AsyncIterator[Runtime]:
    async with open_runtime() as opened:
        yield opened


SYMBOLS = (f"S{number}/USD" for number in count())


@settings(max_examples=60)
@given(steps=STEPS)
async def test_candles_are_the_fold_of_the_distinct_trades_and_no_minute_is_claimed_that_is_not_stored(
    runtime: Runtime, steps: list[tuple[str, int]]
) -> None:
    store, symbol = runtime.store, next(SYMBOLS)
    trades = await store.series("kraken", symbol, "trades")
    candles = await store.series("kraken", symbol, "candles1m")
    tracker = TradeTracker(ids_sequential=True)
    stream = Stream(tracker, symbol)
    told: set[str] = set()

    async def flush() -> None:
        for batch in tracker.take().values():
            told.update(str(row[5]) for row in batch.rows)
            for interval in batch.suspect:
                await store.uncover(trades, interval)
            await store.write_trades([TradeWrite(trades, batch.rows, batch.covered, candles)])

    stream.make()
    stream.deliver_all()
    for kind, size in steps:
        if kind == "flush":
            await flush()
        else:
            stream.step(kind, size)
    stream.make()
    stream.deliver_all()
    stream.now_us += 3 * MINUTE_US
    stream.deliver_all()
    await flush()
    stored = [row[5] for row in await store.read_trades(trades, SPAN)]
    assert sorted(stored, key=lambda one: int(one or -1)) == sorted(told, key=int), "each that was told is stored once"
    runs = await store.coverage_intervals(candles, SPAN)
    whole = {at for run in runs if run.state == "covered" for at in range(*run.interval, MINUTE_US)}
    expected = [candle for candle in fold(stream.made) if candle[0] in whole]
    assert await store.read_candles(candles, SPAN) == expected
    assert whole, "the last minutes are proved"
