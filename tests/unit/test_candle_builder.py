"""Which live candles are stored, and what they prove (pure)."""

from hypothesis import given
from hypothesis import strategies as st
from live_events import SYMBOL, build, candle, minute, minutes_of, subscribed

from fullon_exchange.records import (
    Disconnected,
    Interval,
    Watermark,
)
from fullon_ohlcv_service.frontier import SeriesBatch, subtract
from fullon_ohlcv_service.ohlcv.candle_builder import CandleBuilder


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
