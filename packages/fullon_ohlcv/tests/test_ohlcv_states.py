"""States of markets and venues: recorded with reason and time, replaced when they change."""

import pytest

from fullon_ohlcv.records import Lifecycle, MarketState
from fullon_ohlcv.store import TimeseriesStore

T = 1_767_225_600_000_001
VENUE = MarketState("bitmex", "", Lifecycle.CLOSED, "has closed for good", T)
HALTED = MarketState("kraken", "BTC/USD", Lifecycle.HALTED, "kraken does not trade it now", T)


async def test_a_state_is_kept_with_its_reason_and_time_and_replaced_by_the_next(store: TimeseriesStore) -> None:
    await store.set_state(VENUE, HALTED)
    assert await store.read_states() == {("bitmex", ""): VENUE, ("kraken", "BTC/USD"): HALTED}
    active = MarketState("kraken", "BTC/USD", Lifecycle.ACTIVE, "", T + 60_000_000)
    await store.set_state(HALTED, active)
    assert await store.read_states("kraken") == {("kraken", "BTC/USD"): active}


async def test_no_states_are_nothing_to_record(store: TimeseriesStore) -> None:
    await store.set_state()
    assert await store.read_states() == {}


@pytest.mark.parametrize(
    "state",
    [
        MarketState("", "BTC/USD", Lifecycle.ACTIVE),
        MarketState("kraken", "B" * 501, Lifecycle.ACTIVE),
        MarketState("kraken", "BTC/USD", Lifecycle.HALTED, "x\0"),
        MarketState("kraken", "BTC/USD", Lifecycle.HALTED, "x" * 501),
    ],
)
async def test_a_name_or_reason_that_cannot_be_stored_is_refused_and_nothing_is_recorded(
    store: TimeseriesStore, state: MarketState
) -> None:
    with pytest.raises(ValueError, match=r"exchange|symbol|reason"):
        await store.set_state(HALTED, state)
    assert await store.read_states() == {}


async def test_a_hostile_name_is_only_a_name(store: TimeseriesStore) -> None:
    hostile = MarketState("kraken", "x'; DROP TABLE market_states; --", Lifecycle.DELISTED, "'; --", T)
    await store.set_state(hostile)
    assert await store.read_states() == {("kraken", hostile.symbol): hostile}
