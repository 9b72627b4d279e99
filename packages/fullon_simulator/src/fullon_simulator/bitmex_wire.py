"""BitMEX's public formats: trades and buckets; pure functions from a tape's columns to JSON text.

Sources: BitMEX API explorer (Trade) and "WebSocket API"; recorded frames and days of buckets of 2015 to 2021.
Prices and sizes are numbers. A contract is one unit of the last decimal of its market's volume: of the quote asset
where it is inverse (XBTUSD: one dollar), of the base where it is linear (XBTUSDT: 0.000001 XBT).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from fullon_simulator.columns import CandleColumns, Ints, TradeColumns, tuples
from fullon_simulator.conventions import match_id
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.timeframes import BINANCE, Timeframe
from fullon_simulator.wire import decimal_text, iso_us

BINS: Mapping[str, Timeframe] = {name: BINANCE[name] for name in ("1m", "5m", "1h", "1d")}
"""Buckets by name; each of them divides a day."""

DIRECTION_TRADES = 256
"""How many trades before a page tell the direction of its first price; after so many equal ones it is up."""

_SETTLE_UNITS = {"BTC": ("XBt", 8), "USDT": ("USDt", 6), "ETH": ("Gwei", 9)}
_VWAP_DECIMALS = 4
_TRADE_TYPES = {
    "timestamp": "timestamp",
    "symbol": "symbol",
    "side": "symbol",
    "size": "long",
    "price": "float",
    "tickDirection": "symbol",
    "trdMatchID": "guid",
    "grossValue": "long",
    "homeNotional": "float",
    "foreignNotional": "float",
}
_BUCKET_TYPES = {
    "timestamp": "timestamp",
    "symbol": "symbol",
    "open": "float",
    "high": "float",
    "low": "float",
    "close": "float",
    "trades": "long",
    "volume": "long",
    "vwap": "float",
    "lastSize": "long",
    "turnover": "long",
    "homeNotional": "float",
    "foreignNotional": "float",
}


class Turnover(NamedTuple):
    """What some trades come to together."""

    volume: int
    """In contracts."""
    value: int
    """In the smallest unit of what contracts are paid in."""
    price_volume: int
    """Sum of the products of price and volume, in units of both."""

    def home(self, spec: SymbolSpec) -> float:
        """Return it in the base asset."""
        return self.value / 10.0 ** settle_unit(spec)[1] if spec.inverse else self.volume / 10.0**spec.volume_digits

    def foreign(self, spec: SymbolSpec) -> float:
        """Return it in the quote asset."""
        return self.volume if spec.inverse else self.price_volume / 10.0 ** (spec.price_digits + spec.volume_digits)

    def vwap(self, spec: SymbolSpec) -> float:
        """Return the mean price."""
        if spec.inverse:
            return round(self.volume * 10.0 ** settle_unit(spec)[1] / self.value, _VWAP_DECIMALS)
        return round(self.price_volume / self.volume / 10.0**spec.price_digits, spec.price_digits + _VWAP_DECIMALS)


class Bucket(NamedTuple):
    """The trades of one interval. Where there is one before it, it opens with that one's close, not with `first`."""

    first: int
    high: int
    low: int
    close: int
    trades: int
    last_size: int
    turnover: Turnover


def asset_id(asset: str) -> str:
    """Return BitMEX's name of an asset: XBT of BTC."""
    return "XBT" if asset == "BTC" else asset


def instrument_id(spec: SymbolSpec) -> str:
    """Return BitMEX's name of a market: XBTUSD of BTC/USD:BTC, XBTUSDT of BTC/USDT:USDT."""
    return asset_id(spec.base) + spec.quote


def settle_unit(spec: SymbolSpec) -> tuple[str, int]:
    """Return the smallest unit of what contracts are paid in, and its decimals: satoshis are XBt and 8."""
    return _SETTLE_UNITS.get(spec.settle, (spec.settle, 8))


def gross_values(spec: SymbolSpec, rows: TradeColumns) -> Ints:
    """Return what each trade is worth, in the smallest unit of what it is paid in.

    Inverse: a lot at this price, rounded, times the lots, as in the recorded frames of 2021-07.
    """
    scale = settle_unit(spec)[1]
    if spec.inverse:
        lot = np.rint(10.0 ** (scale + spec.price_digits) * spec.volume_step / rows.price).astype(np.int64)
        return lot * (rows.volume // spec.volume_step)
    product = rows.price * rows.volume
    values: Ints = np.rint(product * 10.0 ** (scale - spec.price_digits - spec.volume_digits)).astype(np.int64)
    return values


def total(spec: SymbolSpec, rows: TradeColumns) -> Turnover:
    """Return what all the trades come to."""
    values = gross_values(spec, rows)
    return Turnover(int(rows.volume.sum()), int(values.sum()), int((rows.price * rows.volume).sum()))


def buckets(spec: SymbolSpec, rows: TradeColumns, timeframe: Timeframe) -> dict[int, Bucket]:
    """Return the non-empty buckets of the trades, by open time."""
    if not len(rows.price):
        return {}
    candles = CandleColumns.of_trades(rows).fold(timeframe.floor_all(rows.time_us))
    ends = np.cumsum(candles.trades)
    values = np.add.reduceat(gross_values(spec, rows), ends - candles.trades)
    return {
        time_us: Bucket(first, high, low, close, trades, size, Turnover(volume, value, price_volume))
        for (time_us, first, high, low, close, volume, price_volume, _, _, trades, _, _), size, value in zip(
            tuples(candles), rows.volume[ends - 1].tolist(), values.tolist(), strict=True
        )
    }


def trade_entries(spec: SymbolSpec, rows: TradeColumns, *, before: int = 0) -> list[str]:
    """Return the trades, one text for each, but for the first `before`: they only tell the direction of the price."""
    name, values = instrument_id(spec), gross_values(spec, rows).tolist()
    entries = [
        f'{{"timestamp":"{iso_ms(time_us)}","symbol":"{name}","side":"{"Buy" if buy else "Sell"}","size":{size},'
        f'"price":{_price_text(price, spec)},"tickDirection":"{direction}","trdMatchID":"{match_id(spec, trade)}",'
        f'"grossValue":{value},{_notionals(spec, Turnover(size, value, price * size))}}}'
        for (trade, time_us, price, size, buy, _), value, direction in zip(
            tuples(rows), values, _directions(rows.price.tolist()), strict=True
        )
    ]
    return entries[before:]


def _directions(prices: Iterable[int]) -> Iterator[str]:
    before, way = 0, "Plus"
    for price in prices:
        if price != before:
            way = "Plus" if price > before else "Minus"
        yield f"{'Zero' if price == before else ''}{way}Tick"
        before = price


def bucket_entries(
    spec: SymbolSpec, found: Mapping[int, Bucket], open_us: Iterable[int], timeframe: Timeframe, *, last_price: int
) -> list[str]:
    """Return a row for every open time, stamped with its end.

    It opens with the last price, be that outside its range; where nothing was traded, it is flat. Before the first
    trade of all (`last_price` 0) prices are null, and the first bucket opens with its own first one.
    """
    name = instrument_id(spec)
    entries: list[str] = []
    for time_us in open_us:
        head = f'{{"timestamp":"{iso_ms(timeframe.next(time_us))}","symbol":"{name}"'
        bucket = found.get(time_us)
        if bucket is None:
            price = _price_text(last_price, spec) if last_price else "null"
            entries.append(
                f'{head},"open":{price},"high":{price},"low":{price},"close":{price},"trades":0,"volume":0,'
                '"vwap":null,"lastSize":null,"turnover":0,"homeNotional":0,"foreignNotional":0}'
            )
            continue
        turnover = bucket.turnover
        entries.append(
            f'{head},"open":{_price_text(last_price or bucket.first, spec)},"high":{_price_text(bucket.high, spec)},'
            f'"low":{_price_text(bucket.low, spec)},"close":{_price_text(bucket.close, spec)},'
            f'"trades":{bucket.trades},"volume":{turnover.volume},"vwap":{number(turnover.vwap(spec))},'
            f'"lastSize":{bucket.last_size},"turnover":{turnover.value},{_notionals(spec, turnover)}}}'
        )
        last_price = bucket.close
    return entries


def partial_frame(table: str, symbol: str, entries: Iterable[str]) -> str:
    """Return the first message of a table: what it is like, and its last row."""
    trades = table == "trade"
    head = {
        "table": table,
        "action": "partial",
        "keys": [],
        "types": _TRADE_TYPES if trades else _BUCKET_TYPES,
        "foreignKeys": {"symbol": "instrument", "side": "side"} if trades else {"symbol": "instrument"},
        "attributes": {"timestamp": "sorted", "symbol": "grouped"},
        "filter": {"symbol": symbol},
    }
    return f'{json.dumps(head, separators=(",", ":"))[:-1]},"data":[{",".join(entries)}]}}'


def insert_frame(table: str, entries: Iterable[str]) -> str:
    """Return a message of new rows."""
    return f'{{"table":"{table}","action":"insert","data":[{",".join(entries)}]}}'


def iso_ms(time_us: int) -> str:
    """Return a time as `2021-07-22T22:36:10.014Z`."""
    return f"{iso_us(time_us)[:-4]}Z"


def number(value: float) -> str:
    """Return a number as JavaScript prints it: without a fraction where it has none."""
    return str(int(value)) if value == int(value) else repr(value)


def _notionals(spec: SymbolSpec, turnover: Turnover) -> str:
    return f'"homeNotional":{number(turnover.home(spec))},"foreignNotional":{number(turnover.foreign(spec))}'


def _price_text(units: int, spec: SymbolSpec) -> str:
    text = decimal_text(units, spec.price_digits)
    return text.rstrip("0").rstrip(".") if "." in text else text
