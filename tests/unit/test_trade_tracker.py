"""What live trades prove, and what they leave to history (pure)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_events import SYMBOL, minute, minutes_of, subscribed, track, trade, trades

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.records import (
    Disconnected,
    Subscribed,
    Trade,
    Trades,
    Unsubscribed,
    Watermark,
)
from fullon_ohlcv_service.trade.trade_tracker import TradeTracker


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

    @pytest.mark.parametrize("first", [1, 11], ids=["below all that were seen", "among those that were seen"])
    def test_ids_that_begin_again_end_the_proof_and_what_is_lost_after_that_is_noticed(self, first: int) -> None:
        tracker = TradeTracker(ids_sequential=True)
        tracker.feed([subscribed(0), trades(*(trade(0.1 + n / 100, 10 + n) for n in range(20)))])
        tracker.feed(
            [Watermark("a", minute(2)), trades(trade(2.5, first), trade(2.6, first + 1)), Watermark("a", minute(4))]
        )
        assert (tracker.id_restarts, tracker.skipped_ids) == (1, 0)
        batch = tracker.take()[SYMBOL]
        assert batch.suspect == [(minute(0), minute(3))]
        assert minutes_of(batch.covered) == {minute(3)}
        tracker.feed([trades(trade(4.5, first + 3)), Watermark("a", minute(6))])
        batch = tracker.take()[SYMBOL]
        assert tracker.skipped_ids == 1
        assert batch.suspect == [(minute(2), minute(5))]
        assert minutes_of(batch.covered) == {minute(5)}

    def test_ids_that_begin_again_with_a_new_connection_leave_no_seam_unnoticed(self) -> None:
        batch = track(
            subscribed(0), trades(trade(0.5, 10)), Watermark("a", minute(2)),
            subscribed(1.5, "b"), Watermark("a", minute(2)), Disconnected("a", minute(2), "age"),
            trades(trade(3.5, 2), connection="b"), Watermark("b", minute(6)),
        )  # fmt: skip
        assert batch.suspect == [(minute(0), minute(4))]
        assert minutes_of(batch.covered) == {minute(4), minute(5)}

    def test_a_void_trade_is_not_stored_and_its_id_is_not_missing(self) -> None:
        void = Trade(SYMBOL, minute(0.2), 0.0, 0.0, "", "11")
        batch = track(subscribed(0), trades(trade(0.1, 10), void, trade(0.3, 12)), Watermark("a", minute(1)))
        assert [row[5] for row in batch.rows] == ["10", "12"]
        assert (batch.suspect, batch.covered) == ([], [(minute(0), minute(1))])

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
        tape = [trade(1, 10, "A/B"), trade(1, 10, "C/D")]
        for symbol, step in steps:
            ids[symbol] += step
            skipped += max(0, ids[symbol] - newest[symbol] - 1)
            newest[symbol] = max(newest[symbol], ids[symbol])
            # A trade that comes again, or late, has the time at which it happened.
            tape.append(trade(ids[symbol] / 10, ids[symbol], symbol))
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
