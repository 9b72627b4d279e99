"""Recordings as markets: what was recorded is what is served."""

import gzip
import json
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from fullon_simulator import MarketClock, RecordedTrade, SimulatedMarket, read_recording, replay
from fullon_simulator.errors import RecordingUnreadable

START_US = 1_767_268_800_000_000
MINUTE_US = 60_000_000
RECORDED = Path(__file__).parents[4] / "shared" / "data"

LINES = [
    [START_US + 1, "100.5", "0.10", "buy", "market", 70],
    [START_US + 1, "100.5", "0.25", "buy", "limit", 71],
    [START_US + 1, "100.6", "1", "buy", "limit", 72],
    [START_US + 86_400_000_000 + MINUTE_US, "99", "0.07", "sell", "market", 75],
]


def recorded(name: str) -> Path:
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"the recorded data {name} is not here")
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "trades.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(line) for line in LINES).encode()))
    return path


def test_a_recording_is_a_tape_with_its_own_ids(recording: Path) -> None:
    tape = replay("kraken", "BTC/USD", read_recording(recording))
    trades = tape.trades(START_US, START_US + 10**12)
    assert [trade.trade_id for trade in trades] == ["70", "71", "72", "75"]
    assert [trade.volume for trade in trades] == [0.10, 0.25, 1, 0.07]
    assert [
        (c.timestamp_us - START_US, c.volume, c.trades) for c in tape.candles(START_US, START_US + 2 * 86_400_000_000)
    ] == [
        (0, 1.35, 3),
        (86_400_000_000 + MINUTE_US, 0.07, 1),
    ]
    assert tape.spec.listed_at_us == START_US + 1
    assert tape.position_of_id(73) == 3
    assert tape.time_at(4) is None
    aggregates = tape.read_aggregates(0, 10)
    assert (aggregates.first_id.tolist(), aggregates.last_id.tolist()) == ([70, 72, 75], [71, 72, 75])


def test_a_recording_can_be_moved_in_time(recording: Path) -> None:
    tape = replay("kraken", "BTC/USD", read_recording(recording), shift_us=5 * MINUTE_US)
    assert tape.time_at(0) == START_US + 1 + 5 * MINUTE_US


async def test_a_recording_is_served_as_it_happened(recording: Path, http: aiohttp.ClientSession) -> None:
    """Before its first trade it is not listed, after its last it is quiet."""
    tape = replay("binance", "BTC/USDT", read_recording(recording))
    clock = MarketClock.starting_at(START_US + 3 * MINUTE_US)
    async with SimulatedMarket({"binance": [tape]}, clock=clock) as market:
        url = market.origin("binance") + "/api/v3/"
        async with http.get(url + "klines?symbol=BTCUSDT&interval=1m") as answer:
            rows = await answer.json()
        assert [(row[4], row[8]) for row in rows] == [("100.60000000", n) for n in (3, 0, 0, 0)]
        async with http.get(url + "historicalTrades?symbol=BTCUSDT&fromId=71") as answer:
            assert [row["id"] for row in await answer.json()] == [71, 72]


@pytest.mark.parametrize("text", ["", "hello", "[1, 2]", '{"result": {}}', '[1, "x", "1", "buy", "limit", 1]'])
def test_an_unreadable_recording_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    if text:
        with pytest.raises((RecordingUnreadable, ValueError), match=r"broken\.json|at least one"):
            replay("kraken", "BTC/USD", read_recording(path))
    with pytest.raises(RecordingUnreadable, match="missing"):
        read_recording(tmp_path / "missing.json")


def test_repeated_ids_are_refused() -> None:
    trade = RecordedTrade(START_US, Decimal(1), Decimal(1), "buy", "limit", 1)
    with pytest.raises(ValueError, match="distinct ids"):
        replay("kraken", "BTC/USD", [trade, trade])


def test_recorded_kraken_trades_fold_into_krakens_own_candles() -> None:
    """The exchange's OHLC of the same hours is the fold of its trades: our fold and its fold are one."""
    tape = replay("kraken", "BTC/USDT", read_recording(recorded("kraken/nautilus_pair/dev_trades_XBTUSDT.json.gz")))
    with gzip.open(recorded("kraken/nautilus_pair/dev_ohlc_XBTUSDT_1m.json.gz")) as file:
        rows = json.load(file)["result"]["XBTUSDT"]
    first_us = tape.time_at(0) or 0
    end_us = tape.read(0, 10_000).time_us[-1] // MINUTE_US * MINUTE_US
    start_us = first_us // MINUTE_US * MINUTE_US + MINUTE_US
    theirs = {row[0] * 1_000_000: row for row in rows if start_us <= row[0] * 1_000_000 < end_us and row[7]}
    ours = {candle.timestamp_us: candle for candle in tape.candles(start_us, int(end_us))}
    common = theirs.keys() & ours.keys()
    assert len(common) > 100
    for time_us in common:
        expected = theirs[time_us]
        assert ours[time_us][1:] == (*(float(text) for text in expected[1:5]), float(expected[6]), expected[7])


def test_recorded_binance_streams_are_read() -> None:
    path = recorded("binance/hftbacktest/dev_btcusdt_20240808_trade_stream.jsonl.gz")
    trades = read_recording(path)
    tape = replay("binance", "BTC/USDT", trades)
    assert tape.position(2_000_000_000_000_000) == len(trades) > 5_000
