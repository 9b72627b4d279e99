"""A venue that sends, in a process of its own: pre-encoded frames, as fast as they are read or at a given pace.

It speaks as much of Kraken's WebSocket v2 (and v1, which cryptofeed reads) and of Binance's streams as its readers
need. Frames are encoded beforehand but for the time of their trades, which is put in as they leave: a feed that lags
is reconnected, and rightly.
"""

# ruff: noqa: ASYNC110, S311 - waiting for another process is polling; chance makes test data

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uvloop
from loopback import PING, PONG, TEXT, Socket, framed, listen
from venue_rest import (
    CANDLE,
    MINUTE_US,
    ExchangeClock,
    Listings,
    Told,
    VenueName,
    candle_volume,
    is_buy,
    plain,
    symbols,
)

STARTED_S, SENT, COMMITTED, BOARD_SIZE = 0, 1, 2, 3
"""Places of the array that feeder and reader share: Unix time of the first frame, trades sent, trades stored."""

_CHUNK_FRAMES = 512
_LEAD_S = 0.3
_MOMENT = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
"""Stands in the encoded frames where the time of a trade comes."""
_TICK_S = 0.02


@dataclass(frozen=True)
class Burst:
    """So many trades over some symbols, a few of which have most; then silence."""

    venue: VenueName
    symbols: int
    trades: int
    rate: float | None = None
    """Trades a second, each a write of its own; None: as fast as they are read."""
    window: int | None = None
    """Trades that may be sent and not stored yet; None: any number."""
    starts_us: int = 0
    """Exchange time of the first trade; past: as soon as everything is subscribed."""


@dataclass(frozen=True)
class Steady:
    """Every symbol trades once in `period_s`, for ever; Binance's candles close together at the minute's end."""

    venue: VenueName
    symbols: int
    period_s: float


def serve_feed(ready: Callable[[int], None], plan: Burst | Steady, board: MutableSequence[float]) -> None:
    """Serve `plan` for ever; tells its port."""
    uvloop.run(_serve(ready, plan, board))


async def _serve(ready: Callable[[int], None], plan: Burst | Steady, board: MutableSequence[float]) -> None:
    venue = _Feeder(plan, board)
    ready(await listen(Listings(symbols(plan.venue, plan.symbols), venue.clock, venue.told).answer, venue.stream))
    await venue.feed()
    await asyncio.get_running_loop().create_future()


class _Feeder:
    def __init__(self, plan: Burst | Steady, board: MutableSequence[float]) -> None:
        self.clock = ExchangeClock()
        self.told = Told()
        self._plan = plan
        self._board = board
        self._names = symbols(plan.venue, plan.symbols)
        self._sockets: dict[str, Socket] = {}
        """By symbol: who carries it."""
        self._wires: dict[Socket, str] = {}
        self._complete = asyncio.Event()

    # what clients say ---------------------------------------------------------------------------------

    async def stream(self, socket: Socket) -> None:
        """Serve one client: acknowledge what it subscribes and answer its pings."""
        self._wires[socket] = _dialect(socket.path)
        if "streams" in socket.query:
            self._carry(socket, [name.split("@")[0] for name in socket.query["streams"].split("/")])
        while (message := await socket.receive()) is not None:
            if message.opcode == PING:
                socket.send(framed(message.payload, PONG))
            elif message.opcode == TEXT:
                for answer in self._answers(socket, json.loads(message.payload)):
                    socket.send(framed(json.dumps(answer).encode()))
                await socket.drain()
        del self._wires[socket]
        self._sockets = {name: carrier for name, carrier in self._sockets.items() if carrier is not socket}

    def _answers(self, socket: Socket, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        now_us = self.clock.now_us()
        method = request.get("method") or request.get("event")
        if method == "ping":
            number = request.get("req_id")
            yield {"method": "pong", "req_id": number, "time_in": _iso(now_us), "time_out": _iso(now_us)}
        elif method == "SUBSCRIBE":
            yield {"result": None, "id": request["id"]}
            self._carry(socket, [stream.split("@")[0] for stream in request["params"]])
        elif method == "subscribe" and "pair" in request:
            for name in request["pair"]:
                subscription = {"name": "trade"}
                yield {"event": "subscriptionStatus", "status": "subscribed", "pair": name, "channelName": "trade",
                       "channelID": 1, "subscription": subscription}  # fmt: skip
            self._carry(socket, request["pair"])
        elif method == "subscribe":
            # It says that it has carried the market since the minute began: what comes now is the whole minute.
            since = _iso(_minute_us(now_us))
            for name in request["params"]["symbol"]:
                result = {"channel": request["params"]["channel"], "symbol": name}
                yield {"method": "subscribe", "success": True, "result": result, "req_id": request.get("req_id"),
                       "time_in": since, "time_out": since}  # fmt: skip
            self._carry(socket, request["params"]["symbol"])

    def _carry(self, socket: Socket, names: Sequence[str]) -> None:
        ours = {plain(name): name for name in self._names}
        self._sockets |= {ours[plain(name)]: socket for name in names}
        if len(self._sockets) == len(self._names):
            self._complete.set()

    # what the venue says ------------------------------------------------------------------------------

    async def feed(self) -> None:
        """Send what is planned once everything is subscribed."""
        plan = self._plan
        if isinstance(plan, Steady):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_sockets(group, plan))
            return
        prices = _Prices(self._names, plan.trades)
        await self._complete.wait()
        of_socket = {
            socket: [name for name, carrier in self._sockets.items() if carrier is socket]
            for socket in dict.fromkeys(self._sockets.values())
        }
        queues = [
            (socket, self._wires[socket], list(prices.frames(self._wires[socket], set(names))))
            for socket, names in of_socket.items()
        ]
        await asyncio.sleep(_LEAD_S)
        await self.clock.sleep_until(plan.starts_us)
        self._board[STARTED_S] = time.time()
        async with asyncio.TaskGroup() as group:
            for socket, wire, frames in queues:
                send = self._saturate(socket, wire, frames) if plan.rate is None else self._pace(socket, wire, frames)
                group.create_task(send)

    async def _saturate(self, socket: Socket, wire: str, frames: list[bytes]) -> None:
        board, window = self._board, self._plan.window  # type: ignore[union-attr]
        place = _stamp(wire, _MOMENT)
        chunks = [frames[at : at + _CHUNK_FRAMES] for at in range(0, len(frames), _CHUNK_FRAMES)]
        joined = [(b"".join(chunk), len(chunk)) for chunk in chunks]
        for chunk, count in joined:
            while window is not None and board[SENT] - board[COMMITTED] > window:
                await asyncio.sleep(0.001)
            socket.send(chunk.replace(place, _stamp(wire, self._now())))
            board[SENT] += count
            await socket.drain()

    async def _pace(self, socket: Socket, wire: str, frames: list[bytes]) -> None:
        plan = self._plan
        if not isinstance(plan, Burst) or plan.rate is None:
            raise TypeError("only a burst has a pace")
        place = _stamp(wire, _MOMENT)
        started_s = time.perf_counter()
        step_s = plan.trades / len(frames) / plan.rate
        for number, frame in enumerate(frames):
            # Event loops sleep in milliseconds; frames of 5,000 a second lie closer.
            left_s = started_s + number * step_s - time.perf_counter()
            if left_s > 0.002:
                await asyncio.sleep(left_s - 0.001)
                left_s = started_s + number * step_s - time.perf_counter()
            if left_s > 0:
                time.sleep(left_s)  # noqa: ASYNC251 - at most 2 ms
            socket.send(frame.replace(place, _stamp(wire, self._now())))
            self._board[SENT] += 1
            await asyncio.sleep(0)  # the loop writes when it has turned

    async def _follow_sockets(self, group: asyncio.TaskGroup, plan: Steady) -> None:
        known: set[Socket] = set()
        while True:
            for socket in self._wires.keys() - known:
                known.add(socket)
                group.create_task(self._beat(socket, plan))
            await asyncio.sleep(_TICK_S)

    async def _beat(self, socket: Socket, plan: Steady) -> None:
        """Send every symbol of the socket when it is subscribed, and once in a period, each in a write of its own."""
        wire = self._wires[socket]
        begun: set[str] = set()
        counts = dict.fromkeys(self._names, 0)
        ids = dict.fromkeys(self._names, 1)
        minute_us = _minute_us(self.clock.now_us())
        at = 0.0
        while socket in self._wires:
            names = [name for name, carrier in self._sockets.items() if carrier is socket]
            now_us = self.clock.now_us()
            if now_us >= minute_us + MINUTE_US:
                if wire == "binance":
                    close = (_kline(name, minute_us, now_us, ids[name], counts[name], closed=True) for name in names)
                    socket.send(b"".join(close))
                    for name in names:
                        self.told.add_candle(name, minute_us, counts[name])
                counts = dict.fromkeys(self._names, 0)
                minute_us = _minute_us(now_us)
            share = len(names) * _TICK_S / plan.period_s
            due = [names[number % len(names)] for number in range(int(at), int(at + share))]
            due += [name for name in names if name not in begun]
            begun.update(due)
            at += share
            for name in due:
                ids[name] += 1
                counts[name] += 1
                if wire == "binance":
                    socket.send(_kline(name, minute_us, now_us, ids[name], counts[name], closed=False))
                else:
                    price, volume, moment = 100 + ids[name] % 7, 0.25, self._now()
                    frame = framed(_trade(wire, name, ids[name], price, volume))
                    socket.send(frame.replace(_stamp(wire, _MOMENT), _stamp(wire, moment)))
                    self.told.add_trade(name, ids[name], price, volume, moment)
                self._board[SENT] += 1
            if due:
                with suppress(ConnectionError):  # the client is gone, and with it the socket in a moment
                    await socket.drain()
            await self.clock.sleep_until(min(now_us + round(_TICK_S * 1e6), minute_us + MINUTE_US))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now_us() / 1e6, UTC)


class _Prices:
    """A trade after the other: a few symbols have most of them, prices wander."""

    def __init__(self, names: Sequence[str], trades: int) -> None:
        chance = random.Random(7)
        weights = [1 / (place + 1) for place in range(len(names))]
        self._order = chance.choices(names, weights, k=trades)
        self._steps = [chance.randint(-20, 20) for _ in range(1009)]

    def frames(self, wire: str, wanted: set[str]) -> Iterator[bytes]:
        """Yield one frame for each trade of the wanted symbols."""
        ids = dict.fromkeys(wanted, 0)
        prices = dict.fromkeys(wanted, 5_000_000)
        for number, name in enumerate(self._order):
            if name in wanted:
                ids[name] += 1
                prices[name] = max(1000, prices[name] + self._steps[number % 1009])
                yield framed(_trade(wire, name, ids[name], prices[name] / 100, (number % 997 + 1) / 1e4))


def _dialect(path: str) -> str:
    if path.startswith("/v2"):
        return "kraken"
    if path.rstrip("/").endswith("v1"):
        return "kraken v1"
    return "binance combined" if path.rstrip("/") == "/stream" else "binance"


def _trade(wire: str, name: str, trade_id: int, price: float, volume: float) -> bytes:
    """Return the message of one trade, at the moment that stands for now."""
    side = is_buy(trade_id)
    stamp = _stamp(wire, _MOMENT).decode()
    if wire == "kraken":
        return (
            f'{{"channel":"trade","type":"update","data":[{{"symbol":"{name}","side":"{"buy" if side else "sell"}",'
            f'"price":{price:.2f},"qty":{volume:.8f},"ord_type":"market","trade_id":{trade_id},"timestamp":"{stamp}"}}]}}'
        ).encode()
    if wire == "kraken v1":
        return (
            f'[1,[["{price:.5f}","{volume:.8f}","{stamp}","{"b" if side else "s"}","m",""]],"trade","{name}"]'.encode()
        )
    market = plain(name).upper()
    event = (
        f'{{"e":"aggTrade","E":{stamp},"s":"{market}","a":{trade_id},"p":"{price:.8f}","q":"{volume:.8f}",'
        f'"f":{trade_id},"l":{trade_id},"T":{stamp},"m":{"false" if side else "true"},"M":true}}'
    )
    if wire == "binance combined":
        return f'{{"stream":"{market.lower()}@aggTrade","data":{event}}}'.encode()
    return event.encode()


def _kline(name: str, minute_us: int, now_us: int, last_id: int, trades: int, *, closed: bool) -> bytes:
    market = plain(name).upper()
    volume = candle_volume(trades)
    prices = ",".join(f'"{part}":"{price}"' for part, price in CANDLE.items())
    return framed(
        (
            f'{{"e":"kline","E":{now_us // 1000},"s":"{market}","k":{{"t":{minute_us // 1000},'
            f'"T":{(minute_us + MINUTE_US) // 1000 - 1},"s":"{market}","i":"1m",'
            f'"f":{last_id - trades + 1 if trades else -1},"L":{last_id if trades else -1},{prices},'
            f'"v":"{volume}","n":{trades},'
            f'"x":{"true" if closed else "false"},"q":"{volume}","V":"{volume}","Q":"{volume}","B":"0"}}}}'
        ).encode()
    )


def _stamp(wire: str, moment: datetime) -> bytes:
    """Return a moment as the wire prints it, always in as many bytes."""
    if wire == "kraken":
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
    if wire == "kraken v1":
        return f"{moment.timestamp():.6f}".encode()
    return str(round(moment.timestamp() * 1000)).encode()


def _minute_us(timestamp_us: int) -> int:
    return timestamp_us - timestamp_us % MINUTE_US


def _iso(timestamp_us: int) -> str:
    return datetime.fromtimestamp(timestamp_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
