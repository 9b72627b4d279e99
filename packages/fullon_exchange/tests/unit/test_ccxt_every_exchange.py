"""Every exchange that ccxt knows opens behind the interface, or says in a sentence why not; nothing is asked."""

import subprocess
import sys
import time
from typing import Any

import ccxt
import ccxt.pro
import pytest

from fullon_exchange import Clock, open_exchange
from fullon_exchange.ccxt_adapter import library
from fullon_exchange.ccxt_adapter.connection import ask_for
from fullon_exchange.ccxt_adapter.dialects import dialect_of
from fullon_exchange.ccxt_adapter.traits import can
from fullon_exchange.errors import ExchangeError, NotSupported, UnknownExchange
from fullon_exchange.live.buffer import EventBuffer
from fullon_exchange.live.counters import Faults
from fullon_exchange.live.intake import Surroundings
from fullon_exchange.live.time import ServerTime

WITH_CREDENTIALS = {"alpaca", "luno"}
"""Exchanges whose public streams want a key."""
WITH_A_TOKEN = {"kucoin", "kucoinfutures"}
"""Exchanges whose address must be asked for first."""
ODD_MARKETS = {"apex", "bitrue", "nado"}
"""Exchanges whose markets look different enough that a made-up one will not do."""
TESTED = {"binance", "binancecoinm", "binanceusdm", "hyperliquid", "kraken"}


def test_every_exchange_opens_or_says_why_not() -> None:
    begun = time.monotonic()
    refused: dict[str, str] = {}
    for name in ccxt.exchanges:
        try:
            traits = open_exchange(name, via="ccxt", clock=Clock()).traits
        except NotSupported as error:
            refused[name] = str(error)
            continue
        assert traits.timeframes or traits.candles_from_trades
        assert traits.rechecks_per_s > 0
        assert traits.tested is (name in TESTED)
        if "1m" in traits.timeframes:
            assert traits.candles_from_trades is (name == "kraken")
    assert len(refused) < 10
    assert all(sentence.startswith(f"{name}: ccxt gets neither") for name, sentence in refused.items())
    assert time.monotonic() - begun < 30


def made_up(raw: Any, base: str) -> Any:
    swap = not raw.has.get("spot")
    quote = "USDT"
    return raw.safe_market_structure(
        {
            "id": f"{base}{quote}",
            "lowercaseId": f"{base}{quote}".lower(),
            "symbol": f"{base}/{quote}" + (f":{quote}" if swap else ""),
            "base": base,
            "quote": quote,
            "baseId": base,
            "quoteId": quote,
            "baseName": base,
            "settle": quote if swap else None,
            "settleId": quote if swap else None,
            "type": "swap" if swap else "spot",
            "spot": not swap,
            "swap": swap,
            "future": False,
            "option": False,
            "contract": swap,
            "linear": swap or None,
            "inverse": False if swap else None,
            "contractSize": 1.0 if swap else None,
            "active": True,
            "precision": {"price": 0.01, "amount": 0.001},
            "info": {"wsname": f"{base}/{quote}"},
            "limits": {},
        }
    )


async def test_what_every_exchange_would_send_is_told_without_sending_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    told: dict[str, list[library.Ask]] = {}
    for name in ccxt.pro.exchanges:
        raw, dialect = library.create(name), dialect_of(name)
        dialect.prepare(raw)
        raw.set_markets([made_up(raw, "BTC"), made_up(raw, "ETH")])
        monkeypatch.setattr(raw, "fetch", None)
        buffer = EventBuffer(1, pause=lambda: None, resume=lambda: None)
        around = Surroundings(name, "", clock, dialect.sockets, ServerTime(), buffer, Faults(name))
        for channel, watches in (("trades", "watchTrades"), ("candles1m", "watchOHLCV")):
            if not can(raw.has, watches):
                continue
            try:
                ask = await ask_for(raw, dialect, [(channel, raw.symbols[0])], around)  # type: ignore[list-item]
            except ExchangeError:
                continue
            assert ask.url.startswith(("ws://", "wss://")), name
            assert ask.hashes, name
            told.setdefault(name, []).append(ask)
        assert not raw.clients, "nothing of ccxt's own has been connected"
    silent = {name for name in ccxt.pro.exchanges if can(getattr(ccxt.pro, name)().has, "watchTrades")} - set(told)
    assert silent <= WITH_CREDENTIALS | WITH_A_TOKEN | ODD_MARKETS
    assert len(told) > 60


def test_an_unknown_name_is_refused_and_a_way_can_be_forced() -> None:
    with pytest.raises(UnknownExchange, match="did you mean"):
        open_exchange("bitvavoo")
    with pytest.raises(UnknownExchange):
        open_exchange("bitvavo", via="native")
    assert type(open_exchange("kraken")).__name__ == "NativeExchange"
    assert type(open_exchange("kraken", via="ccxt")).__name__ == "CcxtExchange"
    assert type(open_exchange("Bitvavo")).__name__ == "CcxtExchange"


def test_ccxt_is_not_imported_before_an_exchange_of_it_is_opened() -> None:
    program = (
        "import sys; from fullon_exchange import open_exchange; open_exchange('kraken'); "
        "assert 'ccxt' not in sys.modules; open_exchange('bitvavo'); assert 'ccxt' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
