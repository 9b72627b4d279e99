"""Binance spot's public formats: symbols, trades, aggregates, klines; pure functions from columns to JSON text.

Source: binance-spot-api-docs (rest-api.md, web-socket-streams.md), read 2026-11. Every decimal is printed with
eight places.
"""

from typing import Any, NamedTuple

from fullon_simulator.columns import AggregateColumns, CandleColumns, TradeColumns
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.timeframes import Timeframe
from fullon_simulator.wire import decimal_text, rounded

_PLACES = 8


def market_id(symbol: str) -> str:
    """Return the venue's name of a symbol, for instance BTCUSDT."""
    return symbol.replace("/", "")


def symbol_entry(spec: SymbolSpec) -> dict[str, Any]:
    """Return the symbol's entry in exchangeInfo."""
    tick = decimal_text(1, spec.price_digits, _PLACES)
    step = decimal_text(1, spec.volume_digits, _PLACES)
    lot = {"minQty": step, "maxQty": "9000000000.00000000", "stepSize": step}
    return {
        "symbol": market_id(spec.symbol),
        "status": "TRADING",
        "baseAsset": spec.base,
        "baseAssetPrecision": _PLACES,
        "quoteAsset": spec.quote,
        "quotePrecision": _PLACES,
        "quoteAssetPrecision": _PLACES,
        "baseCommissionPrecision": _PLACES,
        "quoteCommissionPrecision": _PLACES,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": "1000000000.00000000",
                "tickSize": tick,
            },
            {"filterType": "LOT_SIZE", **lot},
            {"filterType": "MARKET_LOT_SIZE", **lot, "minQty": "0.00000000", "stepSize": "0.00000000"},
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def trade_rows(spec: SymbolSpec, rows: TradeColumns) -> str:
    """Return the rows of `trades` and `historicalTrades`."""
    price_digits, volume_digits = spec.price_digits, spec.volume_digits
    return ",".join(
        f'{{"id":{trade_id},"price":"{decimal_text(price, price_digits, _PLACES)}",'
        f'"qty":"{decimal_text(volume, volume_digits, _PLACES)}",'
        f'"quoteQty":"{_quote_text(spec, price * volume)}","time":{time_us // 1000},'
        f'"isBuyerMaker":{"false" if buy else "true"},"isBestMatch":true}}'
        for trade_id, time_us, price, volume, buy, _ in zip(
            *(column.tolist() for column in rows), strict=True
        )
    )


def aggregate_rows(spec: SymbolSpec, rows: AggregateColumns) -> str:
    """Return the rows of `aggTrades`."""
    return ",".join(f"{{{text}}}" for text in _aggregate_texts(spec, rows))


def trade_events(spec: SymbolSpec, rows: TradeColumns, event_ms: int) -> list[str]:
    """Return one `@trade` payload for each trade."""
    price_digits, volume_digits, name = spec.price_digits, spec.volume_digits, market_id(spec.symbol)
    return [
        f'{{"e":"trade","E":{event_ms},"s":"{name}","t":{trade_id},"p":"{decimal_text(price, price_digits, _PLACES)}",'
        f'"q":"{decimal_text(volume, volume_digits, _PLACES)}","T":{time_us // 1000},"m":{"false" if buy else "true"},"M":true}}'
        for trade_id, time_us, price, volume, buy, _ in zip(
            *(column.tolist() for column in rows), strict=True
        )
    ]


def aggregate_events(spec: SymbolSpec, rows: AggregateColumns, event_ms: int) -> list[str]:
    """Return one `@aggTrade` payload for each aggregate."""
    name = market_id(spec.symbol)
    return [f'{{"e":"aggTrade","E":{event_ms},"s":"{name}",{text}}}' for text in _aggregate_texts(spec, rows)]


class Kline(NamedTuple):
    """One candle as text, traded or flat."""

    open: str
    high: str
    low: str
    close: str
    volume: str
    quote: str
    buy_volume: str
    buy_quote: str
    trades: int
    first_id: int
    last_id: int


def klines(spec: SymbolSpec, candles: CandleColumns, open_us: list[int], close: int) -> list[Kline]:
    """Return a kline for every open time; where nothing was traded, flat at the last close, ids -1."""
    price_digits, volume_digits = spec.price_digits, spec.volume_digits
    nothing = decimal_text(0, 0, _PLACES)
    traded = {row[0]: row for row in zip(*(column.tolist() for column in candles), strict=True)}
    found = []
    for time_us in open_us:
        row = traded.get(time_us)
        if row is None:
            price = decimal_text(close, price_digits, _PLACES)
            found.append(Kline(price, price, price, price, nothing, nothing, nothing, nothing, 0, -1, -1))
            continue
        _, first, high, low, close, volume, quote, buy_volume, buy_quote, trades, first_id, last_id = row
        found.append(
            Kline(
                *(decimal_text(price, price_digits, _PLACES) for price in (first, high, low, close)),
                decimal_text(volume, volume_digits, _PLACES),
                _quote_text(spec, quote),
                decimal_text(buy_volume, volume_digits, _PLACES),
                _quote_text(spec, buy_quote),
                trades,
                first_id,
                last_id,
            )
        )
    return found


def kline_row(kline: Kline, open_us: int, next_us: int) -> str:
    """Return one row of REST `klines`."""
    return (
        f'[{open_us // 1000},"{kline.open}","{kline.high}","{kline.low}","{kline.close}","{kline.volume}",'
        f'{next_us // 1000 - 1},"{kline.quote}",{kline.trades},"{kline.buy_volume}","{kline.buy_quote}","0"]'
    )


def kline_event(
    spec: SymbolSpec,
    kline: Kline,
    interval: str,
    timeframe: Timeframe,
    open_us: int,
    event_ms: int,
    *,
    closed: bool,
) -> str:
    """Return a `@kline_` payload."""
    name = market_id(spec.symbol)
    return (
        f'{{"e":"kline","E":{event_ms},"s":"{name}","k":{{"t":{open_us // 1000},"T":{timeframe.next(open_us) // 1000 - 1},'
        f'"s":"{name}","i":"{interval}","f":{kline.first_id},"L":{kline.last_id},"o":"{kline.open}","c":"{kline.close}",'
        f'"h":"{kline.high}","l":"{kline.low}","v":"{kline.volume}","n":{kline.trades},"x":{"true" if closed else "false"},'
        f'"q":"{kline.quote}","V":"{kline.buy_volume}","Q":"{kline.buy_quote}","B":"0"}}}}'
    )


def _aggregate_texts(spec: SymbolSpec, rows: AggregateColumns) -> list[str]:
    price_digits, volume_digits = spec.price_digits, spec.volume_digits
    return [
        f'"a":{aggregate_id},"p":"{decimal_text(price, price_digits, _PLACES)}",'
        f'"q":"{decimal_text(volume, volume_digits, _PLACES)}","f":{first_id},"l":{last_id},'
        f'"T":{time_us // 1000},"m":{"false" if buy else "true"},"M":true'
        for aggregate_id, first_id, last_id, time_us, price, volume, buy in zip(
            *(column.tolist() for column in rows), strict=True
        )
    ]


def _quote_text(spec: SymbolSpec, units: int) -> str:
    return decimal_text(rounded(units, spec.price_digits + spec.volume_digits, _PLACES), _PLACES)
