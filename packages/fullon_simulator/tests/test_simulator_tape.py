"""The tape: one sequence of trades, the same everywhere, and candles that are nothing but its fold."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from itertools import groupby, pairwise

import pytest
from fixed_clock import BEGINS_US
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_simulator import MarketClock, SimulatedMarket, SymbolSpec, Tape, default_symbols
from fullon_simulator.tape import BlockCache
from fullon_simulator.wire import decimal_text

DAY_US = 86_400_000_000
MINUTE_US = 60_000_000
NOON_US = 1_767_268_800_000_000
LISTED_US = NOON_US - 40 * DAY_US + 12_345_678

TAPES = [
    Tape(seed, venue, SymbolSpec("BTC/USD", rate, listed_at_us=LISTED_US, price=price))
    for seed, venue, rate, price in [
        (1, "kraken", 5_000, 100_000),
        (2, "binance", 5_000, 0.00002),
        (3, "kraken", 40, 3.3),
        (4, "binance", 0.3, 17),
        (5, "kraken", 0, 17),
    ]
]
tapes = st.sampled_from(TAPES)
times = st.integers(LISTED_US - 2 * DAY_US, NOON_US)
spans = st.integers(0, 3 * DAY_US) | st.integers(0, 10 * MINUTE_US)


@given(tapes, times, spans)
@settings(max_examples=200)
def test_ids_are_one_unbroken_sequence_and_times_never_go_back(tape: Tape, start_us: int, span_us: int) -> None:
    trades = tape.trades(start_us, start_us + span_us)
    ids = [int(trade.trade_id) for trade in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True
    assert all(start_us <= trade.timestamp_us < start_us + span_us for trade in trades)
    assert all(one.timestamp_us <= other.timestamp_us for one, other in pairwise(trades))
    assert all(trade.price > 0 and trade.volume > 0 for trade in trades)


@given(tapes, times, spans, spans)
@settings(max_examples=100)
def test_two_neighbouring_ranges_are_one(tape: Tape, start_us: int, first_us: int, second_us: int) -> None:
    middle_us = start_us + first_us
    end_us = middle_us + second_us
    assert tape.trades(start_us, middle_us) + tape.trades(middle_us, end_us) == tape.trades(start_us, end_us)


@given(tapes, times, spans, st.sampled_from([60, 300, 3600, 86_400]))
@settings(max_examples=150)
def test_candles_are_the_fold_of_the_trades(tape: Tape, start_us: int, span_us: int, length_s: int) -> None:
    length_us = length_s * 1_000_000
    first_us = -(-start_us // length_us) * length_us
    end_us = (start_us + span_us) // length_us * length_us
    digits = tape.spec.volume_digits
    folded = []
    for open_us, group in groupby(
        tape.trades(first_us, end_us), key=lambda trade: trade.timestamp_us // length_us * length_us
    ):
        trades = list(group)
        prices = [trade.price for trade in trades]
        volume = sum(Decimal(f"{trade.volume:.{digits}f}") for trade in trades)
        folded.append((open_us, prices[0], max(prices), min(prices), prices[-1], float(volume), len(trades)))
    assert [tuple(candle) for candle in tape.candles(start_us, start_us + span_us, length_s)] == folded


@given(tapes, times, spans)
@settings(max_examples=150)
def test_aggregates_partition_the_trades(tape: Tape, start_us: int, span_us: int) -> None:
    """Each aggregate is a run of trades of one time, side and price; its volume is their sum."""
    first, last = (tape.aggregate_position(time_us) for time_us in (start_us, start_us + span_us))
    rows = tape.read_aggregates(first, last)
    trades = tape.trades(start_us, start_us + span_us)
    assert rows.aggregate_id.tolist() == list(range(first + 1, last + 1))
    assert sum((rows.last_id - rows.first_id + 1).tolist()) == len(trades)
    by_id = {int(trade.trade_id): trade for trade in trades}
    units = 10**tape.spec.volume_digits
    for _, first_id, last_id, time_us, price, volume, buy in zip(*(c.tolist() for c in rows), strict=True):
        members = [by_id[trade_id] for trade_id in range(first_id, last_id + 1)]
        assert {(t.timestamp_us, t.price, t.side) for t in members} == {
            (time_us, price / 10**tape.spec.price_digits, "buy" if buy else "sell")
        }
        assert sum(round(member.volume * units) for member in members) == volume


@given(tapes, times)
@settings(max_examples=100)
def test_position_and_time_are_inverse(tape: Tape, time_us: int) -> None:
    position = tape.position(time_us)
    next_us = tape.time_at(position)
    assert next_us is None or (next_us >= time_us and tape.position(next_us + 1) > position)
    assert position == 0 or tape.trades(time_us - 1, time_us) or tape.read(position - 1, position).time_us[0] < time_us


@given(tapes, st.lists(times, min_size=2, max_size=8))
@settings(max_examples=50)
def test_what_is_visible_only_grows(tape: Tape, moments: list[int]) -> None:
    """What a client sees at a moment is a prefix of what it sees at any later one."""
    counts = [tape.position(moment) for moment in sorted(moments)]
    assert counts == sorted(counts)


@given(st.integers(0, 10**18), st.integers(0, 8))
def test_the_float_of_the_truth_is_the_float_of_the_wire(units: int, digits: int) -> None:
    assert units / 10**digits == float(decimal_text(units, digits)) == float(decimal_text(units, digits, 8))


def test_the_first_trade_is_the_listing() -> None:
    for tape in TAPES:
        step = 1_000 if tape.venue == "binance" else 1
        first = tape.time_at(0)
        assert first is not None
        assert 0 <= first - LISTED_US < step
        assert tape.position(LISTED_US) == 0


def test_another_process_makes_the_same_history() -> None:
    spec = SymbolSpec("BTC/USD", 500, price=100_000)
    code = (
        "import json; from fullon_simulator import *;"
        "tape = Tape(11, 'kraken', SymbolSpec('BTC/USD', 500, price=100_000));"
        f"print(json.dumps(tape.trades({NOON_US - DAY_US}, {NOON_US})))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "TZ": "America/New_York"}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30, env=environment
    )
    here = Tape(11, "kraken", spec).trades(NOON_US - DAY_US, NOON_US)
    assert [tuple(row) for row in json.loads(answer.stdout)] == [tuple(trade) for trade in here]


def test_another_seed_symbol_or_venue_is_another_history() -> None:
    one = SymbolSpec("AAA/USD", 500)
    other = SymbolSpec("BBB/USD", 500)
    histories = [
        Tape(seed, venue, spec).candles(NOON_US - DAY_US // 4, NOON_US)
        for seed, venue, spec in [(1, "kraken", one), (2, "kraken", one), (1, "binance", one), (1, "kraken", other)]
    ]
    assert all(first != second for first, second in pairwise([*histories, histories[0]]))


def test_the_cache_is_bounded_and_changes_nothing() -> None:
    spec = SymbolSpec("BTC/USD", 5_000)
    small = Tape(1, "kraken", spec, cache=BlockCache(trades_max=1))
    large = Tape(1, "kraken", spec)
    for days in (0, 3, 1, 3, 0):
        end_us = NOON_US - days * DAY_US
        assert small.trades(end_us - DAY_US, end_us) == large.trades(end_us - DAY_US, end_us)
    assert len(small._cache._blocks) == 1


def test_a_busy_market_has_bursts_empty_minutes_and_many_trades_in_one_instant() -> None:
    tape = Tape(1, "kraken", SymbolSpec("BTC/USD", 20_000, burst_share=0.05))
    midnight_us = NOON_US // DAY_US * DAY_US
    trades = tape.trades(midnight_us - DAY_US, midnight_us)
    candles = tape.candles(midnight_us - DAY_US, midnight_us)
    assert 10_000 < len(trades) < 30_000
    assert 1_000 < len(candles) < 1_440
    assert max(candle.trades for candle in candles) > 500
    instants = [len(list(group)) for _, group in groupby(trades, key=lambda trade: trade.timestamp_us)]
    assert 5 < max(instants) < 1_000
    assert any(trade.timestamp_us % 1_000 for trade in trades)


def test_binance_tells_the_time_in_milliseconds() -> None:
    trades = Tape(1, "binance", SymbolSpec("BTC/USDT", 5_000)).trades(NOON_US - DAY_US, NOON_US)
    assert not any(trade.timestamp_us % 1_000 for trade in trades)


def test_prices_stay_near_and_do_not_jump_at_midnight() -> None:
    midnight_us = NOON_US // DAY_US * DAY_US
    tape = Tape(1, "kraken", SymbolSpec("BTC/USD", 5_000, price=100_000))
    for days in range(0, 2_000, 100):
        time_us = midnight_us - days * DAY_US
        position = tape.position(time_us)
        before, after = (int(price) for price in tape.read(position - 1, position + 1).price)
        assert abs(before - after) / before < 0.02
        assert 40_000 < before / 10**tape.spec.price_digits < 250_000


def test_default_symbols_are_a_mix_of_any_size() -> None:
    for venue in ("kraken", "binance"):
        assert {spec.kind for spec in default_symbols(venue, 5)} == {"busy", "normal", "quiet", "dead"}
        many = default_symbols(venue, 2_000)
        assert len({spec.symbol for spec in many}) == 2_000
        assert default_symbols(venue, 50) == many[:50]
        recent = default_symbols(venue, 10, recent_listing_us=NOON_US)
        assert sum(spec.listed_at_us == NOON_US for spec in recent) == 2


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ({"symbol": "btc/usd"}, "capitals"),
        ({"symbol": "BTCUSD"}, "BASE/QUOTE"),
        ({"symbol": "A/B", "trades_per_day": -1}, "0 to"),
        ({"symbol": "A/B", "price": 0}, "0.0000001 to"),
        ({"symbol": "A/B", "price_decimals": 8, "volume_decimals": 8}, "10 together"),
        ({"symbol": "A/B", "kind": "lively"}, "busy, normal"),
        ({"symbol": "A/B", "burst_share": 2}, "0 to 1"),
    ],
)
def test_a_wrong_spec_is_refused_with_what_is_allowed(wrong: dict[str, object], allowed: str) -> None:
    with pytest.raises(ValueError, match=allowed):
        SymbolSpec(**wrong)  # type: ignore[arg-type]


def test_a_wrong_market_is_refused_with_what_is_allowed() -> None:
    spec = SymbolSpec("A/B")
    with pytest.raises(ValueError, match="kraken, binance"):
        SimulatedMarket({"mtgox": 3})
    with pytest.raises(ValueError, match="twice"):
        SimulatedMarket({"kraken": [spec, spec]})
    with pytest.raises(ValueError, match="has A/B"):
        SimulatedMarket({"kraken": [spec]}, clock=MarketClock.starting_at(BEGINS_US)).truth("kraken", "B/A")


def test_the_clock_follows_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLON_CLOCK", "1767225600.5@1767229200x12")
    clock = MarketClock.from_env()
    assert (clock.exchange_us, clock.unix_us, clock.speed) == (1_767_225_600_500_000, 1_767_229_200_000_000, 12.0)
    assert MarketClock.parse(str(clock)).exchange_us == clock.exchange_us
    assert MarketClock.parse("").real
    for wrong in ("now", "1@2", "1@2x0", "a@bxc"):
        with pytest.raises(ValueError, match="exchange epoch"):
            MarketClock.parse(wrong)


def test_the_clock_never_runs_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = MarketClock()
    moments = iter([5_000_000, 7_000_000, 6_000_000, 8_000_000])
    monkeypatch.setattr("fullon_simulator.clock.time.time_ns", lambda: next(moments))
    assert [clock.now_us() for _ in range(4)] == [5_000, 7_000, 7_000, 8_000]
