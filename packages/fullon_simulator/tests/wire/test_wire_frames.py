"""Faults of frames and of the rows in them do on the wire what they say, seen by plain clients; healing ends them."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from wire_clients import (
    MINUTE_US,
    NOON_US,
    PATIENCE_S,
    SPEED,
    Client,
    Clients,
    dead,
    ended,
    every_venue,
    rows_or_single,
    tapes,
    until,
)

from fullon_simulator import MarketClock, SimulatedMarket


@every_venue
async def test_stall_silences_one_symbol_while_others_and_rest_go_on(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.stream(socket, "trades", 1, one.first)
        episode = one.begin("stall", symbol=one.first)
        await until(lambda: episode.struck > 3, "it has struck")
        assert await one.after(socket, one.second, one.market.clock.now_us()) == {one.second}
        assert list(episode.done) == [one.first]
        assert await one.page("trades", one.first)
        one.market.faults.heal()
        await one.stream(socket, "trades", 1, one.first)


async def test_stall_keeps_heartbeats_or_not(client: Clients) -> None:
    one = client("kraken")
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1)
        one.begin("stall")
        await one.message(socket, lambda body: body.get("channel") == "heartbeat")
        await socket.ping()
        while (await socket.receive(timeout=PATIENCE_S)).type is not aiohttp.WSMsgType.PONG:
            pass
        one.begin("stall", heartbeats=False)
        await socket.ping()
        await socket.send_json({"method": "ping", "req_id": 3})
        await dead(socket)
        one.market.faults.heal()
        await one.stream(socket, "trades", 1)


async def test_stall_finds_one_symbol_in_frames_of_several(http: aiohttp.ClientSession) -> None:
    clock = MarketClock.starting_at(NOON_US, speed=SPEED)
    venues = {name: tapes(name) for name in ("kraken", "bitmex")}
    async with SimulatedMarket(venues, clock=clock, rate_limits=False, mixed_frames=True) as market:
        for name in venues:
            one = Client(market, name, http)
            async with one.connect() as socket:
                one.begin("stall", symbol=one.first)
                await one.subscribe(socket, "trades", one.first, one.second)
                assert {row.symbol for row in await one.stream(socket, "trades", 30)} == {one.second}


@rows_or_single
async def test_late_delivers_in_order_after_the_delay(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("late", delay_s=20.0)
    since_us = one.market.clock.now_us()
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        rows = await one.stream(socket, "trades", 15)  # Hyperliquid begins with ten, the newest first
        assert one.market.clock.now_us() - since_us >= 20_000_000
        times = [one.venue.time_us(row.raw) for row in rows[-3:]]
        assert times == sorted(times)
        assert one.market.clock.now_us() - times[-1] >= 19_000_000
        one.market.faults.heal(episode)
        held = await one.stream(socket, "trades", 5)  # what was held comes at once
        assert len(held) >= 5


async def test_late_can_grow(client: Clients) -> None:
    one = client("binance")
    one.begin("late", delay_s=0.0, growth=1.0)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        lags = []
        for _ in range(60):
            (row,) = await one.stream(socket, "trades", 1)
            lags.append(one.market.clock.now_us() - one.venue.time_us(row.raw))
    assert lags[-1] > lags[0] + 5_000_000


@rows_or_single
async def test_repeat_sends_every_trade_more_than_once(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("repeat", copies=2)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        seen: Counter[str] = Counter()
        while 3 not in seen.values():
            seen.update(one.venue.trade_id(row.raw) for row in await one.stream(socket, "trades", 1))
        assert max(seen.values()) == 3
        assert episode.struck
        one.market.faults.heal()
    await one.is_well()


async def test_repeat_comes_later_and_over_rest(client: Clients) -> None:
    one = client("kraken")
    one.begin("repeat", later_s=15.0)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        seen: dict[str, int] = {}
        lag_us = 0
        while not lag_us:
            (row, *_) = await one.stream(socket, "trades", 1)
            again = seen.setdefault(one.venue.trade_id(row.raw), one.market.clock.now_us())
            lag_us = one.market.clock.now_us() - again if one.market.clock.now_us() - again > 1_000_000 else 0
    assert lag_us >= 14_000_000
    one.market.faults.heal()
    one.begin("repeat", where="rest", copies=1)
    ids = [one.venue.trade_id(row) for row in await one.page("trades", limit=10)]
    assert ids[::2] == ids[1::2]


@rows_or_single
async def test_reorder_mixes_and_loses_nothing(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("reorder", window=4, wait_s=60.0)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        rows = await one.stream(socket, "trades", 60)
        one.market.faults.heal()
        rows += await one.stream(socket, "trades", 40)
    times = [one.venue.time_us(row.raw) for row in rows[12:]]
    assert times != sorted(times)
    first_us, last_us = sorted(times)[8], sorted(times)[-1]
    truth = one.market.truth(name, one.first).trades(first_us, last_us)
    assert {trade.trade_id for trade in truth} <= {one.venue.trade_id(row.raw) for row in rows}


async def test_reorder_over_rest_mixes_the_rows_of_a_page(client: Clients) -> None:
    one = client("binance")
    one.begin("reorder", where="rest")
    ids = [int(one.venue.trade_id(row)) for row in await one.page("trades", limit=50)]
    assert ids != sorted(ids)
    assert sorted(ids) == list(range(min(ids), min(ids) + 50))


@rows_or_single
@pytest.mark.parametrize("kind", ["corrupt", "truncate"])
async def test_mangled_texts_are_no_json_and_neighbours_are_kept(client: Clients, name: str, kind: str) -> None:
    one = client(name)
    episode = one.begin(kind, channel="trades", share=0.3, where="both")
    whole = broken = 0
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        while not (whole > 5 and broken > 2):
            try:
                json.loads(await one.text(socket))
                whole += 1
            except ValueError:
                broken += 1
    assert episode.struck >= broken
    with pytest.raises(ValueError):  # noqa: PT012 - the first that is struck
        for _ in range(100):
            await one.page("trades")
    one.market.faults.heal()
    await one.is_well()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("prose", lambda message: not message.data.startswith("{")),
        ("empty", lambda message: message.data == ""),
        ("wrong_type", lambda message: json.loads(message.data) in (None, [], 42, "text", True, {}, [[]])),
        ("unknown_channel", lambda message: "unheard" in message.data),
        ("malformed", lambda message: json.loads(message.data)["channel"] in ("trade", "ohlc")),
        ("deep", lambda message: len(message.data) > 2_000),
        ("huge", lambda message: len(message.data) > 2**20),
        ("binary", lambda message: message.data == b"\xff\x80\x81"),
    ],
)
async def test_garbage_arrives_in_every_form(client: Clients, form: str, expected: Callable[[Any], bool]) -> None:
    one = client("kraken")
    async with one.connect() as socket:
        assert "status" in await one.text(socket)
        episode = one.begin("garbage", form=form)
        assert expected(await socket.receive(timeout=PATIENCE_S))
        await until(lambda: episode.struck > 3, "more of it")
    one.market.faults.heal()
    await one.is_well()


async def test_garbage_may_be_no_utf8(client: Clients) -> None:
    one = client("kraken")
    async with one.connect() as socket:
        await one.text(socket)
        one.begin("garbage", form="not_utf8")
        assert await ended(socket) in (1006, 1007)


@rows_or_single
async def test_omit_leaves_trades_out_that_rest_and_the_truth_have(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("omit", channel="trades", share=0.5)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        rows = (await one.stream(socket, "trades", 40))[12:]
    times = [one.venue.time_us(row.raw) for row in rows]
    truth = {trade.trade_id for trade in one.market.truth(name, one.first).trades(min(times), max(times))}
    missing = truth - {one.venue.trade_id(row.raw) for row in rows}
    assert 0.2 * len(truth) < len(missing) < 0.8 * len(truth)
    assert episode.struck >= len(missing)
    one.market.faults.heal()
    await one.is_well()


async def test_omit_can_strike_once_and_over_rest(client: Clients) -> None:
    one = client("binance")
    episode = one.begin("omit", channel="trades", where="rest", share=1.0, times=1)
    ids = [int(one.venue.trade_id(row)) for row in await one.page("trades", limit=20)]
    assert len(ids) == 19
    assert (episode.struck, episode.done) == (1, {one.first: 1})
    assert len(await one.page("trades", limit=20)) == 20


def _spoiled(one: Client, row: Any) -> str:
    """Say what is wrong with a row, as a plain client sees it."""
    prices = {
        "kraken": ("price", "open", "high", "low", "close", 0, 1, 2, 3, 4),
        "binance": ("p", "o", "h", "l", "c", 1, 2, 3, 4),
    }[one.venue.name]
    items = row.items() if isinstance(row, dict) else enumerate(row)
    price = [value for key, value in items if key in prices]
    texts = [str(value) for value in price]
    try:
        time_us, values = one.venue.time_us(row), one.venue.values(row)
    except (KeyError, IndexError):
        return "missing"
    except (TypeError, ValueError):
        if None in price:
            return "null"
        return "word" if "cheap" in texts else "wrong_unit"
    if any(value != value for value in values):
        return "nan"
    if float("inf") in values:
        return "infinity"
    if min(values[:-1]) < 0:
        return "negative_price"
    if values[-1] <= 0:
        return "zero_volume" if values[-1] == 0 else "negative_volume"
    if abs(time_us) < 1_000:
        return "time_1970"
    if time_us > NOON_US + 300 * 86_400_000_000 and time_us < NOON_US * 2:
        return "time_next_year"
    return "wrong_unit" if abs(time_us - NOON_US) > 86_400_000_000 else ""


FORMS = (
    *("nan", "infinity", "null", "word", "negative_price", "zero_volume", "negative_volume"),
    *("time_1970", "time_next_year", "wrong_unit", "missing"),
)


@pytest.mark.parametrize("name", ["kraken", "binance"])
async def test_bad_values_come_in_every_form_on_streams_and_over_rest(client: Clients, name: str) -> None:
    """Kraken writes numbers, Binance strings."""
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1)
        usual = await one.page("candles", since_us=NOON_US - 10 * MINUTE_US, limit=5)
        traded = [at for at, row in enumerate(usual[:5]) if one.venue.values(row)[-1]]
        assert traded
        for form in FORMS:
            episode = one.begin("bad_values", form=form, share=1.0, where="both")
            for _ in range(1_000):
                (row, *_) = await one.stream(socket, "trades", 1)
                if _spoiled(one, row.raw):
                    break
            assert _spoiled(one, row.raw) == form
            for channel in ("trades", "candles"):
                rows = await one.page(channel, since_us=NOON_US - 10 * MINUTE_US, limit=5)
                rows = [rows[at] for at in traded if at < len(rows)]
                if form == "missing" and isinstance(rows[0], list):
                    assert len({len(each) for each in rows} & {6, 7, 11}) == 1  # of 7, 8 and 12
                else:
                    assert {_spoiled(one, each) for each in rows} == {form}
            assert episode.struck
            one.market.faults.heal()
            await until(lambda: _clean(one, socket), "no bad value any more")


async def _clean(one: Client, socket: Any) -> bool:
    return not any(_spoiled(one, row.raw) for row in await one.stream(socket, "trades", 1))


@every_venue
async def test_void_rows_say_nothing_besides_the_others(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        episode = one.begin("void_rows", share=1.0)
        await one.subscribe(socket, "trades", one.first)
        volumes = [one.venue.values(row.raw)[-1] for row in await one.stream(socket, "trades", 20)]
        assert volumes.count(0) in range(5, len(volumes))
        assert episode.struck


@every_venue
async def test_shift_times_stamps_candles_an_interval_late(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        one.begin("shift_times")
        await one.subscribe(socket, "candles", one.first)
        (row, *_) = await one.stream(socket, "candles", 1)
        shifted_us, now_us = one.venue.time_us(row.raw), one.market.clock.now_us()
        assert shifted_us == now_us // MINUTE_US * MINUTE_US + (0 if name == "bitmex" else MINUTE_US)
        one.market.faults.heal()
        one.begin("shift_times", where="rest", intervals=-1)
        moved = {one.venue.time_us(each): one.venue.values(each)[:4] for each in await one.page("candles", limit=20)}
        one.market.faults.heal()
        right = {one.venue.time_us(each): one.venue.values(each)[:4] for each in await one.page("candles", limit=20)}
        common = sorted(right.keys() & {time_us + MINUTE_US for time_us in moved})[:5]
        assert [right[time_us] for time_us in common] == [moved[time_us - MINUTE_US] for time_us in common]


@every_venue
async def test_wrong_candles_differ_on_the_stream_and_not_over_rest(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        episode = one.begin("wrong_candles", share=1.0)
        await one.subscribe(socket, "candles", one.first)
        last: dict[int, tuple[float, ...]] = {}
        while len(last) < 3:  # the first may be one that was closed before
            for row in await one.stream(socket, "candles", 1):
                last[one.venue.time_us(row.raw)] = one.venue.values(row.raw)
    open_us = sorted(last)[1]
    (candle,) = one.market.truth(name, one.first).candles(open_us, open_us + MINUTE_US)
    open_, high, low, close, volume = last[open_us]
    assert (open_, low, close) == (candle.open, candle.low, candle.close)
    assert high > candle.high
    assert volume < candle.volume
    assert episode.struck
    await one.is_well()


@every_venue
async def test_wrong_candles_over_rest_settle_with_age(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("wrong_candles", share=1.0, where="rest", settled_s=600.0)
    closed_us = one.market.clock.now_us() // MINUTE_US * MINUTE_US
    since_us = closed_us - 30 * MINUTE_US
    rows = {one.venue.time_us(row): one.venue.values(row) for row in await one.page("candles", since_us=since_us)}
    truth = {each.timestamp_us: each for each in one.market.truth(name, one.first).candles(since_us, closed_us)}
    wrong = {time_us for time_us, each in truth.items() if rows[time_us][1:] != each[2:6]}
    assert wrong
    assert min(wrong) >= closed_us - 11 * MINUTE_US
    assert len(truth) > len(wrong) + 5
