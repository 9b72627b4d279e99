"""Lists of markets as exchanges really send them: malformed rows, names that move, and markets asked for apart."""

from collections.abc import Mapping
from typing import Any

import pytest
from fixed_clock import BEGINS_US, unix_now_s
from odd_exchanges import Answer, OddExchange, Request, binance, coinbaseexchange, gate, hyperliquid, kraken

from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock
from fullon_exchange.errors import UnknownSymbol
from fullon_exchange.timeframes import MINUTE_US
from fullon_log import configure_logger

CLOCK = Clock(origin_s=BEGINS_US / 1e6, unix_s=unix_now_s(), speed=50.0)
INSTRUMENT = {"typ": "FFWCSX", "state": "Open", "quoteCurrency": "USD", "settlCurrency": "XBt"}


def of_binance(odd: Any) -> dict[str, Answer]:
    rows = [binance.market("BTC/USDT"), odd, binance.market("ETH/USDT")]
    others = {f"/{api}/v1/exchangeInfo": {"symbols": []} for api in ("fapi", "dapi")}
    return binance.answers(CLOCK) | others | {"/api/v3/exchangeInfo": {"symbols": rows}}


def of_kraken(odd: Any) -> dict[str, Answer]:
    pairs = kraken.pairs(["BTC/USD"])["result"] | {"ODD": odd} | kraken.pairs(["ETH/USD"])["result"]
    return kraken.answers(CLOCK) | {"/0/public/AssetPairs": {"error": [], "result": pairs}}


def of_bitmex(odd: Any) -> dict[str, Answer]:
    rows = [{"symbol": f"{name}USD", "underlying": name} | INSTRUMENT for name in ("XBT", "ETH")]
    return {"/api/v1/instrument/active": [rows[0], odd, rows[1]]}


def of_coinbase(odd: Any) -> dict[str, Answer]:
    rows = [coinbaseexchange.product("BTC/USD"), odd, coinbaseexchange.product("ETH/USD")]
    return coinbaseexchange.answers(CLOCK, {}) | {"/products": rows}


def of_gate(odd: Any) -> dict[str, Answer]:
    ordinary = gate.answers(CLOCK, {"BTC/USDT": (), "ETH/USDT": ()})
    first, last = ordinary["/api/v4/spot/currency_pairs"]  # type: ignore[misc]  # the answer is a list
    return ordinary | {"/api/v4/spot/currency_pairs": [first, odd, last]}


MALFORMED: Mapping[str, tuple[str, Any, dict[str, Answer]]] = {
    "native a pair without a name": ("kraken", "native", of_kraken({"wsname": None, "altname": "ODD"})),
    "native a pair that is a number": ("kraken", "native", of_kraken(7)),
    "native an asset that is null": ("binance", "native", of_binance(binance.market("ODD/USDT", baseAsset=None))),
    "native an asset without letters": ("binance", "native", of_binance(binance.market("ODD/USDT", baseAsset=""))),
    "native an instrument of year 1": (
        "bitmex",
        "native",
        of_bitmex({"symbol": "ODD"} | INSTRUMENT | {"typ": "FFCCSX", "expiry": "0001-01-01T00:00:00+23:59"}),
    ),
    "native a token that is null": (
        "hyperliquid",
        "native",
        hyperliquid.answers(
            CLOCK,
            tokens=[hyperliquid.token(0, "USDC"), hyperliquid.token(2, None), hyperliquid.token(5, "ODD")],
            universe=[hyperliquid.spot(5), hyperliquid.spot(2)],
        ),
    ),
    "native a spot market of one token": (
        "hyperliquid",
        "native",
        hyperliquid.answers(CLOCK, universe=[hyperliquid.spot(1), hyperliquid.spot(5, name="ODD", tokens=[5])]),
    ),
    "ccxt a pair without an asset": (
        "kraken",
        "ccxt",
        of_kraken({"altname": None, "wsname": "ODD", "base": "X", "quote": "Y", "fees": [[0, "odd"]]}),
    ),
    "ccxt an asset that is null": ("binance", "ccxt", of_binance(binance.market("ODD/USDT", quoteAsset=None))),
    "ccxt a row that is a list": ("binance", "ccxt", of_binance(["ODD"])),
    "ccxt a product that is null": (
        "coinbaseexchange",
        "ccxt",
        of_coinbase(coinbaseexchange.product("ODD/X", id=None)),
    ),
    "ccxt a pair that is a text": ("gate", "ccxt", of_gate("ODD")),
    "ccxt a pair with a fee of letters": (
        "gate",
        "ccxt",
        of_gate({"id": "ODD", "base": "ODD", "quote": 5, "fee": "x"}),
    ),
    "ccxt a perpetual without a name": (
        "hyperliquid",
        "ccxt",
        hyperliquid.answers(CLOCK, perpetuals=[hyperliquid.perpetual("BTC"), {"ODD": 1}, hyperliquid.perpetual("ETH")]),
    ),
    "ccxt a spot market without an index": (
        "hyperliquid",
        "ccxt",
        hyperliquid.answers(CLOCK, universe=[hyperliquid.spot(1), hyperliquid.spot(107, name="ODD", index=None)]),
    ),
}
LISTED = {
    "kraken": {"BTC/USD", "ETH/USD"},
    "binance": {"BTC/USDT", "ETH/USDT"},
    "bitmex": {"BTC/USD:BTC", "ETH/USD:BTC"},
    "coinbaseexchange": {"BTC/USD", "ETH/USD"},
    "gate": {"BTC/USDT", "ETH/USDT"},
    "hyperliquid": {"BTC/USDC:USDC"},
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_market_is_logged_once_and_the_others_are_listed(
    case: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logger(level="INFO", console=True, file_path="")
    name, via, answers = MALFORMED[case]
    async with OddExchange(name, answers) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange(name, via=via, clock=CLOCK) as exchange:
            for _ in range(2):
                assert LISTED[name] <= set(await exchange.fetch_listings(age_max_s=0))
    logged = [line for line in capfd.readouterr().err.splitlines() if "markets that cannot be read" in line]
    assert len(logged) == 1
    assert "ODD" in logged[0] or " 7" in logged[0] or "null" in logged[0]


async def test_a_long_list_is_halved_until_the_broken_rows_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 500 products three are malformed, and nothing is requested twice."""
    rows = [coinbaseexchange.product(f"A{number}/USD") for number in range(500)]
    for broken in (3, 250, 499):
        rows[broken]["id"] = None
    async with OddExchange("coinbaseexchange", coinbaseexchange.answers(CLOCK, {}) | {"/products": rows}) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange("coinbaseexchange", clock=CLOCK) as exchange:
            assert len(await exchange.fetch_listings()) == 497
        assert len(odd.asked_for("/products")) == 1


async def test_markets_of_every_builders_exchange_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    dexes = {f"d{number}": [hyperliquid.perpetual(f"d{number}:TSLA")] for number in range(14)}
    for via in ("native", "ccxt"):
        async with OddExchange("hyperliquid", hyperliquid.answers(CLOCK, dexes=dexes)) as odd:
            monkeypatch.setenv(odd.variable, odd.origin)
            async with open_exchange("hyperliquid", via=via, clock=CLOCK) as exchange:  # type: ignore[arg-type]
                listed = await exchange.fetch_listings()
        assert {f"D{number}-TSLA/USDC:USDC" for number in range(14)} <= set(listed)


async def test_tokenised_pairs_are_listed_and_asked_for_with_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class_ = "tokenized_asset"

    def pairs(request: Request) -> Any:
        if request.query.get("aclass_base") == class_:
            return kraken.pairs(["TSLAx/USD"], aclass_base=class_)
        return kraken.pairs()

    async with OddExchange("kraken", kraken.answers(CLOCK) | {"/0/public/AssetPairs": pairs}) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange("kraken", clock=CLOCK) as exchange:
            assert sorted(await exchange.fetch_listings()) == ["BTC/USD", "ETH/USD", "TSLAx/USD"]
            end_us = CLOCK.now_us() - 5 * MINUTE_US
            for symbol in ("BTC/USD", "TSLAx/USD"):
                async for _ in exchange.fetch_trades(symbol, end_us - MINUTE_US, end_us):
                    pass
                async for _ in exchange.fetch_candles(symbol, "1m", end_us - MINUTE_US, end_us):
                    pass
        for path in ("/0/public/Trades", "/0/public/OHLC"):
            classes = {one.query["pair"]: one.query.get("asset_class") for one in odd.asked_for(path)}
            assert classes == {"BTCUSD": None, "TSLAxUSD": class_}


async def test_a_kraken_that_refuses_to_list_tokenised_pairs_lists_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def pairs(request: Request) -> Any:
        return {"error": ["EGeneral:Invalid arguments"]} if request.query.get("aclass_base") else kraken.pairs()

    async with OddExchange("kraken", kraken.answers(CLOCK) | {"/0/public/AssetPairs": pairs}) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange("kraken", clock=CLOCK) as exchange:
            assert sorted(await exchange.fetch_listings()) == ["BTC/USD", "ETH/USD"]


@pytest.mark.parametrize("via", ["native", "ccxt"])
async def test_a_symbol_that_is_used_stays_with_its_market(via: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second HYPE is listed, the first leaves the list and comes back; its name never means the second."""
    first, second = hyperliquid.spot(107), hyperliquid.spot(250)
    tokens = [hyperliquid.token(0, "USDC"), hyperliquid.token(107, "HYPE"), hyperliquid.token(250, "HYPE")]
    async with OddExchange("hyperliquid", hyperliquid.answers(CLOCK, tokens=tokens, universe=[first])) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        async with open_exchange("hyperliquid", via=via, clock=CLOCK) as exchange:
            assert (await exchange.fetch_listing("HYPE/USDC")).market_id == "@107"
            for universe in ([first, second], [second, first]):
                odd.answers |= hyperliquid.answers(CLOCK, tokens=tokens, universe=universe)
                assert (await exchange.fetch_listings(age_max_s=0))["HYPE/USDC"].market_id == "@107"
            odd.answers |= hyperliquid.answers(CLOCK, tokens=tokens, universe=[second])
            assert "HYPE/USDC" not in await exchange.fetch_listings(age_max_s=0)
            expected = "HYPE/USDC now means the market @250; collected is @107, which is not listed any more"
            assert exchange.renamed() == {"HYPE/USDC": expected}
            with pytest.raises(UnknownSymbol, match="now means the market @250"):
                await exchange.fetch_listing("HYPE/USDC")
            odd.answers |= hyperliquid.answers(CLOCK, tokens=tokens, universe=[second, first])
            assert (await exchange.fetch_listings(age_max_s=0))["HYPE/USDC"].market_id == "@107"
            assert not exchange.renamed()
