"""The order in which gaps are served: by the time left until the exchange no longer serves them."""

from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.records import Interval
from fullon_ohlcv_service.gap_order import in_order, is_repair, most_urgent_first, reach_us

NOW = 1_767_225_600_000_000
DAY = 1440


def ago(first: int, last: int) -> Interval:
    return NOW - first * MINUTE_US, NOW - last * MINUTE_US


GAPS = st.tuples(st.integers(1, 10_000), st.integers(1, 5_000)).map(lambda pair: ago(pair[0] + pair[1], pair[0]))


def test_a_gap_at_the_edge_of_the_venues_memory_is_served_before_all_others_and_a_lost_one_after_them() -> None:
    reach = reach_us(NOW, 5000, MINUTE_US)
    lost, expiring, safe, recent = ago(9 * DAY, 8 * DAY), ago(5010, 4990), ago(3 * DAY, 3 * DAY - 60), ago(5, 1)
    assert in_order([recent, safe, lost, expiring], NOW, reach) == [expiring, safe, recent, lost]


def test_a_first_start_asks_for_everything_before_a_gap_that_has_time() -> None:
    everything, later = ago(500 * DAY, 0), ago(2 * DAY, DAY)
    gaps = {"later": [later], "new": [everything]}
    assert most_urgent_first(gaps, NOW, lambda _: reach_us(NOW, 5000, MINUTE_US)) == ["new", "later"]


def test_where_nothing_is_forgotten_repair_comes_before_back_fill_and_then_the_oldest() -> None:
    gaps = {
        "old": [ago(300 * DAY, 2 * DAY)],
        "older": [ago(400 * DAY, 2 * DAY)],
        "cut": [ago(30 * DAY, DAY), ago(3, 1)],
        "none": [],
    }
    assert most_urgent_first(gaps, NOW, lambda _: None) == ["cut", "older", "old"]
    assert in_order(gaps["cut"], NOW, None) == [ago(3, 1), ago(30 * DAY, DAY)]


def test_coarse_and_fine_series_are_compared_by_the_time_each_has_left() -> None:
    reaches = {"1m": reach_us(NOW, 5000, MINUTE_US), "5m": reach_us(NOW, 5000, 5 * MINUTE_US)}
    gaps = {"1m": [ago(4000, 3000)], "5m": [ago(24_995, 9000)]}
    assert most_urgent_first(gaps, NOW, reaches.__getitem__) == ["5m", "1m"]


@given(st.lists(GAPS, max_size=8), st.one_of(st.none(), st.integers(1, 12_000)))
def test_no_gap_is_dropped_and_time_left_never_decreases_among_those_that_can_be_saved(
    gaps: list[Interval], window: int | None
) -> None:
    reach = reach_us(NOW, window, MINUTE_US)
    ordered = in_order(gaps, NOW, reach)
    assert sorted(ordered) == sorted(gaps)
    if reach is None:
        repairs = [is_repair(gap, NOW) for gap in ordered]
        assert repairs == sorted(repairs, reverse=True)
        return
    lost = [end_us <= reach for _, end_us in ordered]
    assert lost == sorted(lost)
    left = [max(0, start_us - reach) for start_us, end_us in ordered if end_us > reach]
    assert left == sorted(left)
