"""Unified symbols are what unmodified ccxt calls the same markets."""

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from fullon_exchange.binance import mapper as binance_mapper
from fullon_exchange.kraken import mapper as kraken_mapper

Read = Callable[[str], str]


def body_of(text: str) -> str:
    return text.splitlines()[0].split(": ", 1)[1]


def answering(name: str, answers: dict[str, str]) -> Any:
    """Return a ccxt exchange whose HTTP answers are the given texts, by a part of the address."""
    exchange = getattr(importlib.import_module("ccxt"), name)()

    def fetch(url: str, *args: Any, **kwargs: Any) -> Any:
        return json.loads(next(text for part, text in answers.items() if part in url))

    exchange.fetch = fetch
    return exchange


def test_kraken_symbols_are_those_of_ccxt(recorded: Read) -> None:
    pairs = json.loads(body_of(recorded("kraken/cryptofeed/2021-04-17_KRAKEN.0.gz")))
    for name, asset in (("LUNAUSD", "LUNA"), ("LUNA2USD", "LUNA2"), ("USTUSD", "UST")):
        entry = pairs["result"]["ADAUSD"] | {"altname": name, "wsname": f"{asset}/USD", "base": asset}
        pairs["result"][name] = entry
    altnames = {}
    for pair in pairs["result"].values():
        if "wsname" in pair:
            base, quote = pair["wsname"].split("/")
            altnames |= {pair["base"]: base, pair["quote"]: quote}
    assets = {
        asset: {"aclass": "currency", "altname": altname, "decimals": 8, "display_decimals": 5, "status": "enabled"}
        for asset, altname in altnames.items()
    }
    exchange = answering(
        "kraken", {"AssetPairs": json.dumps(pairs), "Assets": json.dumps({"error": [], "result": assets})}
    )
    exchange.load_markets()
    theirs = {name: markets[0]["symbol"] for name, markets in exchange.markets_by_id.items()}
    ours = kraken_mapper.parse_listings(json.dumps(pairs).encode())
    assert len(ours) > 250
    assert {listing.wire["rest"]: symbol for symbol, listing in ours.items()} == {
        name: symbol for name, symbol in theirs.items() if not name.endswith(".d")
    }


def test_binance_symbols_are_those_of_ccxt(recorded: Read) -> None:
    text = body_of(recorded("binance/cryptofeed/2021-10-12_BINANCE.0.gz"))
    exchange = answering("binance", {"exchangeInfo": text})
    exchange.options["fetchMarkets"] = {"types": ["spot"]}
    exchange.load_markets()
    theirs = {market["id"]: (market["symbol"], market["base"]) for market in exchange.markets.values()}
    listings = binance_mapper.parse_listings(text.encode())
    ours = {listing.wire["rest"]: (symbol, listing.base) for symbol, listing in listings.items()}
    assert ours == theirs


@pytest.mark.parametrize("symbol", ["BTC/USD", "DOGE/USD"])
def test_the_odd_names_are_hidden(symbol: str, recorded: Read) -> None:
    listings = kraken_mapper.parse_listings(body_of(recorded("kraken/cryptofeed/2021-04-17_KRAKEN.0.gz")).encode())
    assert symbol in listings
