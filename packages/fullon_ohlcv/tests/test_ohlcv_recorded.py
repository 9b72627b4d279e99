"""Recorded market data, read in place where it lies beside the checkout: the store agrees with the exchanges."""

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fullon_ohlcv.records import CandleRow, CandleWrite, State, TradeRow, TradeWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US, to_us

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data"


def recorded(path: str) -> Any:
    file = RECORDED / path
    if not file.exists():
        pytest.skip(f"no recorded data: {path}")
    return json.loads(gzip.decompress(file.read_bytes()))


async def test_folded_trades_are_krakens_own_candles(store: TimeseriesStore) -> None:
    answer = recorded("kraken/nautilus_pair/dev_trades_XBTUSDT.json.gz")["result"]["XBTUSDT"]
    rows: list[TradeRow] = [
        (round(float(time) * 1e6), float(price), float(volume), {"b": "buy", "s": "sell"}[side], "", str(trade_id))
        for price, volume, time, side, _, _, trade_id in answer
    ]
    published: list[CandleRow] = [
        (time * 1_000_000, float(o), float(h), float(low), float(c), float(volume), count)
        for time, o, h, low, c, _, volume, count in recorded("kraken/nautilus_pair/dev_ohlc_XBTUSDT_1m.json.gz")[
            "result"
        ]["XBTUSDT"]
    ]
    first_us = -(-rows[0][0] // MINUTE_US) * MINUTE_US
    last_us = min(rows[-1][0] // MINUTE_US * MINUTE_US, published[-1][0])
    trades = await store.series("kraken", "BTC/USDT", "trades")
    candles = await store.series("kraken", "BTC/USDT", "candles1m")
    result = await store.write_trades([TradeWrite(trades, rows, [(first_us, last_us)], candles)])
    assert (result.inserted, result.rejected) == (len(rows), [])
    expected = [row for row in published if first_us <= row[0] < last_us and row[6]]
    assert expected
    assert await store.read_candles(candles, (first_us, last_us)) == expected
    states = await store.classify(candles, (first_us, last_us))
    assert {state.state for state in states} == {State.TRADED, State.VERIFIED_EMPTY}


@pytest.mark.parametrize("day", ["2015-09-25", "2015-09-28", "2020-11-05"])
async def test_bitmex_days_with_nulls_outages_and_opens_outside_are_all_good(store: TimeseriesStore, day: str) -> None:
    answer = recorded(f"bitmex/codler_1m_XBTUSD/dev/{day}.json.gz")
    rows: list[Any] = [
        (
            to_us(datetime.fromisoformat(row["timestamp"])) - MINUTE_US,  # BitMEX stamps buckets with their end
            *(row[name] for name in ("open", "high", "low", "close", "volume", "trades")),
        )
        for row in answer
    ]
    series = await store.series("bitmex", "BTC/USD:BTC", "candles1m")
    span = (rows[0][0], rows[-1][0] + MINUTE_US)
    result = await store.write_candles([CandleWrite(series, rows, [span])])
    traded = [row for row in rows if row[6]]
    assert (result.inserted, result.rejected) == (len(traded), [])
    assert await store.read_candles(series, span) == traded
    assert await store.gaps({series: span}) == {series: []}
