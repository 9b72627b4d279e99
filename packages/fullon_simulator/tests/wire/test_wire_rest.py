"""Faults of REST do on the wire what they say, seen by plain clients of all four venues; healing ends them."""

import asyncio
import time

import aiohttp
import pytest
from wire_clients import (
    MINUTE_US,
    NOON_US,
    Clients,
    every_venue,
    rows_or_single,
    until,
)


@pytest.mark.parametrize(
    ("name", "status", "retry_after_s"),
    [("kraken", 503, None), ("binance", 418, 7), ("binance", 429, None), ("hyperliquid", 429, 3), ("bitmex", 500, 1)],
)
async def test_status_answers_with_and_without_retry_after(
    client: Clients, name: str, status: int, retry_after_s: int | None
) -> None:
    one = client(name)
    episode = one.begin("status", status=status, retry_after_s=retry_after_s, channel="candles", times=2)
    for _ in range(2):
        async with one.ask("candles") as answer:
            assert answer.status == status
            assert answer.headers.get("Retry-After") == (None if retry_after_s is None else str(retry_after_s))
    assert await one.page("candles")
    assert await one.page("trades")
    assert episode.struck == 2


@every_venue
async def test_refusal_speaks_the_venues_words(client: Clients, name: str) -> None:
    one = client(name)
    words = {
        "kraken": {"unavailable": "EService:Unavailable", "too_many_requests": "EGeneral:Too many requests"},
        "binance": {"unavailable": "-1001", "too_many_requests": "-1003"},
        "hyperliquid": {"unavailable": "null", "too_many_requests": "null"},
        "bitmex": {"unavailable": "overloaded", "too_many_requests": "RateLimitError"},
    }[name]
    for reason, word in words.items():
        one.begin("refusal", reason=reason, times=1)
        async with one.ask("candles") as answer:
            assert word in await answer.text()
            assert answer.status == (200 if name == "kraken" else answer.status)
    assert await one.page("candles")


@rows_or_single
async def test_html_comes_with_status_200(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("html", symbol=one.first)
    async with one.ask("candles") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert "<html>" in await answer.text()
    assert await one.page("candles", one.second)


@rows_or_single
async def test_half_a_body_ends_in_the_middle(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("half_body", times=1)
    async with one.ask("candles") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert await one.page("candles")


async def test_slow_body_drips_until_it_is_healed(client: Clients) -> None:
    one = client("binance")
    async with one.ask("candles", limit=500) as answer:
        whole = await answer.read()
    one.begin("slow_body", bytes_per_s=2_000)
    began = time.monotonic()
    async with one.ask("candles", limit=10) as answer:
        assert len(await answer.read()) > 800
    assert time.monotonic() - began > 0.4
    async with one.ask("candles", limit=500) as answer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await answer.content.readexactly(len(whole) // 2)
        one.market.faults.heal()
        assert (await answer.read()).endswith(b"]")
    assert len(await one.page("candles", limit=500)) == 500


async def test_hang_answers_waits_until_it_is_healed(client: Clients) -> None:
    one = client("bitmex")
    episode = one.begin("hang_answers")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await one.page("candles")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(one.page("candles"))
        await until(lambda: episode.struck == 2, "the second request has come")
        one.market.faults.heal()
    assert waiting.result()


@rows_or_single
async def test_reset_answers_cuts_the_connection(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("reset_answers")
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await one.page("candles")
    assert episode.struck
    one.market.faults.heal()
    assert await one.page("candles")


@every_venue
async def test_short_pages_lead_to_everything_though_they_are_short(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("short_pages", rows=5)
    channel = "candles" if name == "hyperliquid" else "trades"  # it has no history of trades
    since_us = NOON_US - (30 if channel == "candles" else 1) * MINUTE_US
    truth = one.market.truth(name, one.first)
    want = (truth.candles if channel == "candles" else truth.trades)(since_us, NOON_US)
    seen: list[int] = []
    while since_us <= want[-1].timestamp_us:
        rows = await one.page(channel, since_us=since_us)
        assert 1 <= len(rows) <= 5
        times = [one.venue.time_us(row) for row in rows]
        seen += times
        since_us = times[-1] + 1_000
        if name == "bitmex":
            since_us += 1_000_000  # the client of this test asks in whole seconds
    assert episode.struck == len(seen) // 5 or episode.struck >= len(seen) / 5
    if channel == "candles":
        assert {each.timestamp_us for each in want} <= set(seen)
    elif name == "kraken":
        wanted_ms = {each.timestamp_us // 1000 for each in want}
        assert len(wanted_ms & {each // 1000 for each in seen}) > 0.9 * len(wanted_ms)
    one.market.faults.heal()
    assert len(await one.page(channel, since_us=NOON_US - 30 * MINUTE_US)) > 5


@every_venue
async def test_a_bounded_window_ends_some_candles_after_its_start(client: Clients, name: str) -> None:
    one = client(name)
    old_us = NOON_US - 300 * MINUTE_US
    usual = [one.venue.time_us(row) for row in await one.page("candles", since_us=old_us, limit=50)]
    assert len(usual) >= 50
    episode = one.begin("bounded_window", candles=20, symbol=one.first)
    times = [one.venue.time_us(row) for row in await one.page("candles", since_us=old_us, limit=50)]
    assert times == usual[: len(times)]
    assert len(times) in (20, 21)  # BitMEX names a candle by its end
    assert episode.struck == 1
    assert len(await one.page("candles", one.second, since_us=old_us, limit=50)) >= 50
    one.market.faults.heal()
    assert len(await one.page("candles", since_us=old_us, limit=50)) >= 50


@every_venue
async def test_a_start_that_is_too_old_is_refused_and_a_younger_one_is_not(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("too_old", minutes=100)
    async with one.ask("candles", since_us=NOON_US - 300 * MINUTE_US) as answer:
        text = await answer.text()
        assert answer.status == {"kraken": 200, "hyperliquid": 422}.get(name, 400)
        assert "since" in text or "startTime" in text
    assert await one.page("candles", since_us=NOON_US - 90 * MINUTE_US)
    assert await one.page("candles")
    assert episode.struck == 1
    one.market.faults.heal()
    assert await one.page("candles", since_us=NOON_US - 300 * MINUTE_US)


@every_venue
async def test_ignore_since_answers_the_newest_page(client: Clients, name: str) -> None:
    one = client(name)
    old_us = NOON_US - 300 * MINUTE_US
    usual = [one.venue.time_us(row) for row in await one.page("candles", since_us=old_us, limit=50)]
    assert usual[0] == old_us
    one.begin("ignore_since")
    times = [one.venue.time_us(row) for row in await one.page("candles", since_us=old_us, limit=50)]
    assert times == sorted(times)
    assert times[-1] >= NOON_US - 2 * MINUTE_US
    assert times[0] != old_us
    one.market.faults.heal()
    (first, *_) = await one.page("candles", since_us=old_us, limit=50)
    assert one.venue.time_us(first) == old_us


@every_venue
async def test_stuck_pages_never_advance(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("stuck_pages", channel="candles")
    starts = [NOON_US - minutes * MINUTE_US for minutes in (300, 250, 200)]
    pages = [await one.page("candles", since_us=since_us, limit=20) for since_us in starts]
    assert pages[0] == pages[1] == pages[2]
    assert episode.struck == 2
    one.market.faults.heal()
    assert await one.page("candles", since_us=starts[1], limit=20) != pages[0]


@every_venue
async def test_none_rows_stand_among_true_ones(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("none_rows", share=0.4)
    rows = await one.page("candles", limit=50)
    assert len(rows) >= 50
    assert 0 < rows.count(None) < len(rows)
    assert rows.count(None) == episode.struck
    one.market.faults.heal()
    assert None not in await one.page("candles", limit=50)


@every_venue
@pytest.mark.parametrize("other", ["repeat", "reorder", "omit", "bad_values"])
async def test_another_fault_leaves_none_rows_as_they_are(client: Clients, name: str, other: str) -> None:
    one = client(name)
    one.begin("none_rows", share=0.4)
    one.begin(other, channel="candles")
    assert None in await one.page("candles", limit=50)


@every_venue
async def test_without_running_makes_a_full_page_look_short(client: Clients, name: str) -> None:
    one = client(name)
    recent_us = one.market.clock.now_us() // MINUTE_US * MINUTE_US - 10 * MINUTE_US
    one.begin("without_running")
    times = [one.venue.time_us(row) for row in await one.page("candles", since_us=recent_us)]
    assert max(times) + MINUTE_US <= one.market.clock.now_us()
    one.market.faults.heal()
    running = one.market.clock.now_us() // MINUTE_US * MINUTE_US
    assert max(one.venue.time_us(row) for row in await one.page("candles", since_us=recent_us)) >= running
