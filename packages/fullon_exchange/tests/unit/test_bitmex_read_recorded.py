"""BitMEX's mappers against what it really sent; read in place, skipped where the recordings are not there."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from fullon_exchange.bitmex import mapper
from fullon_exchange.bitmex.mapper import TIMEFRAMES
from fullon_exchange.bitmex.wire import BitmexWire
from fullon_exchange.errors import MalformedMessage
from fullon_exchange.records import Candle, Trade
from fullon_exchange.wire import Acknowledged, Heartbeat, TradesFrame

Read = Callable[[str], str]
MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US
LATEST_US = 4_000_000_000_000_000
SESSIONS = ["bitmex/cryptofeed/2021-07-22_BITMEX.ws.1.0.gz", "bitmex/cryptofeed/2021-04-05_BITMEX-d944be.0.gz"]
OTHER_TABLES = {"quote", "orderBookL2"}
DAYS = Path("bitmex/codler_1m_XBTUSD/dev")


def lines_of(text: str, mark: str) -> Iterator[tuple[float, str]]:
    """Yield time and message of a recorded session's lines: `<- ` what was sent, none what was received."""
    for line in text.splitlines():
        start, _, message = line.partition(": ")
        _, found, moment = start.partition(mark) if mark else ("", "-", start)
        if found and moment.replace(".", "", 1).isdigit():
            yield float(moment), message


@pytest.mark.parametrize("name", SESSIONS)
def test_recorded_sessions_are_read_without_an_unexplained_frame(recorded: Read, name: str) -> None:
    text = recorded(name)
    wire = BitmexWire()
    topics = [topic for _, sent in lines_of(text, "<- ") for topic in json.loads(sent)["args"]]
    names = [topic.partition(":")[2] for topic in topics if topic.startswith("trade:")]
    wire.subscribe("trades", {one: one for one in names})
    read: Counter[str] = Counter()
    trades: list[Trade] = []
    snapshots: list[Trade] = []
    rows = 0
    for _, frame in lines_of(text, ""):
        plain = json.loads(frame)
        try:
            message = wire.parse(frame.encode(), LATEST_US)
        except MalformedMessage as error:
            about = plain.get("table") or plain["subscribe"].partition(":")[0]
            read[f"{error.kind} {about}"] += 1
            continue
        read[type(message).__name__] += 1
        if isinstance(message, TradesFrame):
            assert not message.faults
            rows += len(plain["data"])
            (snapshots if message.snapshot else trades).extend(message.records)
    assert set(read) <= {"Heartbeat", "Acknowledged", "TradesFrame", *(f"unknown {table}" for table in OTHER_TABLES)}
    assert read["Heartbeat"] == 1
    assert read["Acknowledged"] == len(names) == len({trade.symbol for trade in snapshots}) == len(snapshots)
    assert len(trades) + len(snapshots) == rows
    assert trades
    assert len({trade.trade_id for trade in trades + snapshots}) == rows


@pytest.mark.parametrize("name", SESSIONS)
def test_recorded_trades_happened_shortly_before_they_arrived(recorded: Read, name: str) -> None:
    """The exchange's own time; only the snapshot is older than the session."""
    text = recorded(name)
    wire = BitmexWire()
    wire.subscribe("trades", {topic.partition(":")[2]: "X" for topic in text.split('"') if topic.startswith("trade:")})
    for received_s, frame in lines_of(text, ""):
        if '"table":"trade"' in frame:
            message = wire.parse(frame.encode(), LATEST_US)
            assert isinstance(message, TradesFrame)
            late_s = [received_s - row.timestamp_us / 1e6 for row in message.records]
            assert all(-1 < one < (86400 if message.snapshot else 2) for one in late_s)


def day(recorded: Read, date: str) -> tuple[list[Candle], list[int], list[dict[str, object]]]:
    text = recorded(str(DAYS / f"{date}.json.gz"))
    answer = mapper.parse_candles(text.encode(), "BTC/USD:BTC", TIMEFRAMES["1m"])
    assert not answer.unreadable
    return list(answer.rows), list(answer.quiet), json.loads(text)


@pytest.mark.parametrize("date", ["2016-03-05", "2018-05-16", "2019-06-26", "2020-11-05", "2021-07-22"])
def test_recorded_days_have_every_minute_once_and_open_with_the_close_before(recorded: Read, date: str) -> None:
    candles, quiet, rows = day(recorded, date)
    assert not quiet
    opens = [candle.timestamp_us for candle in candles]
    assert opens == list(range(opens[0], opens[0] + DAY_US, MINUTE_US))
    assert (opens[0] + MINUTE_US) % DAY_US == 0, "the first row of a day is stamped with its beginning: an end"
    continued = sum(later.open == earlier.close for earlier, later in pairwise(candles))
    assert continued > 0.99 * len(candles)
    assert [candle.volume for candle in candles] == [row["volume"] for row in rows]
    if date > "2017":
        assert [candle.volume for candle in candles] == [row["foreignNotional"] for row in rows], (
            "a contract is a dollar"
        )
    for candle in candles:
        assert candle.low <= candle.high
        assert bool(candle.trades) == bool(candle.volume)
    assert any(not candle.low <= candle.open <= candle.high for candle in candles)


def test_the_first_recorded_minutes_have_no_price_and_are_quiet(recorded: Read) -> None:
    candles, quiet, rows = day(recorded, "2015-09-25")
    assert len(quiet) == sum(row["open"] is None for row in rows) == 34
    assert quiet[-1] + MINUTE_US == candles[0].timestamp_us
    opens = [*quiet, *(candle.timestamp_us for candle in candles)]
    absent = set(range(opens[0], opens[-1], MINUTE_US)) - set(opens)
    assert {(missing_us + MINUTE_US) % DAY_US for missing_us in absent} == {DAY_US // 2}, "no bucket ended at noon then"


def test_recorded_instruments_are_listed_as_ccxt_named_them(recorded: Read) -> None:
    text = recorded("bitmex/cryptofeed/2021-07-22_BITMEX.0.gz")
    body = next(line.split(": ", 1)[1] for line in text.splitlines() if "instrument/active" in line)
    listings = mapper.parse_listings(body.encode())
    names = {listing.wire["ws"]: symbol for symbol, listing in listings.items()}
    assert len(names) == len(json.loads(body)) == 34
    expected = {
        "XBTUSD": "BTC/USD:BTC", "ETHUSD": "ETH/USD:BTC", "XRPU21": "XRP/BTC:BTC-210924",
        "ADAUSDT": "ADA/USDT:BTC", "XBTU21": "BTC/USD:BTC-210924",
    }  # fmt: skip
    assert {name: names[name] for name in expected} == expected
    assert mapper.parse_time(body.encode()) == 1_626_993_365_000_000


def test_acknowledgements_of_a_recorded_session_name_the_topic(recorded: Read) -> None:
    wire = BitmexWire()
    wire.subscribe("trades", {"XBTUSD": "BTC/USD:BTC"})
    frames = [frame for _, frame in lines_of(recorded(SESSIONS[0]), "") if '"subscribe":"trade:XBTUSD"' in frame]
    assert [wire.parse(frame.encode(), LATEST_US) for frame in frames] == [
        Acknowledged([("trades", "BTC/USD:BTC")], subscribed=True)
    ]


def test_the_recorded_welcome_is_no_data(recorded: Read) -> None:
    _, welcome = next(lines_of(recorded(SESSIONS[0]), ""))
    assert BitmexWire().parse(welcome.encode(), LATEST_US) == Heartbeat()
