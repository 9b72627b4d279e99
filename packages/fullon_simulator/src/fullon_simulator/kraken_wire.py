"""Kraken's public formats: pairs, trades, candles; pure functions from the tape's columns to JSON text.

Sources: docs.kraken.com (spot REST: get-asset-info, get-tradable-asset-pairs, get-ohlc-data, get-recent-trades;
WebSocket v2: trade, ohlc, ticker), read 2026-11.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from fullon_simulator.clock import SECOND_US
from fullon_simulator.columns import CandleColumns, TradeColumns
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import Timeframe
from fullon_simulator.wire import decimal_text, iso_ns, iso_us

LOT_DECIMALS = 8
_TRADE_PRICE_DECIMALS = 5
_ALTNAMES = {"BTC": "XBT", "DOGE": "XDG"}
_X_ASSETS = frozenset({"XBT", "XDG", "ETH", "ETC", "LTC", "XLM", "XMR", "XRP", "ZEC"})
_Z_ASSETS = frozenset({"USD", "EUR", "GBP", "JPY", "CAD", "AUD"})
_FEES = [[0, 0.4], [10_000, 0.35], [50_000, 0.24], [100_000, 0.22], [250_000, 0.2]]
_FEES_MAKER = [[0, 0.25], [10_000, 0.2], [50_000, 0.14], [100_000, 0.12], [250_000, 0.1]]


@dataclass(frozen=True)
class Pair:
    """Kraken's several names of one market."""

    spec: SymbolSpec

    @cached_property
    def base(self) -> str:
        """The asset id of the base, for instance XXBT."""
        return asset_id(self.spec.base)

    @cached_property
    def quote(self) -> str:
        """The asset id of the quote, for instance ZUSD."""
        return asset_id(self.spec.quote)

    @cached_property
    def altname(self) -> str:
        """For instance XBTUSD."""
        return altname(self.spec.base) + altname(self.spec.quote)

    @cached_property
    def wsname(self) -> str:
        """The name of the first WebSocket version, for instance XBT/USD."""
        return f"{altname(self.spec.base)}/{altname(self.spec.quote)}"

    @cached_property
    def id(self) -> str:
        """The key of REST answers: old pairs of an X and a Z asset are spelled out, XXBTZUSD, others are not."""
        old = self.base != altname(self.spec.base) and self.quote != altname(self.spec.quote)
        return self.base + self.quote if old and self.spec.base != "DOGE" else self.altname

    def entry(self) -> dict[str, Any]:
        """Return the pair's entry in AssetPairs."""
        digits = self.spec.price_digits
        return {
            "altname": self.altname,
            "wsname": self.wsname,
            "aclass_base": "currency",
            "base": self.base,
            "aclass_quote": "currency",
            "quote": self.quote,
            "lot": "unit",
            "cost_decimals": 5,
            "pair_decimals": digits,
            "lot_decimals": LOT_DECIMALS,
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
            "tick_size": decimal_text(1, digits),
            "status": "online",
        }


def altname(asset: str) -> str:
    """Return Kraken's short name of an asset, for instance XBT of BTC."""
    return _ALTNAMES.get(asset, asset)


def asset_id(asset: str) -> str:
    """Return Kraken's id of an asset: old ones carry an X (coin) or Z (currency) before their name."""
    short = altname(asset)
    return f"X{short}" if short in _X_ASSETS else f"Z{short}" if short in _Z_ASSETS else short


def asset_entry(asset: str) -> dict[str, Any]:
    """Return the asset's entry in Assets."""
    currency = asset_id(asset).startswith("Z")
    decimals, shown = (4, 2) if currency else (10, 5)
    return {
        "aclass": "currency",
        "altname": altname(asset),
        "decimals": decimals,
        "display_decimals": shown,
        "status": "enabled",
    }


def cursors_ns(tape: Tape, start: int, stop: int) -> tuple[TradeColumns, list[int]]:
    """Return the trades at the positions `[start, stop)` and their times in nanoseconds, all different.

    Trades of one microsecond are told apart by the nanosecond, in the order of their ids.
    """
    rows = tape.read(start, stop)
    if not len(rows.time_us):
        return rows, []
    first = start - tape.position(int(rows.time_us[0]))
    cursors = []
    for time_us, group in groupby(rows.time_us.tolist()):
        size = sum(1 for _ in group)
        cursors.extend(time_us * 1000 + min(place, 999) for place in range(first, first + size))
        first = 0
    return rows, cursors


def position_after_ns(tape: Tape, cursor_ns: int) -> int:
    """Return the position of the first trade strictly after a nanosecond cursor."""
    time_us, place = divmod(cursor_ns, 1000)
    return min(tape.position(time_us) + place + 1, tape.position(time_us + 1))


def trade_rows(spec: SymbolSpec, rows: TradeColumns, cursors: list[int]) -> str:
    """Return REST rows `["price","volume",time,"b"|"s","m"|"l","",id]`, times in seconds with seven decimals."""
    price_digits, volume_digits = spec.price_digits, spec.volume_digits
    shown = max(price_digits, _TRADE_PRICE_DECIMALS)
    return ",".join(
        f'["{decimal_text(price, price_digits, shown)}","{decimal_text(volume, volume_digits, LOT_DECIMALS)}",'
        f"{cursor // 1_000_000_000}.{cursor % 1_000_000_000 // 100:07d},"
        f'"{"b" if buy else "s"}","{"m" if market else "l"}","",{trade_id}]'
        for (trade_id, _, price, volume, buy, market), cursor in zip(
            zip(*(column.tolist() for column in rows), strict=True), cursors, strict=True
        )
    )


def trade_events(spec: SymbolSpec, rows: TradeColumns) -> list[str]:
    """Return the entries of a WebSocket trade message, one text for each trade."""
    price_digits, volume_digits = spec.price_digits, spec.volume_digits
    return [
        f'{{"symbol":"{spec.symbol}","side":"{"buy" if buy else "sell"}","price":{decimal_text(price, price_digits)},'
        f'"qty":{decimal_text(volume, volume_digits, LOT_DECIMALS)},"ord_type":"{"market" if market else "limit"}",'
        f'"trade_id":{trade_id},"timestamp":"{iso_us(time_us)}"}}'
        for trade_id, time_us, price, volume, buy, market in zip(
            *(column.tolist() for column in rows), strict=True
        )
    ]


def ohlc_rows(
    spec: SymbolSpec, candles: CandleColumns, timeframe: Timeframe, open_us: list[int], close: int
) -> str:
    """Return REST rows for every open time in `open_us`; where nothing was traded, flat at the last `close`."""
    digits = spec.price_digits
    traded = {row[0]: row for row in zip(*(column.tolist() for column in candles), strict=True)}
    texts = []
    for time_us in open_us:
        row = traded.get(time_us)
        if row is None:
            price = decimal_text(close, digits)
            texts.append(
                f'[{time_us // SECOND_US},"{price}","{price}","{price}","{price}","0.0","0.00000000",0]'
            )
            continue
        _, first, high, low, close, volume, quote, _, _, trades, _, _ = row
        prices = '","'.join(
            decimal_text(price, digits) for price in (first, high, low, close, vwap(quote, volume))
        )
        texts.append(
            f'[{time_us // SECOND_US},"{prices}","{decimal_text(volume, spec.volume_digits, LOT_DECIMALS)}",{trades}]'
        )
    return ",".join(texts)


def ohlc_events(spec: SymbolSpec, candles: CandleColumns, timeframe: Timeframe, minutes: int) -> list[str]:
    """Return the entries of a WebSocket ohlc message, one text for each candle."""
    digits = spec.price_digits
    return [
        f'{{"symbol":"{spec.symbol}","open":{decimal_text(first, digits)},"high":{decimal_text(high, digits)},'
        f'"low":{decimal_text(low, digits)},"close":{decimal_text(close, digits)},"trades":{trades},'
        f'"volume":{decimal_text(volume, spec.volume_digits, LOT_DECIMALS)},'
        f'"vwap":{decimal_text(vwap(quote, volume), digits)},"interval_begin":"{iso_ns(time_us)}",'
        f'"interval":{minutes},"timestamp":"{iso_us(timeframe.next(time_us))}"}}'
        for time_us, first, high, low, close, volume, quote, _, _, trades, _, _ in zip(
            *(column.tolist() for column in candles), strict=True
        )
    ]


def vwap(quote: int, volume: int) -> int:
    """Return the volume-weighted price in units of the price, half up."""
    return (2 * quote + volume) // (2 * volume)
