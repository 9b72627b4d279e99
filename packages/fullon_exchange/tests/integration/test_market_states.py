"""Which states of a market count as traded: natively and through ccxt."""

from typing import Any

import pytest
from odd_exchanges import OddExchange, binance, kraken

from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock

STATES = {
    "online": True,
    "limit_only": True,
    "post_only": True,
    "reduce_only": True,
    "cancel_only": False,
    "maintenance": False,
}


@pytest.mark.parametrize("via", ["native", "ccxt"])
async def test_a_kraken_pair_that_is_restricted_is_traded_and_a_halted_one_is_not(
    via: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"AA{letter}/USD": state for letter, state in zip("ABCDEF", STATES, strict=True)}
    listed = {"error": [], "result": dict(kraken.pair(name, status=state) for name, state in names.items())}
    async with OddExchange("kraken", kraken.answers(Clock()) | {"/0/public/AssetPairs": listed}) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange("kraken", via=via) as exchange:
            listings = await exchange.fetch_listings()
    assert {names[symbol]: listing.active for symbol, listing in listings.items()} == STATES


async def test_a_break_of_binance_may_be_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"symbols": [binance.market("AAA/USDT", status="BREAK"), binance.market("BBB/USDT", status="HALT")]}
    async with OddExchange("binance", binance.answers(Clock()) | {"/api/v3/exchangeInfo": listed}) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange("binance") as exchange:
            listings = await exchange.fetch_listings()
    found = [(one.active, one.delisted, one.delisted_if_lasting) for one in listings.values()]
    assert found == [(False, False, True), (False, False, False)]
