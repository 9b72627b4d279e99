"""Nothing is lost, and nothing claimed that was not proved, while one connection follows another (pure)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from live_events import SYMBOL, minute, minutes_of

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.records import (
    Candle,
    Candles,
    Disconnected,
    Event,
    Subscribed,
    Trade,
    Trades,
    Watermark,
)
from fullon_ohlcv_service.ohlcv.candle_builder import CandleBuilder
from fullon_ohlcv_service.trade.trade_tracker import TradeTracker


@dataclass
class Carrier:
    """One connection: what was published since its acknowledgement arrives in order, at a pace of its own."""

    name: str
    since_us: int
    next: int
    """Which of what was published comes next."""
    proved_us: int = 0


@dataclass
class Change:
    """A symbol's stream, published once and carried by one connection or two, of which either may go."""

    feed: Callable[[Sequence[Event]], None]
    now_us: int
    published: list[tuple[int, Trade | Candle]] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    """Which of what was published no connection delivers."""
    carriers: list[Carrier] = field(default_factory=list)
    opened: int = 0
    cut: bool = False
    """Whether a connection went that had not proved where the next began."""
    on_minute: Callable[[int], None] = lambda start_us: None
    """Called with each minute that ends."""

    def wait(self, us: int) -> None:
        for start_us in range(self.now_us - self.now_us % MINUTE_US, self.now_us + us - MINUTE_US + 1, MINUTE_US):
            self.on_minute(start_us)
        self.now_us += us

    def open(self) -> None:
        self.wait(1)
        self.carriers.append(Carrier(f"c{self.opened}", self.now_us, len(self.published)))
        self.opened += 1
        self.feed([Subscribed(self.carriers[-1].name, SYMBOL, "trades", self.now_us)])

    def deliver(self, carrier: Carrier, upto_us: int) -> None:
        """Let a connection deliver everything before `upto_us`, and prove it."""
        while carrier.next < len(self.published) and self.published[carrier.next][0] < upto_us:
            number, carrier.next = carrier.next, carrier.next + 1
            record = self.published[number][1]
            if number not in self.lost and isinstance(record, Trade):
                self.feed([Trades(carrier.name, [record], 0)])
            elif number not in self.lost and isinstance(record, Candle):
                self.feed([Candles(carrier.name, [record], 0)])
        if upto_us > max(carrier.proved_us, carrier.since_us):
            carrier.proved_us = upto_us
            self.feed([Watermark(carrier.name, upto_us)])

    def step(self, kind: str, size: int) -> None:
        """Do one of what a session can do."""
        match kind:
            case "wait":
                self.wait(size * 1_000_000)
            case "first" | "second":
                number = 0 if kind == "first" else len(self.carriers) - 1
                self.deliver(self.carriers[number], self.now_us - max(0, size - 15) * 1_000_000)
            case "replace" if len(self.carriers) == 1:
                self.open()
            case "done" if len(self.carriers) == 2 and self.carriers[0].proved_us >= self.carriers[1].since_us:
                self._go(self.carriers[0])
            case "fail" if len(self.carriers) == 2:
                self._go(self.carriers[1])
            case "cut":
                self.wait(1)
                if len(self.carriers) == 1:
                    self._go(self.carriers[0])
                    self.wait(size * 1_000_000)
                    self.open()
                    self.cut = True
                else:
                    self.cut |= self.carriers[0].proved_us < self.carriers[1].since_us
                    self._go(self.carriers[0])
            case _:
                pass

    def _go(self, carrier: Carrier) -> None:
        self.carriers.remove(carrier)
        self.feed([Disconnected(carrier.name, self.now_us, "gone")])

    def finish(self) -> set[int]:
        """Let everything arrive, and a quiet hour pass; return the minutes that must have been proved."""
        since_us = max(carrier.since_us for carrier in self.carriers)
        self.wait(60 * MINUTE_US)
        for carrier in self.carriers:
            self.deliver(carrier, self.now_us)
        begin_us = -(-since_us // MINUTE_US) * MINUTE_US if self.cut else minute(1)
        return minutes_of([(begin_us, self.now_us - 2 * MINUTE_US)])


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "make",
                "make",
                "make",
                "wait",
                "wait",
                "first",
                "second",
                "second",
                "replace",
                "done",
                "fail",
                "cut",
                "flush",
            ]
        ),
        st.integers(0, 60),
    ),
    min_size=30,
    max_size=100,
)
"""Long ones: a fault takes several steps to show."""


class TestChangeover:
    @given(CHANGES, st.one_of(st.just(frozenset()), st.frozensets(st.integers(1, 60), max_size=3)))
    def test_of_trades_loses_no_minute_and_claims_none_wrongly(
        self, steps: list[tuple[str, int]], losses: frozenset[int]
    ) -> None:
        """Ids show every loss but one before the first trade of all or after the last."""
        tracker = TradeTracker(ids_sequential=True)
        lost = set(losses)
        change = Change(tracker.feed, minute(0.3), lost=lost)
        made: dict[int, set[int]] = {}
        stored: set[int] = set()
        covered: set[int] = set()
        suspect: set[int] = set()

        def make() -> None:
            change.wait(2_000_000)
            number = len(change.published)
            one = Trade(SYMBOL, change.now_us, 1.0, 1.0, "buy", str(number))
            change.published.append((change.now_us, one))
            made.setdefault(change.now_us - change.now_us % MINUTE_US, set()).add(number)

        def flush() -> None:
            for batch in tracker.take().values():
                stored.update(int(row[5]) for row in batch.rows)
                suspect.update(minutes_of(batch.suspect))
                covered.difference_update(minutes_of(batch.suspect))
                covered.update(minutes_of(batch.covered))
            if not lost:
                assert all(made.get(at, set()) <= stored for at in covered)

        change.open()
        make()
        change.deliver(change.carriers[0], change.now_us + 1)
        for kind, size in steps:
            if kind == "make":
                for _ in range(1 + size % 3):
                    make()
            elif kind == "flush":
                flush()
            else:
                change.step(kind, size)
        lost.discard(len(change.published))
        make()
        proved = change.finish()
        flush()
        assert all(made.get(at, set()) <= stored for at in covered)
        if not lost:
            assert tracker.skipped_ids == 0
            assert change.cut or suspect == set()
            assert covered | suspect >= proved
            assert tracker.claims[SYMBOL] == change.now_us - change.now_us % MINUTE_US

    @given(
        CHANGES,
        st.booleans(),
        st.sampled_from([0, 2_000_000]),
        st.one_of(st.just(frozenset()), st.frozensets(st.integers(2, 60), max_size=12)),
    )
    def test_of_candles_loses_no_minute_and_claims_none_wrongly(
        self, steps: list[tuple[str, int]], flag: bool, grace_us: int, losses: frozenset[int]
    ) -> None:
        """Closed candles that say so show every loss but one before the first minute of all or after the last."""
        builder = CandleBuilder(closed_flag=flag, grace_us=grace_us)
        lost = set(losses) if flag else set()
        change = Change(builder.feed, minute(0.3), lost=lost)
        truth: dict[int, Candle] = {}
        rows: dict[int, int | None] = {}
        covered: set[int] = set()
        suspect: set[int] = set()
        next_id = 1

        def close(at: int) -> None:
            """Publish the closed candle of a minute, where the venue does."""
            if flag and at in truth:
                truth[at] = msgspec.structs.replace(truth[at], closed=True)
                change.published.append((at + MINUTE_US - 1, truth[at]))

        def make() -> None:
            nonlocal next_id
            change.wait(2_000_000)
            at = change.now_us - change.now_us % MINUTE_US
            count = (truth[at].trades or 0) + 1 if at in truth else 1
            first_id = truth[at].first_id if at in truth else next_id
            one = Candle(SYMBOL, "1m", at, 1.0, 1.0, 1.0, 1.0, float(count), count, False, first_id, next_id)
            next_id += 1
            truth[at] = one
            change.published.append((change.now_us, one))

        def flush() -> None:
            for batch in builder.take().values():
                suspect.update(minutes_of(batch.suspect))
                covered.difference_update(minutes_of(batch.suspect))
                covered.update(minutes_of(batch.covered))
                rows.update({row[0]: row[6] for row in batch.rows})
            if not lost:
                check()

        def check() -> None:
            for at in covered:
                assert rows.get(at) == (truth[at].trades if at in truth else None)

        change.on_minute = close
        change.open()
        make()
        change.wait(MINUTE_US)
        change.deliver(change.carriers[0], change.now_us)
        for kind, size in steps:
            if kind == "make":
                for _ in range(1 + size % 3):
                    make()
            elif kind == "flush":
                flush()
            else:
                change.step(kind, size)
        lost -= set(range(len(change.published), len(change.published) + 10))
        make()
        proved = change.finish()
        flush()
        check()
        if not lost:
            assert change.cut or suspect == set()
            assert covered | suspect >= proved
            assert change.cut or builder.never_closed == 0
