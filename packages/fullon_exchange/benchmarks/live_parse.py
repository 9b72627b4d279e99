"""Trades per CPU second: parsing alone, and from a loopback socket to events.

    python packages/fullon_exchange/benchmarks/live_parse.py [thousands of frames]

A second process sends pre-rendered frames as fast as they are read; CPU is user + system of the reading process.
"""

import asyncio
import base64
import hashlib
import multiprocessing
import sys
import time
from collections.abc import Callable

import uvloop

from fullon_exchange.binance.rest import Binance
from fullon_exchange.clock import Clock
from fullon_exchange.interface import Listing
from fullon_exchange.kraken.rest import Kraken
from fullon_exchange.live.session import NativeSession
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import Trades
from fullon_exchange.venue import Venue

LATEST_US = 4_000_000_000_000_000


def kraken_frame(number: int, trades: int) -> bytes:
    row = (
        '{{"symbol":"BTC/USD","side":"buy","price":109601.2,"qty":0.04561994,"ord_type":"market",'
        '"trade_id":{},"timestamp":"2025-05-27T11:24:03.847761Z"}}'
    )
    rows = ",".join(row.format(number * trades + place) for place in range(trades))
    return f'{{"channel":"trade","type":"update","data":[{rows}]}}'.encode()


def binance_frame(number: int, trades: int) -> bytes:
    return (
        f'{{"e":"aggTrade","E":1748345043848,"s":"BTCUSDT","a":{number},"p":"109601.20000000","q":"0.04561000",'
        f'"f":{number},"l":{number},"T":1748345043847,"m":false,"M":true}}'
    ).encode()


CASES: dict[str, tuple[Callable[[], Venue], Callable[[int, int], bytes], int, str]] = {
    "kraken, 1 trade a frame": (Kraken, kraken_frame, 1, "BTC/USD"),
    "kraken, 10 trades a frame": (Kraken, kraken_frame, 10, "BTC/USD"),
    "binance": (Binance, binance_frame, 1, "BTCUSDT"),
}


def measure_parsing(case: str, frames: int) -> float:
    venue, render, trades, name = CASES[case]
    wire = venue().wire()
    wire.subscribe("trades", {name: "BTC/USD"})
    rendered = [memoryview(render(number, trades)) for number in range(frames)]
    started = time.process_time()
    for frame in rendered:
        wire.parse(frame, LATEST_US)
    return frames * trades / (time.process_time() - started)


def serve(case: str, frames: int, port: "multiprocessing.Queue[int]") -> None:
    asyncio.run(_serve(case, frames, port))


async def _serve(case: str, frames: int, port: "multiprocessing.Queue[int]") -> None:
    _, render, trades, _ = CASES[case]
    stream = b"".join(_framed(render(number, trades)) for number in range(frames))

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accept_key = key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        token = base64.b64encode(hashlib.sha1(accept_key, usedforsecurity=False).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n"
        )
        await asyncio.sleep(1.0)
        for start in range(0, len(stream), 2**18):
            writer.write(stream[start : start + 2**18])
            await writer.drain()
        await asyncio.sleep(60)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port.put(server.sockets[0].getsockname()[1])
    await asyncio.sleep(120)


def _framed(payload: bytes) -> bytes:
    size = len(payload)
    return (bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2)) + payload


async def read(case: str, frames: int, port: int) -> float:
    venue, _, trades, name = CASES[case]

    async def fetch_time() -> int:
        return time.time_ns() // 1000

    async def fetch_listing(symbol: str) -> Listing:
        return Listing(symbol, "", "", True, {"ws": name})

    session = NativeSession(
        venue(),
        url=f"ws://127.0.0.1:{port}/",
        clock=Clock(),
        server_time=ServerTime(),
        fetch_time=fetch_time,
        fetch_listing=fetch_listing,
    )
    received = 0
    async with session:
        await session.subscribe("trades", ["BTC/USD"])
        started: float | None = None
        async for events in session.events():
            for event in events:
                if isinstance(event, Trades):
                    started = started or time.process_time()
                    received += len(event.records)
            if received >= frames * trades:
                return received / (time.process_time() - (started or 0.0))
    raise RuntimeError("the session ended")


def main() -> None:
    frames = int(sys.argv[1]) * 1000 if len(sys.argv) > 1 else 200_000
    for case in CASES:
        print(f"{case}: parsing {measure_parsing(case, 100_000):,.0f} trades per CPU second", flush=True)
        port: multiprocessing.Queue[int] = multiprocessing.Queue()
        server = multiprocessing.Process(target=serve, args=(case, frames, port), daemon=True)
        server.start()
        rate = uvloop.run(read(case, frames, port.get()))
        print(f"{case}: socket to events {rate:,.0f} trades per CPU second", flush=True)
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
