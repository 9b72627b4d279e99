"""A live session against a real WebSocket server that is told how to misbehave.

All times are multiples of one `MS`; conditions are events of the stream, never a sleep.
"""

import asyncio
import json
from collections import Counter

import pytest
from aiohttp import web
from fixed_clock import unix_now_s
from misbehaving_server import (
    MS,
    SYMBOLS,
    Serve,
    Server,
    fetch_listing,
    kraken_trade,
    live,
    now_us,
    records,
)

from fullon_exchange.binance.rest import Binance
from fullon_exchange.clock import Clock
from fullon_exchange.errors import ExchangeUnavailable
from fullon_exchange.interface import Listing
from fullon_exchange.records import (
    Disconnected,
    Rejected,
    Subscribed,
    Trades,
    Unsubscribed,
    Watermark,
)


async def test_every_symbol_is_acknowledged_and_every_trade_delivered(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        acknowledged = await reader.until_count(Subscribed, 3)
        assert {event.symbol for event in acknowledged} == set(SYMBOLS)
        assert all(abs(event.timestamp_us - now_us()) < 5_000_000 for event in acknowledged)
        await server.trade(kraken_trade("BTC/USD", 1), kraken_trade("ETH/USD", 7))
        await server.trade(kraken_trade("BTC/USD", 2))
        rows = await reader.until_trades(3)
        assert [(row.symbol, row.trade_id) for row in rows] == [("BTC/USD", "1"), ("ETH/USD", "7"), ("BTC/USD", "2")]
        assert len(server.requests) == 1, "one message subscribes them all"


async def test_candles_and_trades_share_one_socket(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        await reader.session.subscribe("candles1m", SYMBOLS)
        acknowledged = await reader.until_count(Subscribed, 6)
        assert len({event.connection for event in acknowledged}) == 1
        assert server.opened == 1


async def test_a_refused_symbol_is_named_and_the_others_subscribe(serve: Serve) -> None:
    server = Server()
    server.refuse["ETH/USD"] = "Currency pair not supported ETH/USD"
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", [*SYMBOLS, "NO/PE"])
        await reader.until(lambda events: len([one for one in events if isinstance(one, Subscribed | Rejected)]) >= 4)
        rejected = {event.symbol: event.reason for event in reader.events if isinstance(event, Rejected)}
        assert rejected["ETH/USD"] == "Currency pair not supported ETH/USD"
        assert "not listed" in rejected["NO/PE"]
        await server.close()
        await reader.until_count(Subscribed, 4)
        assert "ETH/USD" not in server.requests[-1]["params"]["symbol"], "a rejected symbol is not asked for again"


async def test_already_subscribed_is_fine(serve: Serve) -> None:
    server = Server()
    server.already.add("BTC/USD")
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)


async def test_a_missing_acknowledgement_is_asked_for_again(serve: Serve) -> None:
    server = Server()
    server.forget_acknowledgements = 1
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        assert len(server.requests) == 2
        assert server.opened == 1


async def test_a_second_missing_acknowledgement_makes_a_new_connection(serve: Serve) -> None:
    server = Server()
    server.forget_acknowledgements = 2
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        (lost,) = await reader.until_count(Disconnected)
        assert "no acknowledgement of 1 subscriptions, for instance BTC/USD trades" in lost.reason
        await reader.until_count(Subscribed)
        assert server.opened == 2


async def test_a_closed_socket_is_an_event_in_order_and_everything_is_subscribed_again(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        await reader.until_count(Subscribed, 3)
        await server.trade(kraken_trade("BTC/USD", 1))
        await server.close(1012, b"restart")
        events = await reader.until(lambda events: sum(isinstance(one, Subscribed) for one in events) >= 6)
        (lost,) = [event for event in events if isinstance(event, Disconnected)]
        assert "closed by the venue: 1012 restart" in lost.reason
        place = events.index(lost)
        first, second = (
            {event.connection for event in events[:place]},
            {event.connection for event in events[place + 1 :]},
        )
        assert first == {lost.connection}
        assert first.isdisjoint(second)
        assert len(records(events[:place])) == 1


async def test_the_venues_close_is_answered_so_that_nobody_waits_for_it(serve: Serve) -> None:
    server = Server()
    server.close_timeout_s = 30.0
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        async with asyncio.timeout(2):
            await server.close()
        await reader.until_count(Subscribed, 2)


async def test_the_venues_pings_are_answered_and_hold_up_no_data(serve: Serve) -> None:
    server = Server()
    server.answer_pings = False
    async with live(await serve(server), silence_max_s=60.0) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        (socket,) = server.sockets
        text = json.dumps({"channel": "trade", "type": "update", "data": [kraken_trade("BTC/USD", 1)]}).encode()
        size = b"\x7e" + len(text).to_bytes(2)
        assert socket._writer is not None
        socket._writer.transport.write(b"\x81" + size + text + b"\x89\x02hi")
        await reader.until_trades(1)
        async with asyncio.timeout(2):
            while b"hi" not in server.pongs:
                await asyncio.sleep(MS)


async def test_a_reset_connection_is_noticed(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        transport = server.sockets[0]._req.transport  # type: ignore[union-attr]
        transport.abort()
        await reader.until_count(Subscribed, 2)


async def test_a_socket_that_falls_silent_is_stale(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        server.mute = True
        (lost,) = await reader.until_count(Disconnected)
        assert "no frame for" in lost.reason


async def test_a_socket_silent_from_the_very_first_message_is_stale(serve: Serve) -> None:
    server = Server()
    server.mute = True
    async with live(await serve(server), ack_timeout_s=60.0) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Disconnected, 2)
        assert server.opened >= 2


async def test_data_without_answers_to_pings_is_stale_because_nothing_is_proved(serve: Serve) -> None:
    server = Server()
    server.answer_pings = False
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)

        async def talk() -> None:
            while True:
                await server.say({"channel": "heartbeat"})
                await asyncio.sleep(20 * MS)

        talking = asyncio.ensure_future(talk())
        (lost,) = await reader.until_count(Disconnected)
        talking.cancel()
        assert "no answer to a ping" in lost.reason
        assert not [event for event in reader.events if isinstance(event, Watermark)]


async def test_a_trade_that_arrives_late_holds_the_watermark_back(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        marks = await reader.until_count(Watermark)
        await server.trade(kraken_trade("BTC/USD", 1, now_us() - 20_000_000))
        await reader.until_trades(1)
        seen = len([event for event in reader.events if isinstance(event, Watermark)])
        pings = server.pings
        while server.pings < pings + 5:
            await asyncio.sleep(MS)
        await server.trade(kraken_trade("BTC/USD", 2))
        await reader.until_trades(2)
        assert len([event for event in reader.events if isinstance(event, Watermark)]) == seen >= len(marks)


async def test_a_feed_that_stays_late_is_stale(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), lag_max_s=1.0, lag_patience_s=100 * MS) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)

        async def talk() -> None:
            for number in range(1000):
                await server.trade(kraken_trade("BTC/USD", number, now_us() - 5_000_000))
                await asyncio.sleep(20 * MS)

        talking = asyncio.ensure_future(talk())
        (lost,) = await reader.until_count(Disconnected)
        talking.cancel()
        assert "trades arrive 5" in lost.reason


async def test_watermarks_never_pass_what_has_been_delivered(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), grace_s=100 * MS, messages_per_s=50.0) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        stopping = asyncio.Event()

        async def trade_on() -> None:
            number = 0
            while not stopping.is_set():
                number += 1
                await server.trade(kraken_trade("BTC/USD", number))
                await asyncio.sleep(2 * MS)

        trading = asyncio.ensure_future(trade_on())
        await reader.until_count(Watermark, 3)
        stopping.set()
        await trading
        watermark_us = 0
        for event in reader.events:
            if isinstance(event, Watermark):
                assert event.timestamp_us > watermark_us
                watermark_us = event.timestamp_us
            elif isinstance(event, Trades):
                assert all(row.timestamp_us >= watermark_us for row in event.records)


async def test_a_quiet_market_is_proved_past_the_minute_by_the_clock(serve: Serve) -> None:
    server = Server()
    origin_s = 1_800_000_000 - 1_800_000_000 % 60 + 58.0
    clock = Clock(origin_s=origin_s, unix_s=unix_now_s(), speed=4)
    async with live(await serve(server), Binance(), clock=clock, venue_now_us=clock.now_us) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        boundary_us = round((origin_s + 2) * 1_000_000)
        await reader.until(
            lambda events: any(isinstance(one, Watermark) and one.timestamp_us >= boundary_us for one in events)
        )
        assert clock.now_us() < boundary_us + 2_000_000


async def test_a_clock_of_ours_that_is_ahead_claims_nothing_the_venue_has_not_reached(serve: Serve) -> None:
    """Our clock is an hour ahead of the venue's; its pongs tell, and the watermark follows the venue."""
    server = Server()
    clock = Clock(origin_s=now_us() / 1e6 + 3600, unix_s=unix_now_s(), speed=1)
    async with live(await serve(server), clock=clock) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        marks = await reader.until_count(Watermark)
        assert all(mark.timestamp_us <= now_us() for mark in marks)


async def test_where_pongs_do_not_tell_the_time_rest_does(serve: Serve) -> None:
    server = Server()
    clock = Clock(origin_s=now_us() / 1e6 + 3600, unix_s=unix_now_s(), speed=1)
    async with live(await serve(server), Binance(), clock=clock) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        marks = await reader.until_count(Watermark)
        assert all(mark.timestamp_us <= now_us() for mark in marks)


async def test_heartbeats_are_no_proof_and_no_data(serve: Serve) -> None:
    server = Server()
    server.close_at_once = False
    server.answer_pings = False
    async with live(await serve(server), silence_max_s=60.0) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        for _ in range(20):
            await server.say({"channel": "heartbeat"})
        await server.trade(kraken_trade("BTC/USD", 1))
        await reader.until_trades(1)
        assert not [event for event in reader.events if isinstance(event, Watermark)]


async def test_what_cannot_be_read_is_counted_by_kind_and_its_neighbours_kept(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        await server.say("", "{", "nonsense", b"binary", {"channel": "weather"}, [], "null")
        good = kraken_trade("BTC/USD", 1)
        await server.trade(
            good | {"price": None},
            good,
            good | {"price": -1},
            good | {"symbol": "XRP/USD"},
            good | {"timestamp": "2099-01-01T00:00:00.000000Z"},
            kraken_trade("BTC/USD", 2),
        )
        await server.say(json.dumps({"channel": "trade", "data": [good]}).replace("10.5", "NaN"))
        await server.trade(kraken_trade("BTC/USD", 3))
        rows = await reader.until_trades(3)
        assert [row.trade_id for row in rows] == ["1", "2", "3"]
        counted = reader.session.counters
        assert {kind: counted[kind] for kind in ("garbage", "unknown", "binary", "row", "unsubscribed", "time")} == {
            "garbage": 4, "unknown": 3, "binary": 1, "row": 2, "unsubscribed": 1, "time": 1,
        }  # fmt: skip
        assert server.opened == 1, "nothing of it costs the connection"


async def test_a_message_in_fragments_is_read_as_one(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        text = json.dumps({"channel": "trade", "type": "update", "data": [kraken_trade("BTC/USD", 5)]}).encode()
        writer = server.sockets[0]._writer
        assert writer is not None
        parts = (text[:10], text[10:50], text[50:])
        for opcode, final, part in zip((1, 0, 0), (0, 0, 0x80), parts, strict=True):
            size = bytes((len(part),)) if len(part) < 126 else b"\x7e" + len(part).to_bytes(2)
            writer.transport.write(bytes((final | opcode,)) + size + part)
        rows = await reader.until_trades(1)
        assert rows[0].trade_id == "5"


async def test_a_server_that_accepts_and_closes_at_once_is_not_hammered(serve: Serve) -> None:
    server = Server()
    server.close_at_once = True
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Disconnected, 10)
        assert server.opened <= 12
        server.close_at_once = False
        await reader.until_count(Subscribed)


async def test_a_server_that_is_down_is_tried_until_it_is_up(serve: Serve) -> None:
    server = Server()

    async def down(request: web.Request) -> web.StreamResponse:
        return await server(request) if up.is_set() else web.Response(status=503)

    up = asyncio.Event()
    async with live(await serve(down)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        with pytest.raises(TimeoutError):
            await reader.until(bool, within_s=100 * MS)
        up.set()
        reader._stream = reader.session.events()
        await reader.until_count(Subscribed)
        assert not [event for event in reader.events if isinstance(event, Disconnected)]


async def test_unsubscribing_ends_the_stream_of_that_symbol_alone(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        await reader.until_count(Subscribed, 3)
        await reader.session.unsubscribe("trades", ["ETH/USD", "never/subscribed"])
        (left,) = await reader.until_count(Unsubscribed)
        assert left.symbol == "ETH/USD"
        await server.trade(kraken_trade("ETH/USD", 1), kraken_trade("BTC/USD", 2))
        rows = await reader.until_trades(1)
        assert [row.symbol for row in rows] == ["BTC/USD"]
        assert reader.session.counters["unsubscribed"] == 1
        await reader.session.subscribe("trades", ["ETH/USD"])
        await reader.until_count(Subscribed, 4)


async def test_a_symbol_given_up_before_it_was_ever_carried_is_said_so(serve: Serve) -> None:
    async with live("http://127.0.0.1:9") as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.session.unsubscribe("trades", ["BTC/USD"])
        (left,) = await reader.until_count(Unsubscribed)
        assert (left.connection, left.symbol) == ("", "BTC/USD")


async def test_more_streams_than_a_socket_may_carry_open_more_sockets(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), Binance(), streams_max=10, streams_per_message=4) as reader:
        symbols = [f"S{number}/USDT" for number in range(25)]
        await reader.session.subscribe("trades", symbols)
        acknowledged = await reader.until_count(Subscribed, 25)
        carried = Counter(event.connection for event in acknowledged)
        assert sorted(carried.values()) == [5, 10, 10]
        assert server.opened == 3
        assert max(len(request["params"]) for request in server.requests) <= 4


async def test_losing_one_socket_of_several_disturbs_no_other(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), Binance(), streams_max=2) as reader:
        await reader.session.subscribe("trades", [f"S{number}/USDT" for number in range(6)])
        await reader.until_count(Subscribed, 6)
        await server.sockets[1].close(code=1001)
        await reader.until_count(Subscribed, 8)
        assert len([event for event in reader.events if isinstance(event, Disconnected)]) == 1
        assert server.opened == 4


async def test_a_socket_whose_last_subscription_went_is_closed(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        await reader.session.unsubscribe("trades", ["BTC/USD"])
        (lost,) = await reader.until_count(Disconnected)
        assert "nothing left to carry" in lost.reason
        await reader.session.subscribe("trades", ["ETH/USD"])
        await reader.until_count(Subscribed, 2)
        assert server.opened == 2


async def test_one_bad_stream_among_many_is_isolated_where_the_venue_refuses_whole_requests(serve: Serve) -> None:
    server = Server()
    server.refuse["bad@aggTrade"] = "Invalid request: invalid stream"
    async with live(await serve(server), Binance()) as reader:
        await reader.session.subscribe("trades", ["S1", "BAD", "S2"])
        (refused,) = await reader.until_count(Rejected)
        assert refused.symbol == "BAD"
        await reader.until_count(Subscribed, 2)


async def test_messages_keep_the_venues_pace(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), Binance(), streams_per_message=1, messages_per_s=50.0) as reader:
        await reader.session.subscribe("trades", [f"S{number}" for number in range(10)])
        await reader.until_count(Subscribed, 10)
        times = server.request_times
        assert times[-1] - times[0] >= 9 / 50 * 0.9


async def test_a_slow_reader_stops_the_socket_and_loses_nothing(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server), records_max=500, silence_max_s=5.0) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        total, batch = 60_000, 500
        frames = [
            json.dumps({"channel": "trade", "data": [kraken_trade("BTC/USD", start + place) for place in range(batch)]})
            for start in range(0, total, batch)
        ]
        async with asyncio.TaskGroup() as group:
            flooding = group.create_task(server.say(*frames))
            still = 0
            while still < 20 and not flooding.done():
                before = reader.session.buffered
                await asyncio.sleep(10 * MS)
                still = still + 1 if before == reader.session.buffered >= 500 else 0
            assert not flooding.done(), "the server could send everything although nobody read"
            assert reader.session.buffered < total / 2
            await reader.until(lambda events: len(records(events)) >= total, within_s=30.0)
        assert [row.trade_id for row in records(reader.events)] == [str(number) for number in range(total)]
        assert not [event for event in reader.events if isinstance(event, Disconnected)]


async def test_a_connection_the_caller_mistrusts_is_renewed(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        (carried,) = await reader.until_count(Subscribed)
        assert reader.session.reconnect(carried.connection, "BTC/USD has been silent for too long")
        assert not reader.session.reconnect("kraken-nobody-1", "gone")
        (lost,) = await reader.until_count(Disconnected)
        assert "BTC/USD has been silent for too long" in lost.reason
        await reader.until_count(Subscribed, 2)


async def test_markets_that_cannot_be_looked_up_are_tried_again(serve: Serve) -> None:
    server = Server()
    async with live(await serve(server)) as reader:
        failures = 3

        async def fails_first(symbol: str) -> Listing:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise ExchangeUnavailable("not now", exchange="kraken")
            return await fetch_listing(symbol)

        reader.session._fetch_listing = fails_first
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)


async def test_closing_ends_the_stream_after_its_last_event_and_leaves_no_task(serve: Serve) -> None:
    server = Server()
    before = asyncio.all_tasks()
    async with live(await serve(server)) as reader:
        await reader.session.subscribe("trades", SYMBOLS)
        await reader.until_count(Subscribed, 3)
    rest = [event async for batch in reader.session.events() for event in batch]
    assert isinstance(rest[-1], Disconnected)
    assert "the session was closed" in rest[-1].reason
    async with asyncio.timeout(2):
        while server.sockets:
            await asyncio.sleep(MS)
    assert not {task for task in asyncio.all_tasks() - before if "_run_slot" in repr(task) or "_assign" in repr(task)}


@pytest.mark.parametrize("moment_ms", [0, 1, 3, 10, 30])
async def test_a_session_cancelled_at_any_moment_closes_its_sockets(serve: Serve, moment_ms: int) -> None:
    server = Server()
    origin = await serve(server)

    async def run() -> None:
        async with live(origin) as reader:
            await reader.session.subscribe("trades", SYMBOLS)
            async for _ in reader.session.events():
                pass

    running = asyncio.ensure_future(run())
    await asyncio.sleep(moment_ms * MS)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(2):
        while server.sockets:
            await asyncio.sleep(MS)
