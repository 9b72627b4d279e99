"""Names as people type them: what is unambiguous is read, else others are suggested by what they mean."""

from collections.abc import Mapping

import pytest

from fullon_exchange.names import found_elsewhere, read_name, suggest

KRAKEN = {
    "BTC/USD": ("XXBTZUSD", "BTC/USD"),
    "BTC/EUR": ("XXBTZEUR", "BTC/EUR"),
    "BTC/USDT": ("XBTUSDT", "BTC/USDT"),
    "ETH/USD": ("XETHZUSD", "ETH/USD"),
    "ETH/BTC": ("XETHXXBT", "ETH/BTC"),
    "DOGE/USD": ("XDGUSD", "DOGE/USD"),
    "LUNC/USD": ("LUNAUSD", "LUNA/USD"),
    "OXT/USD": ("OXTUSD", "OXT/USD"),
    "XRT/USD": ("XRTUSD", "XRT/USD"),
    "XTZ/USD": ("XTZUSD", "XTZ/USD"),
    "USDC/USD": ("USDCUSD", "USDC/USD"),
}
BYBIT = {
    "BTC/USDT": ("BTCUSDT",),
    "BTC/USDT:USDT": ("BTCUSDT",),
    "BTC/USDT:USDT-260327": ("BTCUSDT-27MAR26",),
    "BTC/USD:BTC": ("BTCUSD",),
}
HYPERLIQUID = {"BTC/USDC:USDC": ("BTC",), "BTC/USDC": ("@142",), "KPEPE/USDC:USDC": ("kPEPE",)}


@pytest.mark.parametrize(
    ("typed", "markets", "expected"),
    [
        *((name, KRAKEN, ["BTC/USD"]) for name in ("XBT/USD", "btc/usd", "BTCUSD", "BTC-USD", "xbtusd", "Xbt_Usd")),
        *((name, KRAKEN, ["BTC/USD"]) for name in ("BTC/USD", "XXBTZUSD", "xxbtzusd", " btc usd ", "btc.usd")),
        *((name, KRAKEN, ["DOGE/USD"]) for name in ("XDG/USD", "xdgusd", "DOGE-USD")),
        ("ETH/XBT", KRAKEN, ["ETH/BTC"]),
        ("LUNA/USD", KRAKEN, ["LUNC/USD"]),
        ("BTC/GBP", KRAKEN, []),
        ("USD/CUSD", KRAKEN, []),
        ("btc/usdt", BYBIT, ["BTC/USDT"]),
        ("BTC-USDT", BYBIT, ["BTC/USDT"]),
        ("BTCUSDT", BYBIT, ["BTC/USDT", "BTC/USDT:USDT"]),
        ("BTCUSD", BYBIT, ["BTC/USD:BTC"]),
        ("btc-usdt:usdt", BYBIT, ["BTC/USDT:USDT"]),
        ("BTC/USD", BYBIT, []),
        ("btc", HYPERLIQUID, ["BTC/USDC:USDC"]),
        ("kpepe", HYPERLIQUID, ["KPEPE/USDC:USDC"]),
        ("kpepe/usdc:usdc", HYPERLIQUID, ["KPEPE/USDC:USDC"]),
        ("XBT/USD", {"XBT/USD": (), "BTC/USD": ()}, ["XBT/USD"]),
        ("xbt/usd", {"XBT/USD": (), "BTC/USD": ()}, ["BTC/USD", "XBT/USD"]),
        ("", KRAKEN, []),
        ("/", KRAKEN, []),
    ],
)
def test_a_name_is_read_where_it_can_mean_one_market(
    typed: str, markets: Mapping[str, tuple[str, ...]], expected: list[str]
) -> None:
    assert read_name(typed, markets) == expected


@pytest.mark.parametrize(
    ("typed", "markets", "expected"),
    [
        ("XBT/GBP", KRAKEN, "did you mean BTC/USD or BTC/EUR or BTC/USDT?"),
        ("BTC/USDD", KRAKEN, "did you mean BTC/USD or BTC/USDT or BTC/EUR?"),
        ("btcusdc", KRAKEN, "did you mean BTC/USD or BTC/USDT or BTC/EUR?"),
        ("USD/BTC", KRAKEN, "did you mean BTC/USD?"),
        ("BTC/ETH", KRAKEN, "did you mean ETH/BTC or BTC/USD or BTC/EUR?"),
        ("XBT", KRAKEN, "did you mean BTC/USD or BTC/EUR or BTC/USDT?"),
        ("XMR/USD", KRAKEN, "there is no XMR; in USD there is BTC/USD, ETH/USD, DOGE/USD"),
        ("xmr-usd", KRAKEN, "there is no XMR; in USD there is BTC/USD, ETH/USD, DOGE/USD"),
        ("XMR/JPY", KRAKEN, ""),
        ("BTC/USD", BYBIT, "did you mean BTC/USD:BTC or BTC/USDT or BTC/USDT:USDT?"),
        ("BTC/USDC:USDC", BYBIT, "did you mean BTC/USDT:USDT or BTC/USD:BTC or BTC/USDT:USDT-260327?"),
        ("BTC/USD", {}, ""),
        ("", KRAKEN, ""),
    ],
)
def test_a_name_that_cannot_be_read_is_answered_by_meaning_and_not_by_letters(
    typed: str, markets: Mapping[str, tuple[str, ...]], expected: str
) -> None:
    assert suggest(typed, markets.keys()) == expected


@pytest.mark.parametrize(
    ("exchange", "typed", "expected"),
    [
        ("binance", "BTC/USDT:USDT", "that is a USD-M future: `binanceusdm:BTC/USDT:USDT`"),
        ("binance", "btc/usdt:usdt-260327", "that is a USD-M future: `binanceusdm:BTC/USDT:USDT-260327`"),
        ("binance", "BTC/USD:BTC", "that is a COIN-M future: `binancecoinm:BTC/USD:BTC`"),
        ("binanceusdm", "BTC/USD:BTC", "that is a COIN-M future: `binancecoinm:BTC/USD:BTC`"),
        ("binancecoinm", "BTC/USDT", "that is a spot market: `binance:BTC/USDT`"),
        ("kraken", "XBT/USD:USD", "that is a future: `krakenfutures:BTC/USD:USD`"),
        ("krakenfutures", "BTC/USD", "that is a spot market: `kraken:BTC/USD`"),
        ("coinbaseexchange", "BTC/USDC:USDC", "that is a future: `coinbaseinternational:BTC/USDC:USDC`"),
        ("kucoinfutures", "BTC/USDT", "that is a spot market: `kucoin:BTC/USDT`"),
        ("kucoin", "BTC/USDT:USDT", ""),
        ("binance", "BTC/USDT", ""),
        ("binance", "BTCUSDT", ""),
        ("bybit", "BTC/USDT:USDT", ""),
    ],
)
def test_a_market_of_another_kind_is_sent_to_the_exchange_that_has_it(exchange: str, typed: str, expected: str) -> None:
    assert found_elsewhere(exchange, typed) == expected
