"""A real WebSocket server that is told how to misbehave, and a session on it that is read event by event.

All times are multiples of one `MS`.
"""

import asyncio
import dataclasses
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import WSMsgType, web
from fixed_clock import BEGINS_US, unix_now_s

from fullon_exchange.backoff import Backoff
from fullon_exchange.binance.rest import Binance
from fullon_exchange.clock import Clock
from fullon_exchange.errors import UnknownSymbol
from fullon_exchange.interface import Listing
from fullon_exchange.kraken.rest import Kraken
from fullon_exchange.live.session import NativeSession
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import (
    Candles,
    Event,
    Trades,
)

MS = 0.001
Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
SYMBOLS = ["BTC/USD", "ETH/USD", "DOGE/USD"]


CLOCK = Clock(origin_s=BEGINS_US / 1e6, unix_s=unix_now_s())
"""The server's, and without another that of a session on it."""
now_us = CLOCK.now_us


def iso(timestamp_us: int) -> str:
    moment = datetime.fromtimestamp(timestamp_us / 1_000_000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{timestamp_us % 1_000_000:06d}Z"


def kraken_trade(symbol: str, trade_id: int, timestamp_us: int | None = None) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "side": "buy",
        "price": 10.5,
        "qty": 0.5,
        "ord_type": "market",
        "trade_id": trade_id,
        "timestamp": iso(timestamp_us or now_us()),
    }


class Server:
    """A venue speaking just enough Kraken v2 and Binance; attributes say how it misbehaves."""

    def __init__(self) -> None:
        self.sockets: list[web.WebSocketResponse] = []
        self.opened = 0
        self.requests: list[dict[str, Any]] = []
        self.request_times: list[float] = []
        self.askers: list[web.WebSocketResponse] = []
        self.acknowledging = asyncio.Event()
        self.acknowledging.set()
        self.down = False
        self.refuse: dict[str, str] = {}
        self.forget_acknowledgements = 0
        self.already: set[str] = set()
        self.answer_pings = True
        self.mute = False
        self.close_at_once = False
        self.time_offset_us = 0
        self.pings = 0
        self.pongs: list[bytes] = []
        self.close_timeout_s = 10 * MS
        self.subscribed: Counter[str] = Counter()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503)
        socket = web.WebSocketResponse(autoping=False, compress=False, timeout=self.close_timeout_s)
        await socket.prepare(request)
        self.opened += 1
        if self.close_at_once:
            await socket.close(code=1013, message=b"try again")
            return socket
        self.sockets.append(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.PING and self.answer_pings and not self.mute:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    self.pongs.append(bytes(message.data))
                elif message.type is WSMsgType.TEXT and not self.mute:
                    await self._answer(socket, json.loads(message.data))
        finally:
            self.sockets.remove(socket)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        told = {"time_in": iso(now_us() + self.time_offset_us), "time_out": iso(now_us() + self.time_offset_us)}
        if message["method"] == "ping":
            self.pings += 1
            if self.answer_pings:
                await self._send(socket, {"method": "pong", "req_id": message["req_id"], **told})
            return
        self.requests.append(message)
        self.request_times.append(time.monotonic())
        self.askers.append(socket)
        await self.acknowledging.wait()
        if self.forget_acknowledgements > 0:
            self.forget_acknowledgements -= 1
            return
        if "id" in message:
            await self._answer_binance(socket, message)
            return
        params = message["params"]
        for symbol in params["symbol"]:
            answer: dict[str, Any] = {"method": message["method"], "req_id": message["req_id"], **told}
            if symbol in self.refuse:
                answer |= {"success": False, "symbol": symbol, "error": self.refuse[symbol]}
            elif symbol in self.already and message["method"] == "subscribe":
                answer |= {"success": False, "symbol": symbol, "error": "Already subscribed"}
            else:
                self.subscribed[symbol] += 1
                answer |= {"success": True, "result": {"channel": params["channel"], "symbol": symbol}}
            await self._send(socket, answer)

    async def _answer_binance(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        refused = [stream for stream in message["params"] if stream in self.refuse]
        if refused:
            error = {"code": 2, "msg": self.refuse[refused[0]]}
            await self._send(socket, {"error": error, "id": message["id"]})
            return
        self.subscribed.update(message["params"])
        await self._send(socket, {"result": None, "id": message["id"]})

    async def _send(self, socket: web.WebSocketResponse, message: Any) -> None:
        await socket.send_str(json.dumps(message))

    async def say(self, *messages: Any) -> None:
        """Send to every socket; bytes and text as they are, anything else as JSON."""
        for socket in list(self.sockets):
            for message in messages:
                if isinstance(message, bytes):
                    await socket.send_bytes(message)
                else:
                    await socket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def trade(self, *trades: dict[str, Any]) -> None:
        await self.say({"channel": "trade", "type": "update", "data": list(trades)})

    async def close(self, code: int = 1012, reason: bytes = b"restart") -> None:
        for socket in list(self.sockets):
            await socket.close(code=code, message=reason)


class Reader:
    """Reads a session's events until a condition holds."""

    def __init__(self, session: NativeSession) -> None:
        self.session = session
        self.events: list[Event] = []
        self._stream = session.events()

    async def until(self, condition: Callable[[list[Event]], bool], within_s: float = 5.0) -> list[Event]:
        """Read on until `condition(all events so far)` holds."""
        async with asyncio.timeout(within_s):
            while not condition(self.events):
                self.events += await anext(self._stream)
        return self.events

    async def until_count(self, kind: type, count: int = 1, within_s: float = 5.0) -> list[Any]:
        await self.until(lambda events: len([one for one in events if isinstance(one, kind)]) >= count, within_s)
        return [one for one in self.events if isinstance(one, kind)]

    async def until_trades(self, count: int) -> list[Any]:
        await self.until(lambda events: len(records(events)) >= count)
        return records(self.events)


def records(events: list[Event]) -> list[Any]:
    return [row for event in events if isinstance(event, Trades | Candles) for row in event.records]


async def fetch_listing(symbol: str) -> Listing:
    if symbol.startswith("NO"):
        raise UnknownSymbol("is not listed", exchange="kraken", symbol=symbol)
    return Listing(symbol, "", "", True, {"ws": symbol, "rest": symbol})


@asynccontextmanager
async def live(
    origin: str,
    venue: Kraken | Binance | None = None,
    *,
    clock: Clock | None = None,
    venue_now_us: Callable[[], int] = now_us,
    records_max: int = 1000,
    **limits: Any,
) -> AsyncIterator[Reader]:
    venue = venue or Kraken()
    fast = {
        "silence_max_s": 400 * MS,
        "ack_timeout_s": 100 * MS,
        "messages_per_s": 500.0,
        "grace_s": 20 * MS,
        "cadence_s": 0.0,
        "ping_s": 50 * MS,
    }
    venue.sockets = dataclasses.replace(venue.sockets, **(fast | limits))  # type: ignore[misc]

    async def fetch_time() -> int:
        return venue_now_us()

    session = NativeSession(
        venue,
        url=origin.replace("http", "ws") + "/v2",
        clock=clock or CLOCK,
        server_time=ServerTime(),
        fetch_time=fetch_time,
        fetch_listing=fetch_listing,
        backoff=lambda: Backoff(5 * MS, 20 * MS),
        records_max=records_max,
    )
    async with session:
        yield Reader(session)
