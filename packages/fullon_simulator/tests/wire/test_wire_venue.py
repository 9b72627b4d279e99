"""Faults of a venue and facts of its markets, seen by plain clients; every kind is begun and healed."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from wire_clients import (
    MINUTE_US,
    NOON_US,
    VENUES,
    Client,
    Clients,
    ended,
    every_venue,
    rows_or_single,
    until,
)

from fullon_simulator import KINDS, SimulatedMarket


@rows_or_single
async def test_down_refuses_connections_and_comes_back_on_its_port(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        origin = one.market.origin(name)
        episode = one.begin("down")
        assert await ended(socket) == 1006
        for _ in range(3):
            with pytest.raises(aiohttp.ClientConnectorError):
                await one.page("candles")
    one.market.faults.heal(episode)
    await until(lambda: _reachable(one), "it is back")
    assert one.market.origin(name) == origin
    await one.is_well()


async def _reachable(one: Client) -> bool:
    try:
        await one.page("candles", since_us=NOON_US - 5 * MINUTE_US)
    except aiohttp.ClientConnectorError:
        return False
    return True


async def test_two_reasons_to_be_down_are_both_waited_for(client: Clients) -> None:
    one = client("kraken")
    first, second = one.begin("down"), one.begin("down")
    one.market.faults.heal(first)
    await asyncio.sleep(0.3)
    assert not await _reachable(one)
    one.market.faults.heal(second)
    await until(lambda: _reachable(one), "it is back")


async def test_skew_sets_the_venues_clock_wrong_and_right_again(client: Clients, http: aiohttp.ClientSession) -> None:
    one = client("binance")
    kraken = client("kraken")

    async def told_us() -> int:
        async with http.get(one.market.origin("binance") + "/api/v3/time") as answer:
            return int((await answer.json())["serverTime"]) * 1000

    episode = one.begin("skew", seconds=300.0)
    assert await told_us() - one.market.clock.now_us() > 290_000_000
    async with http.get(kraken.market.origin("kraken") + "/0/public/Time") as answer:
        told = (await answer.json())["result"]["unixtime"] * 1_000_000
    assert abs(told - one.market.clock.now_us()) < 20_000_000
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        (row, *_) = await one.stream(socket, "trades", 1)
        assert one.venue.time_us(row.raw) > one.market.clock.now_us() + 200_000_000
    fast_us = await told_us()
    one.market.faults.heal(episode)
    assert await told_us() >= fast_us  # it stands still and never runs backwards
    one.begin("skew", seconds=-3_600.0)
    stood_us = await told_us()
    await asyncio.sleep(0.1)
    assert await told_us() == stood_us


@every_venue
async def test_halt_is_a_fact_nothing_is_traded_and_ids_go_on_without_a_hole(client: Clients, name: str) -> None:
    one = client(name)
    truth = one.market.truth(name, one.first)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.stream(socket, "trades", 1, one.first)
        episode = one.begin("halt", symbol=one.first)
        halted_us = one.market.clock.now_us()
        async with one.ask("listings") as answer:
            status = one.venue.status_of(json.loads(await answer.text()), one.first)
        assert status == {"kraken": "cancel_only", "binance": "HALT", "hyperliquid": False, "bitmex": "Closed"}[name]
        await asyncio.sleep(1.1)
        assert await one.stream(socket, "trades", 20, one.second)
        one.market.faults.heal(episode)
        ((from_us, until_us),) = truth.pauses
        assert until_us is not None
        assert until_us - from_us > 2 * MINUTE_US
        times: list[int] = []
        while not times or max(times) < until_us:
            times += [one.venue.time_us(row.raw) for row in await one.stream(socket, "trades", 1, one.first)]
        assert not [each for each in times if halted_us + 1_000 < each < until_us - 1_000]
    assert truth.trades(from_us, until_us) == []
    minute_us = from_us // MINUTE_US * MINUTE_US + MINUTE_US
    assert truth.candles(minute_us, minute_us + MINUTE_US) == []
    trades = truth.trades(from_us - 5 * MINUTE_US, one.market.clock.now_us())
    assert trades[-1].timestamp_us >= until_us
    if name in ("kraken", "binance"):
        ids = [int(trade.trade_id) for trade in trades]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert len({trade.trade_id for trade in trades}) == len(trades)
    page = await one.page("candles", since_us=minute_us)
    flat = next(row for row in page if one.venue.time_us(row) == minute_us)
    assert one.venue.values(flat)[-1] == 0
    await one.is_well()


@every_venue
async def test_a_list_of_markets_that_another_fault_has_spoiled_bears_a_halt_beside_it(
    client: Clients, name: str
) -> None:
    one = client(name)
    one.begin("corrupt", where="rest")
    one.begin("halt", symbol=one.first)
    async with one.ask("listings") as answer:
        assert answer.status == 200
        with pytest.raises(ValueError, match=r"."):
            json.loads(await answer.text())


@every_venue
async def test_delist_ends_one_market_and_the_others_go_on(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.subscribe(socket, "candles", one.first)
        await one.stream(socket, "trades", 1, one.first)
        episode = one.begin("delist", symbol=one.first)
        now_us = one.market.clock.now_us()
        truth = one.market.truth(name, one.first)
        assert truth.ended_at_us is not None
        assert abs(truth.ended_at_us - now_us) < 5_000_000
        async with one.ask("listings") as answer:
            status = one.venue.status_of(json.loads(await answer.text()), one.first)
        assert status == {"kraken": None, "binance": "BREAK", "hyperliquid": True, "bitmex": None}[name]
        assert await one.after(socket, one.second, now_us + MINUTE_US) == {one.second}
        await one.subscribe(socket, "trades", one.first)
    assert one.market.truth(name, one.second).ended_at_us is None
    one.market.faults.heal(episode)
    assert truth.ended_at_us is None
    await one.is_well()


async def test_a_delisted_market_may_be_forgotten_or_not(client: Clients) -> None:
    one = client("binance")
    episode = one.begin("delist", symbol=one.first, listed="no")
    async with one.ask("candles") as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, -1121)
    one.market.faults.heal(episode)
    one.begin("delist", symbol=one.first, listed="yes")
    assert await one.page("candles")


@rows_or_single
async def test_close_ends_the_venue_for_good(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await until(lambda: len(one.market.venue(name).connections) == 1, "connected")
        one.begin("close")
        assert await ended(socket) == 1001
    async with one.ask("candles") as answer:
        assert (answer.status, await answer.text()) == (410, f"{name} is closed.")
    with pytest.raises(aiohttp.WSServerHandshakeError, match="410"):
        await one.connect()
    for symbol in one.venue.symbols:
        truth = one.market.truth(name, symbol)
        assert truth.ended_at_us is not None
        assert truth.trades(truth.ended_at_us, one.market.clock.now_us() + MINUTE_US) == []
        assert truth.trades(NOON_US - MINUTE_US, truth.ended_at_us)
    one.market.faults.heal()
    await one.is_well()


async def test_every_kind_can_be_begun_and_healed_and_leaves_nothing_behind(
    market: SimulatedMarket, client: Clients
) -> None:
    clients = [client(name) for name in VENUES]
    for kind in KINDS:
        episode = market.faults.begin(kind)
        assert list(episode.faults) == list(VENUES)
        await asyncio.sleep(0.05)
        market.faults.heal()
        assert not market.faults.active
        await until(lambda: _all_reachable(clients), "all are back")
    for one in clients:
        await one.is_well()


async def _all_reachable(clients: list[Client]) -> bool:
    return all([await _reachable(one) for one in clients])


@every_venue
async def test_maintenance_cuts_sockets_halts_every_market_and_ends_with_all_of_them_listed_as_restricted(
    client: Clients, name: str
) -> None:
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        episode = one.begin("maintenance")
        async with one.ask("listings") as answer:
            body = json.loads(await answer.text())
        expected = {"kraken": "cancel_only", "binance": "BREAK", "hyperliquid": False, "bitmex": "Closed"}[name]
        assert {one.venue.status_of(body, symbol) for symbol in (one.first, one.second)} == {expected}
    one.market.faults.heal(episode)
    assert one.market.truth(name, one.first).pauses
    one.begin("maintenance", phase="limited")
    async with one.ask("listings") as answer:
        status = one.venue.status_of(json.loads(await answer.text()), one.first)
    assert status == {"kraken": "limit_only", "binance": "TRADING", "hyperliquid": False, "bitmex": "Open"}[name]
    await one.is_well()


LISTED: dict[str, Callable[[Any], list[Any]]] = {
    "kraken": lambda body: list(body["result"].items()),
    "binance": lambda body: body["symbols"],
    "hyperliquid": lambda body: body["universe"],
    "bitmex": lambda body: [(row["symbol"], row["underlying"]) for row in body],
}


@every_venue
async def test_a_market_is_listed_malformed_under_another_name_or_beside_its_namesake_and_trades_on(
    client: Clients, name: str
) -> None:
    one = client(name)

    async def listed() -> list[Any]:
        async with one.ask("listings") as answer:
            return LISTED[name](json.loads(await answer.text()))

    ordinary = await listed()
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        for kind, place, more in (
            ("malformed_listing", None, 0),
            ("renamed_market", None, 0),
            ("duplicate_name", "before", 1),
            ("duplicate_name", "after", 1),
            ("duplicate_name", "instead", 0),
        ):
            episode = one.begin(kind, symbol=one.first, **({} if place is None else {"place": place}))
            found = await listed()
            assert len(found) == len(ordinary) + more
            if kind != "duplicate_name" or name != "hyperliquid":  # whose perpetuals are known by their names alone
                assert len([row for row in found if row not in ordinary]) == 1
            one.market.faults.heal(episode)
            assert await listed() == ordinary
    assert not one.market.truth(name, one.first).pauses
    await one.is_well()
