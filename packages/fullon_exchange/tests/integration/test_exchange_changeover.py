"""One connection replaces another before the venue cuts it: a session on a server that is told how to misbehave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from misbehaving_server import (
    MS,
    SYMBOLS,
    Serve,
    Server,
    kraken_trade,
    live,
    records,
)

from fullon_exchange.binance.rest import Binance
from fullon_exchange.records import (
    Disconnected,
    Event,
    Subscribed,
    Trades,
    Unsubscribed,
    Watermark,
)


async def test_an_aged_connection_is_renewed_before_the_venue_cuts_it(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), age_max_s=150 * MS) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        lost = (await reader.until_count(Disconnected))[0]
        before = reader.events[: reader.events.index(lost)]
        first, second = {event.connection: None for event in before if isinstance(event, Subscribed)}
        assert lost.connection == first
        assert lost.reason == f"it has reached its age; replaced by {second}"
        for connection in (first, second):
            carried = [event for event in before if isinstance(event, Subscribed) and event.connection == connection]
            assert {event.symbol for event in carried} == set(SYMBOLS), "all of it, before the old one goes"
        assert_unbroken(reader.events, SYMBOLS)


def assert_unbroken(events: list[Event], symbols: list[str]) -> None:
    """Whatever was carried since the first acknowledgement is proved to the last watermark, without a hole."""
    for symbol in symbols:
        since = {
            one.connection: one.timestamp_us for one in events if isinstance(one, Subscribed) and one.symbol == symbol
        }
        marks = [one for one in events if isinstance(one, Watermark) and one.connection in since]
        proved_us = min(since.values())
        for connection, since_us in sorted(since.items(), key=lambda item: item[1]):
            assert since_us <= proved_us, f"{symbol}: nobody proved what was before {connection}"
            proved_us = max([proved_us, *(mark.timestamp_us for mark in marks if mark.connection == connection)])
        assert proved_us == max(mark.timestamp_us for mark in marks)


@asynccontextmanager
async def trading(server: Server) -> AsyncIterator[list[str]]:
    """Let every symbol trade every few milliseconds; the ids that were sent."""
    sent: list[str] = []

    async def trade_on() -> None:
        while True:
            number = str(len(sent) // len(SYMBOLS))
            sent.extend(symbol + number for symbol in SYMBOLS)
            await server.trade(*(kraken_trade(symbol, int(number)) for symbol in SYMBOLS))
            await asyncio.sleep(5 * MS)

    task = asyncio.ensure_future(trade_on())
    try:
        yield sent
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_across_many_changes_every_trade_arrives_and_nothing_goes_unproved(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), age_max_s=200 * MS) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        await reader.until_count(Subscribed, 3)
        async with trading(server) as sent:
            await reader.until_count(Disconnected, 5, within_s=10.0)
        last = f"{len(sent) // len(SYMBOLS) - 1}"
        await reader.until(lambda events: last in {row.trade_id for row in records(events)})
        assert {row.symbol + row.trade_id for row in records(reader.events)} == set(sent)
        assert_unbroken(reader.events, SYMBOLS)
        by_connection: dict[str, list[int]] = {}
        for event in reader.events:
            if isinstance(event, Trades):
                ids = [int(row.trade_id) for row in event.records if row.symbol == "BTC/USD"]
                by_connection.setdefault(event.connection, []).extend(ids)
        assert all(ids == sorted(set(ids)) for ids in by_connection.values()), "in order, connection by connection"


async def test_a_venue_that_announces_its_end_is_left_before_it_comes(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), Binance()) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        await reader.until_count(Subscribed, 3)
        await server.say({"e": "serverShutdown", "E": 1})
        (lost,) = await reader.until_count(Disconnected)
        assert "the server announces its shutdown; replaced by" in lost.reason
        assert_unbroken(reader.events, SYMBOLS)


async def test_a_new_connection_that_cannot_be_opened_leaves_the_old_one_in_service(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), age_max_s=150 * MS) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        await reader.until_count(Subscribed, 3)
        server.down = True
        seen = len(await reader.until_count(Watermark))
        await reader.until_count(Watermark, seen + 10)
        await server.trade(kraken_trade("BTC/USD", 1))
        await reader.until_trades(1)
        assert not [event for event in reader.events if isinstance(event, Disconnected)]
        server.down = False
        await reader.until_count(Disconnected)
        assert_unbroken(reader.events, SYMBOLS)


async def test_a_new_connection_that_is_not_acknowledged_is_given_up_and_tried_again(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), age_max_s=150 * MS) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        (first, *_) = await reader.until_count(Subscribed, 3)
        server.forget_acknowledgements = 4
        lost = await reader.until_count(Disconnected, 3)
        assert [one.connection == first.connection for one in lost] == [False, False, True]
        assert all("no acknowledgement of 3 subscriptions" in one.reason for one in lost[:2])
        assert_unbroken(reader.events, SYMBOLS)


async def test_a_change_that_takes_too_long_is_given_up(serve: Serve) -> None:
    server = Server()
    async with live(
        await serve(server), age_max_s=150 * MS, change_timeout_s=100 * MS, ack_timeout_s=60.0, silence_max_s=5.0
    ) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        (first, *_) = await reader.until_count(Subscribed, 3)
        server.acknowledging.clear()
        (lost,) = await reader.until_count(Disconnected)
        assert lost.reason == f"not ready to replace {first.connection} within 0.1 s"
        server.acknowledging.set()
        await reader.until_count(Subscribed, 6)


async def test_what_is_wanted_and_given_up_during_a_change_reaches_both_connections(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), age_max_s=150 * MS, ack_timeout_s=60.0, silence_max_s=5.0) as reader:
        await reader.session.subscribe("trades", ["BTC/USD", "ETH/USD"])
        await reader.until_count(Subscribed, 2)
        server.acknowledging.clear()
        async with asyncio.timeout(5):
            while len(server.askers) < 2:
                await asyncio.sleep(MS)
        await reader.session.unsubscribe("trades", ["ETH/USD"])
        await reader.session.subscribe("trades", ["DOGE/USD"])
        async with asyncio.timeout(5):
            while len(server.askers) < 3:
                await asyncio.sleep(MS)
        server.acknowledging.set()
        await reader.until_count(Disconnected)
        left = [event for event in reader.events if isinstance(event, Unsubscribed)]
        carried = [event for event in reader.events if isinstance(event, Subscribed) and event.symbol == "DOGE/USD"]
        assert {event.symbol for event in left} == {"ETH/USD"}
        assert {event.connection for event in left} == {event.connection for event in carried}
        assert len(carried) == 2
        assert_unbroken(reader.events, ["BTC/USD", "DOGE/USD"])


async def test_a_connection_lost_during_its_replacement_hands_over_to_the_new_one(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), age_max_s=150 * MS, ack_timeout_s=60.0, silence_max_s=5.0) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        (first, *_) = await reader.until_count(Subscribed, 3)
        server.acknowledging.clear()
        async with asyncio.timeout(5):
            while len(server.askers) < 2:
                await asyncio.sleep(MS)
        await server.sockets[0].close(code=1012)
        (lost,) = await reader.until_count(Disconnected)
        assert (lost.connection, "closed by the venue: 1012" in lost.reason) == (first.connection, True)
        server.acknowledging.set()
        await reader.until_count(Subscribed, 6)
        assert server.opened == 2, "the one that was to replace it"


async def test_where_every_socket_is_in_use_nothing_is_replaced(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), Binance(), streams_max=2, sockets_max=2, age_max_s=100 * MS) as reader:
        await reader.session.subscribe("trades", [f"S{number}/USDT" for number in range(4)])
        await reader.until_count(Watermark, 30)
        assert server.opened == 2
        await reader.session.unsubscribe("trades", ["S2/USDT", "S3/USDT"])
        await reader.until(lambda _: reader.session.counters["replaced"] > 0)
        assert len(server.sockets) <= 2


async def test_many_connections_of_one_age_do_not_change_at_once(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), Binance(), streams_max=1, age_max_s=400 * MS) as reader:
        symbols = [f"S{number}/USDT" for number in range(8)]
        await reader.session.subscribe("trades", symbols)
        most = 0

        def count(_: list[Event]) -> bool:
            nonlocal most
            most = max(most, len(server.sockets))
            return reader.session.counters["replaced"] >= 8

        await reader.until(count, within_s=10.0)
        assert 8 < most <= 8 + 2 + 2, "two are replaced at once, and as many may still be closing"
        assert_unbroken(reader.events, symbols)


async def test_a_session_closed_during_a_change_closes_both_sockets(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), age_max_s=100 * MS, ack_timeout_s=60.0, silence_max_s=5.0) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        await reader.until_count(Subscribed, 3)
        server.acknowledging.clear()
        async with asyncio.timeout(5):
            while len(server.sockets) < 2:
                await asyncio.sleep(MS)
    server.acknowledging.set()
    async with asyncio.timeout(2):
        while server.sockets:
            await asyncio.sleep(MS)
