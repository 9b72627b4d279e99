"""More symbols than channels a socket carries: more sockets, and what stays unanswered is said and polled."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from fixed_clock import unix_now_s
from odd_exchanges import OddExchange, bitfinex

from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock
from fullon_exchange.records import Candles, Event, Subscribed, Watermark
from fullon_log import configure_logger

EPOCH_S = 1_767_225_600.0
SPEED = 60.0
SYMBOLS = [f"A{chr(65 + number // 10)}{chr(65 + number % 10)}/USD" for number in range(28)]


async def read_until(
    condition: Callable[[list[Event]], bool], symbols: list[str], channels_max: int, ignored: Sequence[str] = ()
) -> OddExchange:
    """Subscribe the candles of symbols, and read until `condition(all events)` holds."""
    clock = Clock(EPOCH_S, unix_now_s(), SPEED)
    stream = bitfinex.stream(clock, channels_max=channels_max, ignored=ignored)
    async with OddExchange("bitfinex", bitfinex.answers(clock, symbols), stream=stream) as odd:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(odd.variable, odd.origin)
            opened = open_exchange("bitfinex", clock=clock)
            seen: list[Event] = []
            async with asyncio.timeout(60), opened as exchange, exchange.live() as session:
                await session.subscribe("candles1m", symbols)
                async for events in session.events():
                    seen += events
                    if condition(seen):
                        return odd
    raise AssertionError("the session has ended")


def subscribed(events: list[Event]) -> set[str]:
    return {event.symbol for event in events if isinstance(event, Subscribed)}


async def test_a_declared_number_of_channels_is_kept_to() -> None:
    odd = await read_until(lambda events: subscribed(events) == set(SYMBOLS), SYMBOLS, channels_max=25)
    assert [len(socket.received) for socket in odd.sockets] == [25, 3]


async def test_sockets_that_carry_fewer_channels_than_assumed_are_joined_by_more() -> None:
    few = SYMBOLS[:10]
    odd = await read_until(lambda events: subscribed(events) == set(few), few, channels_max=4)
    assert len(odd.sockets) == 3
    assert odd.asked_for("/v2/candles/trade:1m:tAAA/hist") == []


async def test_what_is_never_answered_is_logged_and_polled(capfd: pytest.CaptureFixture[str]) -> None:
    """Polled candles come as live ones do: their minutes are proved, stored and published like those of a stream."""
    configure_logger(level="INFO", console=True, file_path="")
    few = SYMBOLS[:3]
    quiet = few[-1]

    def polled(events: list[Event]) -> bool:
        connections = {event.connection for event in events if isinstance(event, Subscribed) and event.symbol == quiet}
        candles = any(
            record.symbol == quiet and record.closed
            for event in events
            if isinstance(event, Candles)
            for record in event.records
        )
        proved = any(isinstance(event, Watermark) and event.connection in connections for event in events)
        return subscribed(events) == set(few) and candles and proved

    await read_until(polled, few, channels_max=25, ignored=[quiet.replace("/", "")])
    logged = capfd.readouterr().err
    assert "subscriptions not answered in time" in logged
    assert f"{quiet} candles1m" in logged
