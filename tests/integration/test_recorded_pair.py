"""A recorded afternoon of Kraken through our whole pipeline gives the candles that Kraken itself published."""

import gzip
import json
from pathlib import Path

import pytest
from fixed_clock import set_market_clock

from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector
from fullon_orm import init_db
from fullon_simulator import SimulatedMarket, read_recording, replay

PAIR = Path(__file__).resolve().parents[3] / "shared" / "data" / "kraken" / "nautilus_pair"


@pytest.mark.skipif(not PAIR.is_dir(), reason="the recorded market data is not beside this clone")
async def test_the_recorded_trades_fold_into_the_recorded_candles(
    fresh_databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """604 trades of XBTUSDT of 2025-11-10, served by the simulated market as Kraken's REST Trades, collected,
    stored and folded; beside them the exchange's own OHLC of the same hours."""
    trades = read_recording(PAIR / "dev_trades_XBTUSDT.json.gz")
    last_us = max(trade.timestamp_us for trade in trades)
    set_market_clock(monkeypatch, 1.0, last_us + 120_000_000)
    async with SimulatedMarket({"kraken": [replay("kraken", "BTC/USDT", trades)]}, rate_limits=False) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        await init_db()
        await seed_database(market, backtest_days=1)
        assert await HistoricTradeCollector().start_collection() == {"kraken:BTC/USDT": len(trades)}
    published = json.loads(gzip.decompress((PAIR / "dev_ohlc_XBTUSDT_1m.json.gz").read_bytes()))["result"]["XBTUSDT"]
    first_us = min(trade.timestamp_us for trade in trades)
    start_us = first_us - first_us % MINUTE_US + MINUTE_US
    # The last published row was still running when it was recorded.
    end_us = published[-1][0] * 1_000_000
    expected = {
        row[0] * 1_000_000: (*(float(value) for value in row[1:5]), float(row[6]), row[7])
        for row in published
        if start_us <= row[0] * 1_000_000 < end_us and row[7]
    }
    async with TimeseriesStore.open() as store:
        series = await store.series("kraken", "BTC/USDT", "candles1m")
        stored = {row[0]: row[1:] for row in await store.read_candles(series, (start_us, end_us))}
        states = [one.state for one in await store.classify(series, (start_us, end_us))]
    assert len(expected) > 100
    assert stored == expected
    assert set(states) == {"traded", "verified_empty"}
