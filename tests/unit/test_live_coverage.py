"""The pure parts that decide what live data proves: frontier, trade tracker, candle builder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.records import (
    Candle,
    Candles,
    Disconnected,
    Event,
    Interval,
    Subscribed,
    Trade,
    Trades,
    Unsubscribed,
    Watermark,
)
from fullon_ohlcv_service.frontier import SeriesBatch, subtract
from fullon_ohlcv_service.ohlcv.candle_builder import CandleBuilder
from fullon_ohlcv_service.trade.trade_tracker import TradeTracker

T0_US = 1_700_000_040_000_000
"""A minute boundary."""
SYMBOL = "BTC/USD"


def minute(number: float) -> int:
    return T0_US + round(number * MINUTE_US)


def trade(number: float, trade_id: int, symbol: str = SYMBOL) -> Trade:
    return Trade(symbol, minute(number), 100.0, 1.0, "buy", str(trade_id))


def trades(*records: Trade, connection: str = "a") -> Trades:
    return Trades(connection, list(records), 0)


def candle(
    number: int,
    *,
    closed: bool,
    trades: int = 3,
    close: float = 1.0,
    ids: tuple[int, int] | None = None,
    symbol: str = SYMBOL,
    connection: str = "a",
) -> Candles:
    first_id, last_id = ids or (None, None)
    one = Candle(symbol, "1m", minute(number), 1.0, 2.0, 0.5, close, 4.0, trades, closed, first_id, last_id)
    return Candles(connection, [one], 0)


def subscribed(number: float, connection: str = "a", symbol: str = SYMBOL) -> Subscribed:
    return Subscribed(connection, symbol, "trades", minute(number))


def minutes_of(intervals: list[Interval]) -> set[int]:
    return {at for start, end in intervals for at in range(start, end, MINUTE_US)}


def track(*events: Event, ids_sequential: bool = True) -> SeriesBatch:
    tracker = TradeTracker(ids_sequential=ids_sequential)
    tracker.feed(events)
    return tracker.take().get(SYMBOL, SeriesBatch())


def build(*events: Event, closed_flag: bool = True) -> SeriesBatch:
    builder = CandleBuilder(closed_flag=closed_flag, grace_us=2_000_000)
    builder.feed(events)
    return builder.take().get(SYMBOL, SeriesBatch())


class TestTradeTracker:
    def test_a_minute_that_was_half_over_at_the_acknowledgement_is_not_claimed(self) -> None:
        batch = track(subscribed(0.5), Watermark("a", minute(1.2)))
        assert batch.covered == []

    def test_a_watermark_covers_the_whole_minutes_it_has_passed(self) -> None:
        batch = track(subscribed(0.5), trades(trade(1.1, 7)), Watermark("a", minute(3.9)))
        assert batch.covered == [(minute(1), minute(3))]
        assert len(batch.rows) == 1

    def test_a_quiet_market_is_covered_by_the_watermark_alone(self) -> None:
        batch = track(subscribed(0), Watermark("a", minute(1.01)))
        assert batch.covered == [(minute(0), minute(1))]

    def test_nothing_is_covered_after_a_disconnect_until_the_next_acknowledgement(self) -> None:
        tracker = TradeTracker(ids_sequential=True)
        tracker.feed([subscribed(0), Disconnected("a", minute(0.9), "gone"), Watermark("a", minute(2))])
        assert tracker.take() == {}
        assert tracker.claims == {SYMBOL: None}
        tracker.feed([subscribed(2.5, "b"), Watermark("b", minute(4))])
        assert tracker.take()[SYMBOL].covered == [(minute(3), minute(4))]

    def test_a_skipped_id_leaves_every_minute_it_may_lie_in_uncovered(self) -> None:
        batch = track(
            subscribed(0),
            trades(trade(0.5, 10)),
            Watermark("a", minute(4)),
            trades(trade(4.5, 12)),
            Watermark("a", minute(6)),
        )
        assert minutes_of(batch.covered) == {minute(5)}
        assert batch.suspect == [(minute(0), minute(5))]

    def test_a_late_or_repeated_id_is_no_loss(self) -> None:
        batch = track(
            subscribed(0),
            trades(trade(0.1, 10), trade(0.2, 11), trade(0.1, 10), trade(0.3, 12)),
            Watermark("a", minute(1)),
        )
        assert batch.suspect == []
        assert minutes_of(batch.covered) == {minute(0)}

    def test_one_frame_of_several_symbols_reaches_each_of_them(self) -> None:
        tracker = TradeTracker(ids_sequential=True)
        tracker.feed([trades(trade(0, 1, "A/B"), trade(0, 1, "C/D"))])
        assert {symbol: len(batch.rows) for symbol, batch in tracker.take().items()} == {"A/B": 1, "C/D": 1}

    @given(
        steps=st.lists(st.tuples(st.sampled_from(["A/B", "C/D"]), st.sampled_from([1, 1, 1, 1, 2, 0, -2]))),
        cuts=st.lists(st.integers(1, 9), min_size=1),
    )
    def test_trades_that_come_together_say_what_they_say_one_by_one(
        self, steps: list[tuple[str, int]], cuts: list[int]
    ) -> None:
        """Ids that follow each other are followed at once, others one by one."""
        ids, newest, skipped = {"A/B": 10, "C/D": 10}, {"A/B": 10, "C/D": 10}, 0
        tape = [trade(0, 10, "A/B"), trade(0, 10, "C/D")]
        for number, (symbol, step) in enumerate(steps):
            ids[symbol] += step
            skipped += max(0, ids[symbol] - newest[symbol] - 1)
            newest[symbol] = max(newest[symbol], ids[symbol])
            tape.append(trade(number / 10, ids[symbol], symbol))
        one_by_one, together = TradeTracker(ids_sequential=True), TradeTracker(ids_sequential=True)
        for tracker in (one_by_one, together):
            tracker.feed([subscribed(0, symbol="A/B"), subscribed(0, symbol="C/D")])
        one_by_one.feed([trades(one) for one in tape])
        while tape:
            size = cuts[len(tape) % len(cuts)]
            together.feed([trades(*tape[:size])])
            tape = tape[size:]
        assert together.skipped_ids == one_by_one.skipped_ids == skipped
        assert together.claims == one_by_one.claims
        assert together.take() == one_by_one.take()

    def test_an_unsubscribed_symbol_is_promised_no_longer(self) -> None:
        tracker = TradeTracker(ids_sequential=True)
        tracker.feed([subscribed(0), Unsubscribed("a", SYMBOL, "trades", minute(0.5)), Watermark("a", minute(3))])
        assert tracker.take() == {}
        assert tracker.claims == {SYMBOL: None}

    def test_a_new_connection_takes_over_without_a_gap_when_the_old_one_has_proved_its_beginning(self) -> None:
        batch = track(
            subscribed(0),
            Watermark("a", minute(2)),
            subscribed(2.5, "b"),
            Watermark("a", minute(2.6)),
            Disconnected("a", minute(2.7), "age"),
            Watermark("b", minute(4)),
        )
        assert minutes_of(batch.covered) == {minute(at) for at in range(4)}

    def test_what_lies_between_two_connections_that_did_not_meet_is_no_ones(self) -> None:
        tracker = TradeTracker(ids_sequential=True)
        tracker.feed([subscribed(0), Watermark("a", minute(2.4)), subscribed(2.5, "b")])
        assert tracker.claims == {SYMBOL: minute(2)}
        tracker.feed([Disconnected("a", minute(2.6), "cut"), Watermark("b", minute(4))])
        assert minutes_of(tracker.take()[SYMBOL].covered) == {minute(0), minute(1), minute(3)}

    def test_what_two_connections_have_proved_together_is_claimed_as_soon_as_one_has_left(self) -> None:
        batch = track(
            subscribed(0),
            Watermark("a", minute(0.9)),
            subscribed(0.95, "b"),
            Watermark("b", minute(1.2)),
            Watermark("a", minute(0.97)),
            Disconnected("a", minute(1.3), "age"),
            Watermark("b", minute(1.3)),
        )
        assert minutes_of(batch.covered) == {minute(0)}

    def test_a_new_connection_that_fails_leaves_the_old_one_in_charge(self) -> None:
        batch = track(
            subscribed(0),
            Watermark("a", minute(1)),
            subscribed(1.5, "b"),
            Disconnected("b", minute(1.6), "no acknowledgement"),
            Watermark("a", minute(3)),
        )
        assert minutes_of(batch.covered) == {minute(at) for at in range(3)}

    def test_an_unsubscription_of_the_old_connection_leaves_the_new_one_in_charge(self) -> None:
        batch = track(
            subscribed(0),
            subscribed(0.5, "b"),
            Watermark("a", minute(0.6)),
            Unsubscribed("a", SYMBOL, "trades", minute(0.7)),
            Watermark("b", minute(2)),
        )
        assert minutes_of(batch.covered) == {minute(0), minute(1)}

    def test_an_id_that_neither_connection_delivered_leaves_its_minute_uncovered(self) -> None:
        events = [
            subscribed(0),
            trades(trade(0.4, 10)),
            subscribed(0.5, "b"),
            Watermark("a", minute(0.6)),
        ]
        gone = Disconnected("a", minute(0.7), "age")
        later = trades(trade(0.8, 12), connection="b")
        for order in ([gone, later], [later, gone]):
            batch = track(*events, *order, Watermark("b", minute(2)))
            assert batch.suspect == [(minute(0), minute(1))]
            assert minutes_of(batch.covered) == {minute(1)}

    def test_trades_that_both_connections_deliver_are_no_loss(self) -> None:
        batch = track(
            subscribed(0),
            trades(trade(0.1, 10)),
            subscribed(0.2, "b"),
            trades(trade(0.3, 11), connection="b"),
            trades(trade(0.4, 12), connection="b"),
            trades(trade(0.3, 11)),
            Watermark("a", minute(0.35)),
            Disconnected("a", minute(0.5), "age"),
            trades(trade(0.6, 13), connection="b"),
            Watermark("b", minute(1)),
        )
        assert batch.suspect == []
        assert minutes_of(batch.covered) == {minute(0)}

    def test_what_a_new_connection_has_seen_before_it_failed_hides_no_loss_of_the_old_one(self) -> None:
        batch = track(
            subscribed(0),
            subscribed(1, "b"),
            trades(trade(1.3, 13), connection="b"),
            Disconnected("b", minute(1.4), "not ready"),
            trades(trade(0.5, 10), trade(0.9, 11), trade(1.3, 13), trade(1.5, 14)),
            Watermark("a", minute(3)),
        )
        assert batch.suspect == [(minute(0), minute(2))]
        assert minutes_of(batch.covered) == {minute(2)}

    def test_ids_missing_across_a_break_make_suspect_only_what_was_claimed_on_either_side(self) -> None:
        events = [
            subscribed(0),
            trades(trade(2.1, 10)),
            Watermark("a", minute(5.2)),
            Disconnected("a", minute(5.3), "cut"),
            subscribed(8.5, "b"),
            Watermark("b", minute(11.2)),
        ]
        batch = track(*events, trades(trade(11.1, 12), connection="b"), Watermark("b", minute(13)))
        assert batch.suspect == [(minute(2), minute(5)), (minute(9), minute(12))]
        assert minutes_of(batch.covered) == {minute(0), minute(1), minute(12)}
        batch = track(*events, trades(trade(11.1, 11), connection="b"), Watermark("b", minute(13)))
        assert batch.suspect == []
        assert minutes_of(batch.covered) == {minute(at) for at in (0, 1, 2, 3, 4, 9, 10, 11, 12)}

    def test_a_busy_market_loses_no_claim_by_a_break(self) -> None:
        batch = track(
            subscribed(0),
            trades(trade(5.1, 10)),
            Watermark("a", minute(5.2)),
            Disconnected("a", minute(5.3), "cut"),
            subscribed(5.5, "b"),
            trades(trade(5.6, 90), connection="b"),
            Watermark("b", minute(7)),
        )
        assert batch.suspect == []
        assert minutes_of(batch.covered) == {minute(at) for at in (0, 1, 2, 3, 4, 6)}

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("trade"), st.integers(1, 5)),
                st.tuples(st.just("lose"), st.integers(1, 2)),
                st.tuples(st.just("wait"), st.integers(1, 150)),
                st.tuples(st.just("drop"), st.integers(1, 90)),
                st.tuples(st.just("flush"), st.just(0)),
            ),
            max_size=60,
        )
    )
    def test_a_covered_minute_holds_every_trade_the_venue_made_in_it(self, steps: list[tuple[str, int]]) -> None:
        """Whatever is lost, dropped or flushed when, coverage never claims a minute with a missing trade,
        once the next trade of the symbol has shown the loss."""
        tracker = TradeTracker(ids_sequential=True)
        now_us, next_id, connection = minute(0.3), 1, 0
        made: dict[int, set[int]] = {}
        stored: set[int] = set()
        covered: set[int] = set()

        def flush() -> None:
            for batch in tracker.take().values():
                stored.update(int(row[5]) for row in batch.rows)
                for interval in batch.suspect:
                    covered.difference_update(minutes_of([interval]))
                covered.update(minutes_of(batch.covered))

        def make(*, delivered: bool) -> None:
            nonlocal next_id, now_us
            now_us += 1_000
            made.setdefault(now_us - now_us % MINUTE_US, set()).add(next_id)
            if delivered:
                one = Trade(SYMBOL, now_us, 1.0, 1.0, "buy", str(next_id))
                tracker.feed([Trades(str(connection), [one], now_us)])
            next_id += 1

        tracker.feed([Subscribed("0", SYMBOL, "trades", now_us)])
        make(delivered=True)
        for kind, size in steps:
            match kind:
                case "trade":
                    for _ in range(size):
                        make(delivered=True)
                case "lose":
                    for _ in range(size):
                        make(delivered=False)
                case "wait":
                    now_us += size * 1_000_000
                    tracker.feed([Watermark(str(connection), now_us)])
                case "drop":
                    make(delivered=True)
                    tracker.feed([Disconnected(str(connection), now_us, "cut")])
                    now_us += size * 1_000_000
                    make(delivered=False)
                    connection += 1
                    tracker.feed([Subscribed(str(connection), SYMBOL, "trades", now_us)])
                    make(delivered=True)
                case _:
                    flush()
        make(delivered=True)
        flush()
        for at in covered:
            assert made.get(at, set()) <= stored


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


class TestCandleBuilder:
    def test_an_update_in_progress_is_never_stored(self) -> None:
        batch = build(subscribed(0), candle(0, closed=False), candle(0, closed=False, close=9.0))
        assert batch.rows == []
        assert batch.covered == []

    def test_the_closed_candle_is_stored_once_with_its_minute(self) -> None:
        batch = build(
            subscribed(0),
            candle(0, closed=False),
            candle(0, closed=True, close=7.0),
            Watermark("a", minute(1.5)),
        )
        assert [row[4] for row in batch.rows] == [7.0]
        assert minutes_of(batch.covered) == {minute(0)}

    def test_a_minute_that_never_closed_is_left_to_history(self) -> None:
        batch = build(subscribed(0), candle(0, closed=False), candle(1, closed=True), Watermark("a", minute(2.5)))
        assert minutes_of(batch.covered) == {minute(1)}

    def test_a_minute_without_any_update_is_empty_once_the_watermark_has_passed_it(self) -> None:
        batch = build(subscribed(0), Watermark("a", minute(1.5)))
        assert batch.rows == []
        assert minutes_of(batch.covered) == {minute(0)}

    def test_an_empty_minute_that_trade_ids_contradict_becomes_suspect(self) -> None:
        batch = build(
            subscribed(0),
            candle(0, closed=True, ids=(1, 3)),
            Watermark("a", minute(3.5)),
            candle(3, closed=True, ids=(6, 8)),
        )
        assert batch.suspect == [(minute(1), minute(3))]
        assert minutes_of(batch.covered) == {minute(0), minute(3)}

    def test_without_a_closed_flag_the_next_candle_closes_the_one_before(self) -> None:
        batch = build(
            subscribed(0),
            candle(0, closed=False),
            candle(0, closed=False, close=3.0),
            candle(1, closed=False),
            closed_flag=False,
        )
        assert [(row[0], row[4]) for row in batch.rows] == [(minute(0), 3.0)]

    def test_without_a_closed_flag_the_clock_closes_a_quiet_market(self) -> None:
        events = [subscribed(0), candle(0, closed=False, close=3.0)]
        assert build(*events, Watermark("a", minute(1) + 1_000_000), closed_flag=False).rows == []
        batch = build(*events, Watermark("a", minute(1) + 3_000_000), closed_flag=False)
        assert [row[4] for row in batch.rows] == [3.0]

    def test_an_older_candle_after_a_newer_one_corrects_it(self) -> None:
        batch = build(
            subscribed(0),
            candle(0, closed=False, close=3.0),
            candle(1, closed=False),
            candle(0, closed=False, close=4.0),
            closed_flag=False,
        )
        assert [row[4] for row in batch.rows] == [3.0, 4.0]

    def test_a_slower_connection_does_not_undo_what_a_faster_one_has_told(self) -> None:
        builder = CandleBuilder(closed_flag=False, grace_us=0)
        builder.feed([subscribed(0), subscribed(0.1, "b")])
        builder.feed([candle(0, closed=False, trades=5, connection="b"), candle(0, closed=False, trades=4)])
        builder.feed([Watermark("a", minute(0.2)), Watermark("b", minute(1))])
        assert [row[6] for row in builder.take()[SYMBOL].rows] == [5]
        builder.feed([candle(0, closed=False, trades=4), candle(1, closed=False), candle(2, closed=False)])
        assert [row[0] for row in builder.take()[SYMBOL].rows] == [minute(1)]

    def test_a_minute_that_both_connections_close_is_stored_once(self) -> None:
        batch = build(
            subscribed(0),
            subscribed(0.1, "b"),
            candle(0, closed=True),
            candle(0, closed=True, connection="b"),
            candle(0, closed=False, connection="b"),
            Watermark("a", minute(1.5)),
        )
        assert [row[0] for row in batch.rows] == [minute(0)]
        assert minutes_of(batch.covered) == {minute(0)}

    def test_ids_missing_across_a_break_make_suspect_only_what_was_claimed_as_empty(self) -> None:
        for between in ([], [Disconnected("a", minute(2.9), "cut")]):
            events = [
                subscribed(0),
                candle(0, closed=True, ids=(1, 3)),
                Watermark("a", minute(2.5)),
                *between,
                subscribed(2.8, "b"),
                Disconnected("a", minute(2.9), "cut"),
                Watermark("b", minute(5.1)),
            ]
            batch = build(*events, candle(5, closed=True, ids=(9, 9), connection="b"))
            assert minutes_of(batch.suspect) >= {minute(1), minute(3), minute(4)}
            assert minutes_of(batch.covered) == {minute(0), minute(5)}
            batch = build(*events, candle(5, closed=True, ids=(4, 9), connection="b"))
            assert batch.suspect == []
            assert minutes_of(batch.covered) == {minute(at) for at in (0, 1, 3, 4, 5)}

    def test_a_break_makes_no_minute_suspect_where_the_market_is_busy(self) -> None:
        batch = build(
            subscribed(0),
            candle(0, closed=True, ids=(1, 3)),
            Watermark("a", minute(1.5)),
            Disconnected("a", minute(1.6), "cut"),
            subscribed(1.8, "b"),
            candle(2, closed=True, ids=(90, 99), connection="b"),
            Watermark("b", minute(3.5)),
        )
        assert batch.suspect == []
        assert minutes_of(batch.covered) == {minute(0), minute(2)}

    def test_a_faster_connection_contradicts_what_a_slower_one_has_yet_to_claim_as_empty(self) -> None:
        batch = build(
            subscribed(0),
            subscribed(1.5, "b"),
            candle(3, closed=True, ids=(7, 9), connection="b"),
            Watermark("a", minute(0.9)),
            candle(0, closed=True, ids=(1, 3)),
            Watermark("a", minute(4.5)),
        )
        assert minutes_of(batch.covered) == {minute(0), minute(3)}

    @given(st.lists(st.sampled_from(["update", "close", "mark", "cut"]), max_size=40), st.booleans())
    def test_only_closed_candles_or_proven_silence_are_covered(self, steps: list[str], flag: bool) -> None:
        builder = CandleBuilder(closed_flag=flag, grace_us=0)
        builder.feed([subscribed(0)])
        at, connection = 0, "a"
        updated: set[int] = set()
        closed: set[int] = set()
        lost: set[int] = set()
        for step in steps:
            match step:
                case "update":
                    updated.add(minute(at))
                    builder.feed([candle(at, closed=False)])
                case "close":
                    closed.add(minute(at))
                    builder.feed([candle(at, closed=True)])
                    at += 1
                case "mark":
                    at += 1
                    builder.feed([Watermark(connection, minute(at))])
                case _:
                    builder.feed([Disconnected(connection, minute(at), "cut")])
                    lost.update({minute(at), minute(at + 1)})
                    connection += "x"
                    at += 1
                    builder.feed([subscribed(at + 0.5, connection)])
                    at += 1
        batch = builder.take().get(SYMBOL, SeriesBatch())
        rows = {row[0] for row in batch.rows}
        for covered in minutes_of(batch.covered):
            if flag:
                assert covered in closed or covered not in updated
            else:
                assert covered in rows or covered not in updated | closed


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=6),
    st.tuples(st.integers(0, 30), st.integers(0, 10)),
)
def test_subtract_takes_exactly_the_interval(lengths: list[Interval], taken: Interval) -> None:
    intervals = [(start, start + length) for start, length in lengths]
    hole = (taken[0], taken[0] + taken[1])
    left = subtract(intervals, hole)
    points = {at for start, end in left for at in range(start, end)}
    assert points == {at for start, end in intervals for at in range(start, end)} - set(range(*hole))
