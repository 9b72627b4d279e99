"""The value class `Trade`: what it accepts, and that it survives JSON."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_orm.models import Trade

finite = st.floats(allow_nan=False, allow_infinity=False)
trades = st.builds(
    Trade,
    trade_id=st.none() | st.integers() | st.text(),
    ex_trade_id=st.none() | st.text(),
    ex_order_id=st.none() | st.text(),
    uid=st.none() | st.integers(),
    ex_id=st.none() | st.integers(),
    symbol=st.text(),
    side=st.sampled_from(["buy", "sell", ""]),
    order_type=st.sampled_from(["market", "limit", ""]),
    volume=finite,
    price=finite,
    cost=finite,
    fee=finite,
    time=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@given(trade=trades)
def test_a_trade_survives_json(trade: Trade) -> None:
    assert Trade.from_dict(json.loads(json.dumps(trade.to_dict(), allow_nan=False))) == trade


@given(trade=trades, data=st.data())
def test_unknown_and_missing_keys_are_tolerated(trade: Trade, data: st.DataObject) -> None:
    values = trade.to_dict()
    kept = data.draw(st.sets(st.sampled_from(sorted(values))))
    unknown = data.draw(st.dictionaries(st.text().filter(lambda key: key not in values), st.integers()))
    partial = Trade.from_dict({key: values[key] for key in kept} | unknown)
    for key, value in Trade().to_dict().items():
        expected = values[key] if key in kept and values[key] is not None else value
        assert partial.to_dict()[key] == expected


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "given_time",
    [
        MOMENT,
        MOMENT.replace(tzinfo=None),
        MOMENT.astimezone(timezone(timedelta(hours=-5))),
        MOMENT.timestamp(),
        "2026-01-02T03:04:05.250000+00:00",
        "2026-01-02T03:04:05.250Z",
        "2026-01-02 03:04:05.250",
        "2026-01-01T22:04:05.250-05:00",
    ],
)
def test_time_is_aware_utc_however_it_is_given(given_time: Any) -> None:
    trade = Trade(time=given_time)
    assert trade.time == MOMENT
    assert trade.time.tzinfo is UTC


@pytest.mark.parametrize("number", [1, "1.0", Decimal("1.0"), 1.0])
def test_numbers_become_floats(number: Any) -> None:
    assert Trade(price=number).price == 1.0
    assert isinstance(Trade(price=number).price, float)


@pytest.mark.parametrize("number", [math.nan, math.inf, "abc", None, [], "NaN"])
def test_what_is_no_number_is_refused(number: Any) -> None:
    with pytest.raises(ValueError, match=r"price of a trade is .* allowed is a finite number"):
        Trade(price=number)


@pytest.mark.parametrize("time", ["yesterday", 1e18, math.nan, math.inf, [], "2026-13-01", "0001-01-01T00:00+05:00"])
def test_what_is_no_time_is_refused(time: Any) -> None:
    with pytest.raises(ValueError, match=r"time of a trade is .* allowed is a datetime"):
        Trade(time=time)
