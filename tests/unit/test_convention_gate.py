"""What the gate lets through, holds and lets go of a series whose convention has not been compared with REST."""

from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange import open_exchange
from fullon_exchange.clock import MINUTE_US, Clock
from fullon_exchange.records import Candle, Candles, Subscribed
from fullon_ohlcv_service.ohlcv.candle_builder import CandleBatch
from fullon_ohlcv_service.ohlcv.convention import Comparison, Finding
from fullon_ohlcv_service.ohlcv.convention_gate import HELD_MINUTES_MAX, ConventionGate

T = 1_767_225_600_000_000
A, B = "A/USDT", "B/USDT"


def at(minute: int) -> int:
    return T + minute * MINUTE_US


def new_gate(checked: set[str] | None = None) -> ConventionGate:
    return ConventionGate(
        Clock(),
        open_exchange("binance"),
        checked=set() if checked is None else checked,
        release=lambda symbol, batch, claim_us: None,
        stop=lambda symbol, sentence: None,
    )


def update(minute: int, volume: float, symbol: str = A) -> Candles:
    return Candles("c", [Candle(symbol, "1m", at(minute), 1.0, 1.0, 1.0, 1.0, volume, None, False)], 1)


def empty(minute: int) -> CandleBatch:
    return CandleBatch(covered=[(at(minute), at(minute + 1))])


def traded(minute: int) -> CandleBatch:
    return CandleBatch([(at(minute), 1.0, 1.0, 1.0, 1.0, 5.0, 2)], [(at(minute), at(minute + 1))])


def test_empty_minutes_pass_until_the_first_trade_and_everything_waits_from_then_on() -> None:
    gate = new_gate()
    gate.hear([update(0, 0.0)])
    batches, claims = {A: empty(0)}, {A: at(1)}
    gate.hold(batches, claims)
    assert (batches, claims) == ({A: empty(0)}, {A: at(1)})
    gate.hear([update(1, 5.0)])
    batches, claims = {A: traded(1), B: empty(1)}, {A: at(2), B: at(2)}
    gate.hold(batches, claims)
    assert (batches, claims) == ({B: empty(1)}, {B: at(2)})


def test_a_series_that_is_known_to_be_right_is_never_held() -> None:
    gate = new_gate({A})
    gate.hear([update(0, 5.0)])
    batches, claims = {A: traded(0)}, {A: at(1)}
    gate.hold(batches, claims)
    assert (batches, claims) == ({A: traded(0)}, {A: at(1)})


def test_a_run_that_ends_takes_what_is_held_with_it_but_not_its_doubts() -> None:
    gate = new_gate()
    gate.hear([update(0, 5.0)])
    doubtful = traded(0)
    doubtful.suspect.append((at(-3), at(-2)))
    gate.hold({A: doubtful}, {A: at(1)})
    batches, claims = {A: traded(1)}, {A: None}
    gate.hold(batches, claims)
    assert claims == {A: None}
    assert batches == {A: CandleBatch(suspect=[(at(-3), at(-2))])}
    gate.hear([Subscribed("d", A, "candles1m", at(2)), update(2, 0.0)])
    batches = {A: empty(3)}
    gate.hold(batches, {A: at(4)})
    assert batches == {A: empty(3)}


def test_what_was_compared_before_a_run_ended_counts_in_the_next() -> None:
    """A stream that breaks off again and again is found out all the same."""
    gate = new_gate()
    gate.hear([update(0, 5.0)])
    compared = Comparison(at(0), Finding.RUNNING, 0.5)
    gate._held[A].comparisons.append(compared)
    gate.hold({}, {A: None})
    assert not gate._held
    gate.hear([update(2, 5.0)])
    assert gate._held[A].comparisons == [compared]


@given(st.lists(st.booleans(), min_size=HELD_MINUTES_MAX + 2, max_size=3 * HELD_MINUTES_MAX))
def test_what_waits_too_long_is_left_to_history_and_the_promise_moves_on(minutes: list[bool]) -> None:
    """While REST does not answer, no more than the bound is held, and no minute is both promised and forgotten."""
    gate = new_gate()
    gate.hear([update(0, 5.0)])
    promised_us = at(0)
    for minute, has_trades in enumerate(minutes):
        batches = {A: traded(minute) if has_trades else empty(minute)}
        claims: dict[str, int | None] = {A: at(minute + 1)}
        gate.hold(batches, claims)
        assert batches == {}
        moved_us = claims.get(A)
        promised_us = promised_us if moved_us is None else moved_us
        assert at(minute + 1) - promised_us <= (HELD_MINUTES_MAX + 1) * MINUTE_US
        held = gate._held[A].batch.covered
        assert sum(end_us - start_us for start_us, end_us in held) <= at(minute + 1) - promised_us
    assert promised_us > at(0)
