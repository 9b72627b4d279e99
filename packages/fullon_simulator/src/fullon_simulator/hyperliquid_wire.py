"""Hyperliquid's public formats: markets, trades, candles; pure functions from a tape's columns to JSON.

Sources: Hyperliquid docs, "Info endpoint" (perpetuals, spot, candle snapshot) and "WebSocket, Subscriptions";
answers recorded by its SDK's tests. Prices and sizes are strings without trailing zeros, one decimal at least.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from fullon_simulator.clock import DAY_US
from fullon_simulator.columns import CandleColumns, TradeColumns, tuples
from fullon_simulator.conventions import transaction_id
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import BINANCE, Timeframe
from fullon_simulator.wire import decimal_text

INTERVALS: Mapping[str, Timeframe] = {
    name: BINANCE[name]
    for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M")
}
"""Candle intervals by name. Where weeks begin is inferred: on Mondays."""

_THOUSANDS = frozenset({"PEPE", "SHIB", "BONK", "LUNC", "FLOKI", "NEIRO"})
_UNIT_TOKENS = {
    "BTC": ("UBTC", "Unit Bitcoin"),
    "ETH": ("UETH", "Unit Ethereum"),
    "SOL": ("USOL", "Unit Solana"),
    "PUMP": ("UPUMP", "Unit Pump Fun"),
    "BONK": ("UBONK", "Unit Bonk"),
}
"""Coins of other chains have a token of another name. Source: hyperunit.xyz, token metadata."""
_USDC = {
    "name": "USDC",
    "szDecimals": 8,
    "weiDecimals": 8,
    "index": 0,
    "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054",
    "isCanonical": True,
    "evmContract": None,
    "fullName": None,
}
_CANONICAL = "PURR/USDC"
_HASH_FACTOR = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95
"""Spreads a `tid` over the 256 bits of a hash."""


def in_order(specs: Iterable[SymbolSpec]) -> list[SymbolSpec]:
    """Return the markets in the order of their listing: a new one comes last, so that no index ever changes."""
    return sorted(specs, key=lambda spec: spec.listed_at_us)


def coins(specs: Iterable[SymbolSpec]) -> dict[str, str]:
    """Return the name on the wire of every symbol.

    A perpetual goes by its base (thousands of a cheap coin by kPEPE), a spot market by @ and its index; only
    PURR/USDC goes by its own name.
    """
    names: dict[str, str] = {}
    spot = 0
    for spec in in_order(specs):
        if spec.settle:
            thousands = spec.base.startswith("K") and spec.base[1:] in _THOUSANDS
            names[spec.symbol] = f"k{spec.base[1:]}" if thousands else spec.base
        else:
            names[spec.symbol] = spec.symbol if spec.symbol == _CANONICAL else f"@{spot}"
            spot += 1
    return names


def perpetuals_meta(specs: Iterable[SymbolSpec], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer to `meta`."""
    universe = [
        {"szDecimals": spec.volume_digits, "name": names[spec.symbol], "maxLeverage": 40, "marginTableId": 56}
        for spec in specs
    ]
    return {"universe": universe, "marginTables": [], "collateralToken": 0}


def spot_meta(specs: Iterable[SymbolSpec], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer to `spotMeta`; the token of the market with index n has index n + 1, USDC has 0."""
    universe: list[dict[str, Any]] = []
    tokens: list[dict[str, Any]] = [_USDC]
    for index, spec in enumerate(specs):
        canonical = spec.symbol == _CANONICAL
        token, full_name = _UNIT_TOKENS.get(spec.base, (spec.base, None))
        universe.append(
            {"tokens": [index + 1, 0], "name": names[spec.symbol], "index": index, "isCanonical": canonical}
        )
        tokens.append(
            {
                "name": token,
                "szDecimals": spec.volume_digits,
                "weiDecimals": spec.volume_digits + 5,
                "index": index + 1,
                "tokenId": f"0x{(index + 1) * _HASH_FACTOR % 2**128:032x}",
                "isCanonical": canonical,
                "evmContract": None,
                "fullName": full_name,
            }
        )
    return {"universe": universe, "tokens": tokens}


def perpetual_context(tape: Tape, now_us: int) -> dict[str, Any]:
    """Return a perpetual's entry in `metaAndAssetCtxs`; mark, middle and oracle prices are all the last one."""
    last = last_price(tape, now_us)
    return {
        "funding": "0.0000125",
        "openInterest": "0.0",
        **_day(tape, now_us),
        "premium": "0.0",
        "oraclePx": last,
        "impactPxs": [last, last],
    }


def spot_context(tape: Tape, coin: str, now_us: int) -> dict[str, Any]:
    """Return a spot market's entry in `spotMetaAndAssetCtxs`."""
    return {**_day(tape, now_us), "circulatingSupply": "0.0", "coin": coin, "totalSupply": "0.0"}


def last_price(tape: Tape, now_us: int) -> str:
    """Return the price of the last trade."""
    return _text(tape.last_price(now_us), tape.spec.price_digits)


def _day(tape: Tape, now_us: int) -> dict[str, Any]:
    last, day, spec = last_price(tape, now_us), tape.past_day(now_us), tape.spec
    return {
        "prevDayPx": last_price(tape, max(now_us - DAY_US, spec.listed_at_us + 1)),
        "dayNtlVlm": _text(int(day.quote.sum()), spec.price_digits + spec.volume_digits),
        "markPx": last,
        "midPx": last,
        "dayBaseVlm": _text(int(day.volume.sum()), spec.volume_digits),
    }


def trade_entries(spec: SymbolSpec, coin: str, rows: TradeColumns) -> list[str]:
    """Return the trades as `recentTrades` and the stream have them, one text for each.

    The side is the taker's: B bought, A (ask) sold. Hash and users are made up.
    """
    price_text = partial(_text, digits=spec.price_digits)
    size_text = partial(_text, digits=spec.volume_digits)
    entries: list[str] = []
    for number, time_us, price, volume, buy, _ in tuples(rows):
        tid = transaction_id(spec, number)
        spread = int(tid) * _HASH_FACTOR % 2**256
        entries.append(
            f'{{"coin":"{coin}","side":"{"B" if buy else "A"}","px":"{price_text(price)}",'
            f'"sz":"{size_text(volume)}","time":{time_us // 1000},"hash":"0x{spread:064x}","tid":{tid},'
            f'"users":["0x{spread % 2**160:040x}","0x{spread >> 96:040x}"]}}'
        )
    return entries


def candle_entries(
    spec: SymbolSpec, coin: str, interval: str, candles: CandleColumns, open_us: Iterable[int], *, last_price: int
) -> list[str]:
    """Return a candle for every open time; where nothing was traded, flat at the last price."""
    timeframe = INTERVALS[interval]
    price_text = partial(_text, digits=spec.price_digits)
    traded = {row[0]: row for row in tuples(candles)}
    entries: list[str] = []
    for time_us in open_us:
        first = high = low = last_price
        volume = trades = 0
        row = traded.get(time_us)
        if row is not None:
            _, first, high, low, last_price, volume, _, _, _, trades, _, _ = row
        close_ms = timeframe.next(time_us) // 1000 - 1
        entries.append(
            f'{{"t":{time_us // 1000},"T":{close_ms},"s":"{coin}","i":"{interval}","o":"{price_text(first)}",'
            f'"c":"{price_text(last_price)}","h":"{price_text(high)}","l":"{price_text(low)}",'
            f'"v":"{_text(volume, spec.volume_digits)}","n":{trades}}}'
        )
    return entries


def _text(units: int, digits: int) -> str:
    text = decimal_text(units, digits)
    if "." not in text:
        return f"{text}.0"
    text = text.rstrip("0")
    return f"{text}0" if text.endswith(".") else text
