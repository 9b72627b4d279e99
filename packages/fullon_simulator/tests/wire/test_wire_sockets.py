"""Faults of sockets and subscriptions do on the wire what they say, seen by plain clients; healing ends them."""

import asyncio
import json

import aiohttp
import pytest
from wire_clients import (
    NOON_US,
    Clients,
    dead,
    ended,
    every_venue,
    rows_or_single,
    texts,
    until,
)


@rows_or_single
async def test_drop_ends_every_socket_at_once_and_new_ones_live(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as first, one.connect() as second:
        await until(lambda: len(one.market.venue(name).connections) == 2, "two sockets")
        episode = one.begin("drop")
        assert (await ended(first), await ended(second)) == (1006, 1006)
        assert (episode.struck, episode.active) == (2, False)
    await one.is_well()


async def test_drop_closes_with_a_code_and_again_and_again(client: Clients) -> None:
    one = client("binance")
    episode = one.begin("drop", code=1013, again_s=30.0, for_s=600.0)
    for _ in range(3):
        async with one.connect() as socket:
            assert await ended(socket) == 1013
    assert episode.struck == 3
    one.market.faults.heal(episode)
    await one.is_well()


@rows_or_single
async def test_accept_and_close_lets_nobody_stay(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("accept_and_close", code=1011)
    for _ in range(3):
        async with one.connect() as socket:
            assert await ended(socket) == 1011
    assert episode.struck == 3
    one.market.faults.heal(episode)
    await one.is_well()


async def test_refuse_sockets_answers_an_http_error(client: Clients) -> None:
    one = client("kraken")
    episode = one.begin("refuse_sockets", status=429, retry_after_s=7)
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await one.connect()
    assert caught.value.status == 429
    assert caught.value.headers is not None
    assert caught.value.headers["Retry-After"] == "7"
    assert episode.struck == 1
    one.market.faults.heal()
    await one.is_well()


@rows_or_single
async def test_hang_is_dead_both_ways_though_the_socket_is_open(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1)
        episode = one.begin("hang")
        before = one.market.requests(name).subscriptions
        await one.subscribe(socket, "trades", one.second)
        await socket.ping()
        await dead(socket)
        assert episode.struck > 1
        assert one.market.requests(name).subscriptions == before
        one.market.faults.heal(episode)
        await one.stream(socket, "trades", 1)
    await one.is_well()


async def test_cut_at_age_says_farewell_and_cuts_the_old_and_not_the_young(client: Clients) -> None:
    one = client("binance")
    async with one.connect() as old:
        await until(lambda: len(one.market.venue("binance").connections) == 1, "connected")
        episode = one.begin("cut_at_age", age_s=60.0, notice_s=30.0)
        assert (await one.message(old, lambda body: body.get("e") == "serverShutdown"))["E"] > NOON_US // 1000
        async with one.connect() as young:
            assert await ended(old) == 1006
            assert episode.struck == 1
            assert not young.closed
            one.market.faults.heal(episode)
            await asyncio.sleep(0.6)  # its age limit
            await one.subscribe(young, "trades", one.first)
            await one.stream(young, "trades", 1)


@every_venue
async def test_ignore_subscriptions_neither_acknowledges_nor_serves(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("ignore_subscriptions", symbol=one.first)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.message(socket, one.venue.is_ack)
        rows = await one.stream(socket, "trades", 20)
        assert {row.symbol for row in rows} == {one.second}
        assert episode.done == {one.first: 1}
        assert one.market.requests(name).subscriptions == 1
        one.market.faults.heal()
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1, one.first)


@every_venue
async def test_refuse_subscriptions_says_so_in_the_venues_words(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("refuse_subscriptions", symbol=one.first, times=1)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        refusal = await one.message(socket, one.venue.is_refusal)
        if name == "binance":  # one bad stream refuses the whole request
            assert refusal["id"] == 1
            await one.silence(socket, 0.3)
        else:
            assert {row.symbol for row in await one.stream(socket, "trades", 20)} == {one.second}
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1, one.first)


@every_venue
async def test_never_acknowledge_serves_without_a_word(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("never_acknowledge", channel="trades", symbol=one.first)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        text = ""
        while not text or not one.venue.rows(json.loads(text)):
            text = await one.text(socket)
            assert not one.venue.is_ack(json.loads(text))
        assert episode.done == {one.first: 1}
        await one.subscribe(socket, "candles", one.first)
        await one.message(socket, one.venue.is_ack)


@every_venue
async def test_lose_subscription_silences_one_until_it_is_asked_for_again(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.stream(socket, "trades", 1, one.first)
        episode = one.begin("lose_subscription", symbol=one.first)
        assert episode.done == {one.first: 1}
        ack = len([1 async for text in texts(one, socket, 0.3) if one.venue.is_ack(json.loads(text))])
        assert ack <= 2  # those of the beginning, and no answer to what nobody asked
        rows = await one.stream(socket, "trades", 20)
        assert {row.symbol for row in rows} == {one.second}
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1, one.first)
