"""A list of markets is read row by row, and a name never silently comes to mean another market."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fullon_exchange.binance import mapper as binance
from fullon_exchange.bitmex import mapper as bitmex
from fullon_exchange.hyperliquid import mapper as hyperliquid
from fullon_exchange.interface import Listing
from fullon_exchange.kraken import mapper as kraken
from fullon_exchange.listings import Listings, Pins
from fullon_log import configure_logger


def market(symbol: str, market_id: str, *, delisted: bool = False) -> Listing:
    base, _, quote = symbol.partition("/")
    return Listing(symbol, base, quote, not delisted, {"rest": market_id, "ws": market_id}, delisted)


def spot(tokens: list[dict[str, Any]], universe: list[dict[str, Any]]) -> Listings:
    meta = hyperliquid.parse_spot_meta(json.dumps({"tokens": tokens, "universe": universe}).encode())
    return hyperliquid.listings(meta, hyperliquid.PerpMeta([]), [])


TOKENS = [{"name": name, "index": i} for name, i in (("USDC", 0), ("PURR", 1), ("AAA", 2), ("CCC", 4), ("DDD", 5))]
UNIVERSE = [{"name": f"@{i}", "tokens": [i, 0]} for i in (2, 4, 5)]


def test_spot_tokens_are_found_by_their_index() -> None:
    found = spot(TOKENS, UNIVERSE)
    assert {symbol: one.market_id for symbol, one in found.items()} == {
        "AAA/USDC": "@2",
        "CCC/USDC": "@4",
        "DDD/USDC": "@5",
    }


@pytest.mark.parametrize(
    ("read", "named"),
    [
        (lambda: spot(TOKENS, [*UNIVERSE[:1], {"name": "@9", "tokens": [4]}, UNIVERSE[2]]), '"@9"'),
        (lambda: spot([*TOKENS[:3], {"name": None, "index": 4}, TOKENS[4]], UNIVERSE), '"@4"'),
        (
            lambda: binance.parse_listings(
                json.dumps(
                    {
                        "symbols": [
                            {"symbol": "AB", "baseAsset": "A", "quoteAsset": "B", "status": "TRADING"},
                            {"symbol": "CB", "baseAsset": None, "quoteAsset": "B", "status": "TRADING"},
                            {"symbol": "DB", "baseAsset": "D", "quoteAsset": "B", "status": "TRADING"},
                        ]
                    }
                ).encode()
            ),
            '"CB"',
        ),
        (
            lambda: kraken.parse_listings(
                json.dumps(
                    {
                        "result": {
                            "AB": {"altname": "AB", "wsname": "A/B", "base": "A", "quote": "B"},
                            "CB": {"altname": "CB", "wsname": None, "base": "C", "quote": "B"},
                            "DB": {"altname": "DB", "wsname": "D/B", "base": "D", "quote": "B"},
                        }
                    }
                ).encode()
            ),
            '"CB"',
        ),
        (lambda: bitmex.parse_listings(b'[{"symbol":"A"},{"symbol":null,"typ":"CB"},{"symbol":"D"}]'), '"CB"'),
    ],
)
def test_one_malformed_market_is_left_out_and_named(read: Callable[[], Listings], named: str) -> None:
    found = read()
    assert len(found) == 2
    assert any(named in row for row in found.malformed)


def test_of_two_markets_with_one_name_the_first_keeps_it_unless_it_is_delisted() -> None:
    found = Listings([market("HYPE/USDC", "@107"), market("HYPE/USDC", "@250"), market("HYPE/USDC", "@107")])
    assert {symbol: one.market_id for symbol, one in found.items()} == {
        "HYPE/USDC": "@107",
        "HYPE/USDC#@250": "@250",
    }
    found = Listings([market("HYPE/USDC", "@107", delisted=True), market("HYPE/USDC", "@250")])
    assert found["HYPE/USDC"].market_id == "@250"
    assert found["HYPE/USDC#@107"].delisted


def test_a_pinned_name_keeps_its_market_whatever_the_order() -> None:
    pins = Pins("hyperliquid")
    pins.pin({"HYPE/USDC": "@107", "HYPE/USDC#@250": "@250"})
    for order in (["@107", "@250"], ["@250", "@107"]):
        found = Listings(market("HYPE/USDC", one) for one in order)
        pins.apply(found, {})
        assert found["HYPE/USDC"].market_id == "@107"
        assert found["HYPE/USDC#@250"].market_id == "@250"
        assert found["HYPE/USDC#@250"].symbol == "HYPE/USDC#@250"
        assert not pins.renamed


def test_a_name_that_comes_to_mean_another_market_is_refused() -> None:
    pins = Pins("hyperliquid")
    pins.pin({"HYPE/USDC": "@107"})
    pins.pin({"HYPE/USDC": "@250"})
    found = Listings([market("HYPE/USDC", "@250"), market("OLD/USDC", "@107")])
    for _ in range(2):
        pins.apply(found, {})
        assert sorted(found) == ["HYPE/USDC#@250", "OLD/USDC"]
        assert pins.renamed == {
            "HYPE/USDC": "HYPE/USDC now means the market @250; collected is @107, which is listed as OLD/USDC now"
        }


def test_a_pinned_market_whose_row_cannot_be_read_stays_as_it_was() -> None:
    pins = Pins("kraken")
    pins.pin({"A/B": "AB", "C/B": "CB"})
    before = Listings([market("A/B", "AB"), market("C/B", "CB")])
    found = Listings()
    found.malformed.append('"AB" {"wsname":null}')
    pins.apply(found, before)
    assert list(found) == ["A/B"]


def test_the_id_of_a_pinned_market_is_found_wherever_it_stands_in_its_malformed_row(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """OKX lists the names of a row in alphabetical order: `instId` comes after two hundred characters."""
    configure_logger(level="INFO", console=True, file_path="")
    row = json.dumps({f"about{number}": "" for number in range(40)} | {"instId": "BTC-USDT", "quoteCcy": None})
    found = Listings([market("ETH/USDT", "ETH-USDT")])
    assert found.read(row.encode(), msgspec.json.Decoder(dict[str, str]).decode) is None
    pins = Pins("okx")
    pins.pin({"BTC/USDT": "BTC-USDT"})
    pins.apply(found, {})
    assert pins.unreadable == {"BTC/USDT"}
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "cannot be read" in line]
    assert "about39" not in line
