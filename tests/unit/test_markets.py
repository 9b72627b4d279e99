"""What the listings say of a market, and what follows from its state."""

import pytest

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.interface import Listing
from fullon_ohlcv.records import Lifecycle, MarketState
from fullon_ohlcv_service.markets import CALM_US, PAUSE_MAX_US, Markets, is_gone, is_served, judge

RENAMED = {"OLD/USD": "the market OLD is listed as NEW/USD now"}
NOW = 1_767_225_600_000_000
LISTINGS = {
    "BTC/USD": Listing("BTC/USD", "BTC", "USD", True),
    "ADA/USD": Listing("ADA/USD", "ADA", "USD", False),
    "LUNA/USD": Listing("LUNA/USD", "LUNA", "USD", False, delisted=True),
}

ABSENT = "unknown symbol: kraken does not list"


@pytest.mark.parametrize(
    ("symbol", "known", "state", "words", "gone", "served"),
    [
        ("BTC/USD", True, Lifecycle.ACTIVE, "", False, True),
        ("ADA/USD", True, Lifecycle.HALTED, "halted: kraken", False, True),
        ("LUNA/USD", True, Lifecycle.DELISTED, "delisted: kraken lists it", True, True),
        ("UST/USD", True, Lifecycle.DELISTED, "delisted: no longer listed by kraken", True, False),
        ("OLD/USD", True, Lifecycle.DELISTED, "delisted: renamed: the market OLD is listed as NEW/USD", True, False),
        ("MAL/USD", True, Lifecycle.HALTED, "halted: cannot be read in the list of kraken", False, False),
        ("XBT/USD", False, Lifecycle.DELISTED, f"{ABSENT} XBT/USD; did you mean BTC/USD?", False, False),
        ("BTC/USDX", False, Lifecycle.DELISTED, f"{ABSENT} BTC/USDX; did you mean BTC/USD?", False, False),
        ("BTC/USD:USD", False, Lifecycle.DELISTED, f"{ABSENT} BTC/USD:USD; that is a future: `kr", False, False),
    ],
)  # fmt: skip
def test_a_state_follows_from_the_listings_and_says_what_can_still_be_had(
    symbol: str, known: bool, state: Lifecycle, words: str, gone: bool, served: bool
) -> None:
    was = MarketState("kraken", symbol, Lifecycle.ACTIVE)
    judged, reason = judge(
        "kraken", symbol, LISTINGS, renamed=RENAMED, unreadable={"MAL/USD"}, known=known, was=was, now_us=NOW
    )
    assert judged is state
    assert reason.startswith(words)
    market = MarketState("kraken", symbol, judged, reason, NOW)
    assert is_gone(market) is gone
    assert is_served(market) is served


@pytest.mark.parametrize(
    ("was", "halted_for_us", "expected"),
    [
        (Lifecycle.ACTIVE, 0, Lifecycle.HALTED),
        (Lifecycle.HALTED, PAUSE_MAX_US - 1, Lifecycle.HALTED),
        (Lifecycle.HALTED, PAUSE_MAX_US, Lifecycle.DELISTED),
        (Lifecycle.DELISTED, 0, Lifecycle.DELISTED),
    ],
)
def test_a_break_is_a_halt_until_it_lasts(was: Lifecycle, halted_for_us: int, expected: Lifecycle) -> None:
    listings = {"ADA/USDT": Listing("ADA/USDT", "ADA", "USDT", False, delisted_if_lasting=True)}
    before = MarketState("binance", "ADA/USDT", was, "", NOW - halted_for_us)
    assert (
        judge(
            "binance", "ADA/USDT", listings, renamed=RENAMED, unreadable={"MAL/USD"}, known=True, was=before, now_us=NOW
        )[0]
        is expected
    )


def test_of_a_closed_venue_what_is_missing_is_gone_and_of_an_unsupported_one_unknown() -> None:
    assert is_gone(MarketState("bitmex", "", Lifecycle.CLOSED, "closed: bitmex has closed", NOW))
    assert not is_gone(MarketState("krakken", "", Lifecycle.CLOSED, "unsupported: no exchange of this name", NOW))


def test_history_goes_on_while_active_waits_calmly_while_halted_and_ends_where_delisted() -> None:
    markets = Markets()
    assert markets.history_until_us("kraken", "ADA/USD") is None
    markets.put(MarketState("kraken", "ADA/USD", Lifecycle.HALTED, "halted: …", NOW))
    markets.note_examined("kraken", NOW + 60 * MINUTE_US)
    assert markets.history_until_us("kraken", "ADA/USD") == NOW + 60 * MINUTE_US - CALM_US
    markets.put(MarketState("kraken", "ADA/USD", Lifecycle.DELISTED, "delisted: …", NOW))
    assert markets.history_until_us("kraken", "ADA/USD") == NOW
