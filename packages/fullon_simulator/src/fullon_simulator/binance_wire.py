"""Binance spot's public formats: symbols, trades, klines; pure functions from a tape's columns to JSON text.

Source: binance-spot-api-docs (rest-api.md, web-socket-streams.md). Decimals are printed with eight places.
"""

from functools import partial
from typing import Any, NamedTuple

from fullon_simulator.columns import AggregateColumns, CandleColumns, TradeColumns, tuples
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.timeframes import Timeframe
from fullon_simulator.wire import Printer, decimal_text, rounded

_PLACES = 8
_NOTHING = decimal_text(0, 0, _PLACES)


def market_id(symbol: str) -> str:
    """Return the venue's name of a symbol, for instance BTCUSDT."""
    return symbol.replace("/", "")


def symbol_entry(spec: SymbolSpec) -> dict[str, Any]:
    """Return the symbol's entry in exchangeInfo."""
    price_text, volume_text = _printers(spec)
    tick, step = price_text(1), volume_text(1)
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
            {"filterType": "MARKET_LOT_SIZE", **lot, "minQty": _NOTHING, "stepSize": _NOTHING},
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
    price_text, volume_text = _printers(spec)
    return ",".join(
        f'{{"id":{trade_id},"price":"{price_text(price)}","qty":"{volume_text(volume)}",'
        f'"quoteQty":"{_quote_text(spec, price * volume)}","time":{time_us // 1000},'
        f'"isBuyerMaker":{"false" if buy else "true"},"isBestMatch":true}}'
        for trade_id, time_us, price, volume, buy, _ in tuples(rows)
    )


def trade_events(spec: SymbolSpec, rows: TradeColumns, event_ms: int) -> list[str]:
    """Return one `@trade` payload for each trade."""
    price_text, volume_text = _printers(spec)
    name = market_id(spec.symbol)
    return [
        f'{{"e":"trade","E":{event_ms},"s":"{name}","t":{trade_id},"p":"{price_text(price)}",'
        f'"q":"{volume_text(volume)}","T":{time_us // 1000},"m":{"false" if buy else "true"},"M":true}}'
        for trade_id, time_us, price, volume, buy, _ in tuples(rows)
    ]


def aggregate_rows(spec: SymbolSpec, rows: AggregateColumns) -> str:
    """Return the rows of `aggTrades`."""
    return ",".join(f"{{{text}}}" for text in _aggregate_texts(spec, rows))


def aggregate_events(spec: SymbolSpec, rows: AggregateColumns, event_ms: int) -> list[str]:
    """Return one `@aggTrade` payload for each aggregate."""
    head = f'"e":"aggTrade","E":{event_ms},"s":"{market_id(spec.symbol)}"'
    return [f"{{{head},{text}}}" for text in _aggregate_texts(spec, rows)]


def _aggregate_texts(spec: SymbolSpec, rows: AggregateColumns) -> list[str]:
    price_text, volume_text = _printers(spec)
    return [
        f'"a":{aggregate_id},"p":"{price_text(price)}","q":"{volume_text(volume)}","f":{first_id},"l":{last_id},'
        f'"T":{time_us // 1000},"m":{"false" if buy else "true"},"M":true'
        for aggregate_id, first_id, last_id, time_us, price, volume, buy in tuples(rows)
    ]


def ticker_event(spec: SymbolSpec, day: CandleColumns, last: TradeColumns, event_ms: int) -> str:
    """Return the `@ticker` payload of a past day, as one candle, and its last trade.

    There is no book: the best prices are the last trade's and the tick beside it.
    """
    price_text, volume_text = _printers(spec)
    ((open_us, first, high, low, close, volume, quote, _, _, trades, first_id, last_id),) = tuples(day)
    ((*_, size, buy, _),) = tuples(last)
    change = f"{'-' * (close < first)}{price_text(abs(close - first))}"
    return (
        f'{{"e":"24hrTicker","E":{event_ms},"s":"{market_id(spec.symbol)}","p":"{change}",'
        f'"P":"{100 * (close - first) / first:.3f}","w":"{price_text((2 * quote + volume) // (2 * volume))}",'
        f'"x":"{price_text(first)}","c":"{price_text(close)}","Q":"{volume_text(size)}",'
        f'"b":"{price_text(close - buy)}","B":"{volume_text(size)}",'
        f'"a":"{price_text(close - buy + 1)}","A":"{volume_text(size)}",'
        f'"o":"{price_text(first)}","h":"{price_text(high)}","l":"{price_text(low)}","v":"{volume_text(volume)}",'
        f'"q":"{_quote_text(spec, quote)}","O":{open_us // 1000},"C":{event_ms},'
        f'"F":{first_id},"L":{last_id},"n":{trades}}}'
    )


def mini_ticker_event(spec: SymbolSpec, day: CandleColumns, event_ms: int) -> str:
    """Return the `@miniTicker` payload of a past day, as one candle."""
    price_text, volume_text = _printers(spec)
    ((_, first, high, low, close, volume, quote, *_),) = tuples(day)
    return (
        f'{{"e":"24hrMiniTicker","E":{event_ms},"s":"{market_id(spec.symbol)}","c":"{price_text(close)}",'
        f'"o":"{price_text(first)}","h":"{price_text(high)}","l":"{price_text(low)}",'
        f'"v":"{volume_text(volume)}","q":"{_quote_text(spec, quote)}"}}'
    )


class Kline(NamedTuple):
    """One candle as text, traded or flat."""

    open_us: int
    open: str
    high: str
    low: str
    close: str
    volume: str = _NOTHING
    quote: str = _NOTHING
    buy_volume: str = _NOTHING
    buy_quote: str = _NOTHING
    trades: int = 0
    first_id: int = -1
    last_id: int = -1

    def row(self, timeframe: Timeframe) -> str:
        """Return the kline as a row of REST `klines`."""
        close_ms = timeframe.next(self.open_us) // 1000 - 1
        return (
            f'[{self.open_us // 1000},"{self.open}","{self.high}","{self.low}","{self.close}","{self.volume}",'
            f'{close_ms},"{self.quote}",{self.trades},"{self.buy_volume}","{self.buy_quote}","0"]'
        )

    def event(self, symbol: str, interval: str, timeframe: Timeframe, event_ms: int, *, closed: bool) -> str:
        """Return the kline as the payload of a `@kline_` stream."""
        name, close_ms = market_id(symbol), timeframe.next(self.open_us) // 1000 - 1
        return (
            f'{{"e":"kline","E":{event_ms},"s":"{name}","k":{{"t":{self.open_us // 1000},"T":{close_ms},'
            f'"s":"{name}","i":"{interval}","f":{self.first_id},"L":{self.last_id},"o":"{self.open}",'
            f'"c":"{self.close}","h":"{self.high}","l":"{self.low}","v":"{self.volume}","n":{self.trades},'
            f'"x":{"true" if closed else "false"},"q":"{self.quote}","V":"{self.buy_volume}",'
            f'"Q":"{self.buy_quote}","B":"0"}}}}'
        )


def klines(spec: SymbolSpec, candles: CandleColumns, open_us: list[int], last_price: int) -> list[Kline]:
    """Return a kline for every open time; where nothing was traded, flat at the last price."""
    price_text, volume_text = _printers(spec)
    quote_text = partial(_quote_text, spec)
    traded = {row[0]: row for row in tuples(candles)}
    found: list[Kline] = []
    for time_us in open_us:
        row = traded.get(time_us)
        if row is None:
            flat = price_text(last_price)
            found.append(Kline(time_us, flat, flat, flat, flat))
            continue
        _, first, high, low, last_price, volume, quote, buy_volume, buy_quote, trades, first_id, last_id = row
        found.append(
            Kline(
                time_us,
                price_text(first),
                price_text(high),
                price_text(low),
                price_text(last_price),
                volume_text(volume),
                quote_text(quote),
                volume_text(buy_volume),
                quote_text(buy_quote),
                trades,
                first_id,
                last_id,
            )
        )
    return found


def _printers(spec: SymbolSpec) -> tuple[Printer, Printer]:
    """Return what prints prices and what prints volumes."""
    return (
        partial(decimal_text, digits=spec.price_digits, printed=_PLACES),
        partial(decimal_text, digits=spec.volume_digits, printed=_PLACES),
    )


def _quote_text(spec: SymbolSpec, units: int) -> str:
    return decimal_text(rounded(units, spec.price_digits + spec.volume_digits, _PLACES), _PLACES)
