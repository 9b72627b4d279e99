"""Kraken's public formats: pairs, trades, candles; pure functions from a tape's columns to JSON text.

Sources: docs.kraken.com, spot REST (get-asset-info, get-tradable-asset-pairs, get-ohlc-data,
get-recent-trades) and WebSocket v2 (trade, ohlc).
"""

from functools import partial
from itertools import groupby
from typing import Any

from fullon_simulator.clock import SECOND_US
from fullon_simulator.columns import CandleColumns, TradeColumns, tuples
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import Timeframe
from fullon_simulator.wire import decimal_text, iso_ns, iso_us

_LOT_DECIMALS = 8
_TRADE_PRICE_DECIMALS = 5
_ALTNAMES = {"BTC": "XBT", "DOGE": "XDG"}
_X_ASSETS = frozenset({"XBT", "XDG", "ETH", "ETC", "LTC", "XLM", "XMR", "XRP", "ZEC"})
_Z_ASSETS = frozenset({"USD", "EUR", "GBP", "JPY", "CAD", "AUD"})
_FEES = [[0, 0.4], [10_000, 0.35], [50_000, 0.24], [100_000, 0.22], [250_000, 0.2]]
_FEES_MAKER = [[0, 0.25], [10_000, 0.2], [50_000, 0.14], [100_000, 0.12], [250_000, 0.1]]


def altname(asset: str) -> str:
    """Return Kraken's short name of an asset, for instance XBT of BTC."""
    return _ALTNAMES.get(asset, asset)


def asset_id(asset: str) -> str:
    """Return Kraken's id of an asset: old ones carry an X (coin) or Z (currency) before their name."""
    short = altname(asset)
    if short in _X_ASSETS:
        return f"X{short}"
    return f"Z{short}" if short in _Z_ASSETS else short


def pair_altname(spec: SymbolSpec) -> str:
    """Return the short name of a pair, for instance XBTUSD."""
    return altname(spec.base) + altname(spec.quote)


def pair_wsname(spec: SymbolSpec) -> str:
    """Return the name of a pair on the first WebSocket version, for instance XBT/USD."""
    return f"{altname(spec.base)}/{altname(spec.quote)}"


def pair_id(spec: SymbolSpec) -> str:
    """Return the key of a pair in REST answers: XXBTZUSD for old pairs of coin and currency, else the altname.

    XDGUSD is the odd one: old, yet under its altname.
    """
    spelled_out = altname(spec.base) in _X_ASSETS - {"XDG"} and spec.quote in _Z_ASSETS
    return asset_id(spec.base) + asset_id(spec.quote) if spelled_out else pair_altname(spec)


def asset_entry(asset: str) -> dict[str, Any]:
    """Return an asset's entry in Assets."""
    decimals, shown = (4, 2) if asset in _Z_ASSETS else (10, 5)
    return {
        "aclass": "currency",
        "altname": altname(asset),
        "decimals": decimals,
        "display_decimals": shown,
        "status": "enabled",
    }


def pair_entry(spec: SymbolSpec) -> dict[str, Any]:
    """Return a pair's entry in AssetPairs."""
    return {
        "altname": pair_altname(spec),
        "wsname": pair_wsname(spec),
        "aclass_base": "currency",
        "base": asset_id(spec.base),
        "aclass_quote": "currency",
        "quote": asset_id(spec.quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": spec.price_digits,
        "lot_decimals": _LOT_DECIMALS,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": _FEES,
        "fees_maker": _FEES_MAKER,
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.0001",
        "costmin": "0.5",
        "tick_size": decimal_text(1, spec.price_digits),
        "status": "online",
    }


def cursors_ns(tape: Tape, start: int, stop: int) -> tuple[TradeColumns, list[int]]:
    """Return the trades at the positions `[start, stop)` and their times in nanoseconds, all different.

    Trades of one microsecond are told apart by the nanosecond, in the order of their ids.
    """
    rows = tape.read(start, stop)
    if not len(rows.time_us):
        return rows, []
    first = start - tape.position(int(rows.time_us[0]))
    cursors: list[int] = []
    for time_us, group in groupby(rows.time_us.tolist()):
        size = sum(1 for _ in group)
        cursors.extend(time_us * 1000 + place for place in range(first, first + size))
        first = 0
    return rows, cursors


def position_after_ns(tape: Tape, cursor_ns: int) -> int:
    """Return the position of the first trade strictly after a nanosecond cursor."""
    time_us, place = divmod(cursor_ns, 1000)
    return min(tape.position(time_us) + place + 1, tape.position(time_us + 1))


def trade_rows(spec: SymbolSpec, rows: TradeColumns, cursors: list[int]) -> str:
    """Return REST rows `["price","volume",seconds,"b"|"s","m"|"l","",id]`, seconds with seven decimals."""
    digits = spec.price_digits
    price_text = partial(decimal_text, digits=digits, printed=max(digits, _TRADE_PRICE_DECIMALS))
    volume_text = partial(decimal_text, digits=spec.volume_digits, printed=_LOT_DECIMALS)
    return ",".join(
        f'["{price_text(price)}","{volume_text(volume)}",{decimal_text(cursor // 100, 7)},'
        f'"{"b" if buy else "s"}","{"m" if market else "l"}","",{trade_id}]'
        for (trade_id, _, price, volume, buy, market), cursor in zip(tuples(rows), cursors, strict=True)
    )


def trade_events(spec: SymbolSpec, rows: TradeColumns) -> list[str]:
    """Return the entries of a WebSocket trade message, one text for each trade."""
    price_text = partial(decimal_text, digits=spec.price_digits)
    volume_text = partial(decimal_text, digits=spec.volume_digits, printed=_LOT_DECIMALS)
    return [
        f'{{"symbol":"{spec.symbol}","side":"{"buy" if buy else "sell"}","price":{price_text(price)},'
        f'"qty":{volume_text(volume)},"ord_type":"{"market" if market else "limit"}",'
        f'"trade_id":{trade_id},"timestamp":"{iso_us(time_us)}"}}'
        for trade_id, time_us, price, volume, buy, market in tuples(rows)
    ]


def ohlc_rows(spec: SymbolSpec, candles: CandleColumns, open_us: list[int], last_price: int) -> str:
    """Return REST rows for every open time in `open_us`; where nothing was traded, flat at the last price."""
    price_text = partial(decimal_text, digits=spec.price_digits)
    volume_text = partial(decimal_text, digits=spec.volume_digits, printed=_LOT_DECIMALS)
    traded = {row[0]: row for row in tuples(candles)}
    texts: list[str] = []
    for time_us in open_us:
        row = traded.get(time_us)
        if row is None:
            prices = '","'.join([price_text(last_price)] * 4)
            texts.append(f'[{time_us // SECOND_US},"{prices}","0.0","0.00000000",0]')
            continue
        _, first, high, low, last_price, volume, quote, _, _, trades, _, _ = row
        prices = '","'.join(map(price_text, (first, high, low, last_price, vwap(quote, volume))))
        texts.append(f'[{time_us // SECOND_US},"{prices}","{volume_text(volume)}",{trades}]')
    return ",".join(texts)


def ohlc_events(spec: SymbolSpec, candles: CandleColumns, timeframe: Timeframe, minutes: int) -> list[str]:
    """Return the entries of a WebSocket ohlc message, one text for each candle."""
    price_text = partial(decimal_text, digits=spec.price_digits)
    volume_text = partial(decimal_text, digits=spec.volume_digits, printed=_LOT_DECIMALS)
    return [
        f'{{"symbol":"{spec.symbol}","open":{price_text(first)},"high":{price_text(high)},'
        f'"low":{price_text(low)},"close":{price_text(close)},"trades":{trades},'
        f'"volume":{volume_text(volume)},"vwap":{price_text(vwap(quote, volume))},'
        f'"interval_begin":"{iso_ns(time_us)}","interval":{minutes},'
        f'"timestamp":"{iso_us(timeframe.next(time_us))}"}}'
        for time_us, first, high, low, close, volume, quote, _, _, trades, _, _ in tuples(candles)
    ]


def ticker_events(spec: SymbolSpec, day: CandleColumns, last: TradeColumns) -> list[str]:
    """Return the entry of a ticker message from the past day and its last trade; none where there is none.

    There is no book: the best prices are the last trade's and the tick beside it.
    """
    price_text = partial(decimal_text, digits=spec.price_digits)
    volume_text = partial(decimal_text, digits=spec.volume_digits, printed=_LOT_DECIMALS)
    return [
        f'{{"symbol":"{spec.symbol}","bid":{price_text(close - buy)},"bid_qty":{volume_text(size)},'
        f'"ask":{price_text(close - buy + 1)},"ask_qty":{volume_text(size)},"last":{price_text(close)},'
        f'"volume":{volume_text(volume)},"vwap":{price_text(vwap(quote, volume))},"low":{price_text(low)},'
        f'"high":{price_text(high)},"change":{"-" * (close < first)}{price_text(abs(close - first))},'
        f'"change_pct":{100 * (close - first) / first:.2f},"timestamp":"{iso_us(time_us)}"}}'
        for (_, first, high, low, close, volume, quote, *_), (_, time_us, _, size, buy, _) in zip(
            tuples(day), tuples(last), strict=False
        )
    ]


def vwap(quote: int, volume: int) -> int:
    """Return the volume-weighted price in units of the price, half up."""
    return (2 * quote + volume) // (2 * volume)
