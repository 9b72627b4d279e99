"""What was collected reads back: views in psql, roll-ups of every size, pandas."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.repositories.ohlcv import TimeseriesRepository
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector
from fullon_ohlcv_service.utils.add_symbols import add_all_symbols
from fullon_simulator import SimulatedMarket

FOLDED_SECONDS = {"minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}


@pytest.fixture
async def collected(seeded: SimulatedMarket, clock: Clock) -> tuple[datetime, datetime]:
    """A day of history of both venues in the store; whole hours of it that are surely there."""
    assert await add_all_symbols()
    assert sum((await HistoricOHLCVCollector().start_collection()).values()) > 0
    assert sum((await HistoricTradeCollector().start_collection()).values()) > 0
    end_us = floor_minute_us(clock.now_us() - 90 * MINUTE_US)
    end = datetime.fromtimestamp(end_us // 1_000_000, UTC).replace(minute=0)
    return end - timedelta(hours=20), end


@pytest.mark.parametrize(("exchange", "symbol"), [("kraken", "BTC/USD"), ("binance", "BTC/USDT")])
async def test_roll_ups_of_minutes_and_hours_equal_the_markets_own(
    seeded: SimulatedMarket, collected: tuple[datetime, datetime], exchange: str, symbol: str
) -> None:
    start, end = collected
    start_us, end_us = (round(at.timestamp()) * 1_000_000 for at in collected)
    async with TimeseriesRepository(exchange, symbol) as repository:
        for compression, period in ((1, "minutes"), (5, "minutes"), (60, "minutes"), (1, "hours")):
            rows = await repository.fetch_ohlcv(compression, period, start, end)
            length_s = compression * FOLDED_SECONDS[period]
            truth = seeded.truth(exchange, symbol).candles(start_us, end_us, length_s)
            assert [(round(row[0].timestamp() * 1e6), *row[1:5]) for row in rows] == [one[:5] for one in truth]
            assert [row[5] for row in rows] == pytest.approx([one.volume for one in truth], rel=1e-12)


async def test_days_weeks_and_months_hold_all_of_it_once(collected: tuple[datetime, datetime]) -> None:
    start, end = collected
    async with TimeseriesRepository("kraken", "BTC/USD") as repository:
        minutes = await repository.fetch_ohlcv(1, "minutes", start, end)
        volume = sum(row[5] for row in minutes)
        for period in ("day", "week", "month"):
            rows = await repository.fetch_ohlcv(1, period, start - timedelta(days=40), end, incomplete="keep")
            later = [row for row in rows if row[0] + timedelta(days=32) > start]
            assert sum(row[5] for row in later) >= volume * (1 - 1e-9)
            assert [row[0] for row in rows] == sorted({row[0] for row in rows})
            assert all((row[0].hour, row[0].minute) == (0, 0) for row in rows)
        asked = 1, "weeks", start - timedelta(days=40), end
        assert await repository.fetch_ohlcv(*asked) == [], "no week is known from its start to its end"
        weeks = await repository.fetch_ohlcv(*asked, incomplete="keep")
        assert {row[0].weekday() for row in weeks} == {0}


async def test_a_frame_has_an_aware_utc_index(collected: tuple[datetime, datetime]) -> None:
    async with TimeseriesRepository("binance", "BTC/USDT") as repository:
        frame = await repository.fetch_ohlcv_df(5, "minutes", *collected)
        flat = await repository.fetch_ohlcv_df(1, "minutes", *collected, fill="flat")
    assert str(frame.index.tz) == "UTC"
    assert list(frame.columns) == ["open", "high", "low", "close", "volume", "known_minutes", "complete"]
    assert len(flat) == 20 * 60


def test_psql_reads_the_documented_views(collected: tuple[datetime, datetime]) -> None:
    query = (
        "SELECT count(*), min(low) > 0, max(high) >= min(low) FROM kraken.btc_usd_candles1m;"
        "SELECT count(*) FROM kraken.btc_usd_trades;"
        "SELECT count(*) FROM kraken.btc_usd_ohlcv;"
        "SELECT count(timestamp), sum(vol) > 0 FROM kraken.btc_usd_candles1m_view;"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fullon_embedded", "--data-dir", os.path.dirname(os.environ["DB_HOST"]), "psql"),
            *("--dbname", os.environ["DB_OHLCV_NAME"], "--tuples-only", "--no-align", "--command", query),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    candles, trades, main, folded = done.stdout.split()
    assert candles.endswith("|t|t")
    count = int(candles.split("|")[0])
    assert count > 100
    assert int(trades) > count
    assert int(main) == count
    assert folded == f"{count}|t"
