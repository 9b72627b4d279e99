"""Hyperliquid's mappers against what it really sent; read in place, skipped where the recordings are not there."""

import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime

from fullon_exchange.hyperliquid import mapper
from fullon_exchange.hyperliquid.rest import Hyperliquid
from fullon_exchange.hyperliquid.wire import HyperliquidWire
from fullon_exchange.timeframes import parse_timeframe
from fullon_exchange.wire import TradesFrame

Read = Callable[[str], str]
MINUTE_US = 60_000_000
LATEST_US = 4_000_000_000_000_000


def exchanges(text: str) -> list[tuple[dict[str, object], bytes]]:
    """Return the questions and answers of a recorded cassette: JSON in single-quoted YAML, folded over lines."""
    bodies = re.findall(r"^    body: '(.*?)'$", text, re.MULTILINE | re.DOTALL)
    answers = re.findall(r"^      string: '(.*?)'$", text, re.MULTILINE | re.DOTALL)
    return [(json.loads(body), answer.encode()) for body, answer in zip(bodies, answers, strict=True)]


def test_recorded_candles_touch_what_was_asked_for_and_follow_each_other(recorded: Read) -> None:
    """Hyperliquid's own SDK asked for 23 hours from the middle of one to the middle of another."""
    *_, (question, body) = exchanges(recorded("hyperliquid/sdk_cassettes/test_get_candles_snapshot.yaml"))
    asked = question["req"]
    assert isinstance(asked, dict)
    hour = parse_timeframe("1h")
    answer = mapper.parse_candles(body, "KPEPE/USDC:USDC", hour)
    assert not answer.unreadable
    assert not answer.quiet
    opens = [row.timestamp_us for row in answer.rows]
    assert opens[0] == hour.floor_us(asked["startTime"] * 1000)
    assert opens[-1] == hour.floor_us(asked["endTime"] * 1000)
    assert opens == list(range(opens[0], opens[-1] + 1, 3_600_000_000))
    assert all(row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high for row in answer.rows)
    assert all(row.trades for row in answer.rows)


def test_recorded_markets_are_listed(recorded: Read) -> None:
    for name in ("test_get_candles_snapshot", "test_get_info", "test_get_l2_snapshot"):
        (question, body), *_ = exchanges(recorded(f"hyperliquid/sdk_cassettes/{name}.yaml"))
        assert question == {"type": "meta"}
        names = {perpetual["name"] for perpetual in json.loads(body)["universe"]}
        found = mapper.listings(mapper.SpotMeta([], []), mapper.parse_meta(body), [])
        assert {listing.wire["ws"] for listing in found.values()} == names
        assert {"BTC/USDC:USDC", "KPEPE/USDC:USDC"} <= set(found)
    sample = recorded("hyperliquid/nautilus_small/http_meta_perp_sample.json").encode()
    assert all(
        listing.active for listing in mapper.listings(mapper.SpotMeta([], []), mapper.parse_meta(sample), []).values()
    )


def test_recorded_trades_are_read_whatever_their_order(recorded: Read) -> None:
    rows = json.loads(recorded("hyperliquid/nautilus_small/http_recent_trades_btc.json"))
    wire = HyperliquidWire()
    wire.subscribe("trades", {"BTC": "BTC/USDC:USDC"})
    frame = wire.parse(json.dumps({"channel": "trades", "data": rows}).encode(), LATEST_US)
    assert isinstance(frame, TradesFrame)
    assert frame.snapshot
    assert not frame.faults
    assert [(row.timestamp_us, row.price, row.volume, row.side, row.trade_id) for row in frame.records] == [
        (
            row["time"] * 1000,
            float(row["px"]),
            float(row["sz"]),
            {"B": "buy", "A": "sell"}[row["side"]],
            str(row["tid"]),
        )
        for row in rows
    ]


def test_a_recorded_day_has_a_row_for_every_minute_and_quiet_ones_are_flat(recorded: Read) -> None:
    """One day of 305 markets: nothing is ever absent, and a row without volume has one price."""
    by_symbol: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in csv.DictReader(recorded("hyperliquid/all_symbols_1m_2025-07-24.csv.gz").splitlines()):
        by_symbol[row["symbol"]].append(
            {
                "t": int(row["t"]), "s": "X", "i": "1m", "o": row["open"], "h": row["high"], "l": row["low"],
                "c": row["close"], "v": row["volume"], "n": int(float(row["volume"]) > 0),
            }
        )  # fmt: skip
    assert len(by_symbol) == 305
    quiet = 0
    for symbol in sorted(by_symbol)[::8]:
        answer = mapper.parse_candles(json.dumps(by_symbol[symbol]).encode(), symbol, parse_timeframe("1m"))
        assert len(answer.rows) == len(by_symbol[symbol])
        assert not answer.unreadable
        assert not answer.quiet
        for row in answer.rows:
            if row.volume == 0:
                quiet += 1
                assert row.open == row.high == row.low == row.close
    assert quiet > 10_000


def test_recorded_candles_of_every_timeframe_begin_where_ours_do(recorded: Read) -> None:
    """A list of 2,646 histories with their first and last candle: weeks from Thursday, months of 30 days."""
    venue = Hyperliquid()
    seen: Counter[str] = Counter()
    line = re.compile(r"│ (\d+[mhdwM]) +│ +\w+ │ (\d{4}-\d\d-\d\d [\d:]{8}) │ (\d{4}-\d\d-\d\d [\d:]{8}) │")
    for name in ("spot", "futures"):
        for timeframe, first, last in line.findall(
            re.sub(" +", " ", recorded(f"hyperliquid/freqtrade/data_content_{name}.txt.gz"))
        ):
            for text in (first, last):
                moment_us = round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000
                assert venue.timeframe(timeframe).floor_us(moment_us) == moment_us, (timeframe, text)
            seen[timeframe] += 1
    assert set(seen) == set(venue.traits.timeframes)
