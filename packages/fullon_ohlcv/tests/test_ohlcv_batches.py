"""A write's rows looked at together, column by column, against the same rows looked at one by one."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fullon_ohlcv.batches import TradeBatch
from fullon_ohlcv.copy_format import trade_bytes, trades_bytes
from fullon_ohlcv.records import Series, TradeWrite
from fullon_ohlcv.timeframe import MINUTE_US, to_us

NOW_US = to_us(datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC))
TAPE = Series(7, "kraken", "BTC/USD", "trades")

prices = st.floats(1e-12, 1e15) | st.integers(1, 10**9)
times_us = st.integers(NOW_US - 10 * MINUTE_US, NOW_US)
sides = st.sampled_from(["buy", "sell"])
order_types = st.sampled_from(["market", "limit", ""])
ids = st.integers(0, 60).map(str)
good_rows = st.tuples(times_us, prices, prices, sides, order_types, ids)
odd_rows = st.one_of(
    st.tuples(times_us, prices, prices, sides, st.just("stop"), ids),
    st.tuples(times_us, prices, prices, sides, order_types, st.sampled_from([None, "", "é", "a\0b", "x" * 300, 7])),
    st.tuples(times_us, st.sampled_from([0.0, -1.0, float("nan"), float("inf"), True, 10**400, "1", None]), prices,
              sides, order_types, ids),
    st.tuples(times_us, prices, st.sampled_from([0, float("nan"), -float("inf"), None]), sides, order_types, ids),
    st.tuples(st.sampled_from([0, NOW_US + 10**12, 1.5, True, None]), prices, prices, sides, order_types, ids),
    st.tuples(times_us, prices, prices, st.sampled_from(["hold", None, []]), order_types, ids),
    st.sampled_from([(), (1, 2), None, "abcdef"]),
)  # fmt: skip


def told(batch: TradeBatch) -> tuple[Any, ...]:
    """Everything that is stored of a batch; refused rows as text, since not all are equal to themselves."""
    rejected = [(repr(row), why) for row, why in batch.rejected]
    return batch.rows.get(7, []), batch.times_us.get(7, []), rejected, batch.repeated, batch.hulls()


@given(
    rows=st.lists(good_rows, max_size=80, unique_by=lambda row: row[5]) | st.lists(good_rows, max_size=80),
    odd=st.lists(odd_rows, max_size=2),
    data=st.data(),
)
def test_rows_seen_together_are_the_rows_seen_one_by_one(rows: list[Any], odd: list[Any], data: st.DataObject) -> None:
    for row in odd:
        rows.insert(data.draw(st.integers(0, len(rows))), row)
    covered = [(NOW_US - 10 * MINUTE_US, NOW_US + MINUTE_US)]
    cut = data.draw(st.integers(0, len(rows)))
    together = TradeBatch.of([TradeWrite(TAPE, rows[:cut], covered), TradeWrite(TAPE, rows[cut:], covered)], NOW_US)
    singly = TradeBatch.of([TradeWrite(TAPE, [row], covered) for row in rows], NOW_US)
    assert told(together) == told(singly)


@given(series_id=st.integers(1, 2**31 - 1), rows=st.lists(good_rows, min_size=1, max_size=40))
def test_rows_encoded_together_are_the_rows_encoded_one_by_one(series_id: int, rows: list[Any]) -> None:
    columns: Any = tuple(zip(*rows, strict=True))
    assert trades_bytes(series_id, columns) == [trade_bytes(series_id, row, 0) for row in rows]
