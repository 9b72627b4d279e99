"""Ways from a socket to trades, each alone: ours, the barest that is possible, ccxt's and cryptofeed's.

Every one of them returns its trades and the time they took, from the first to the last.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from measuring import Timed
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from venue_rest import VenueName, plain, symbols

from fullon_exchange import open_exchange
from fullon_exchange.binance.wire import BinanceWire
from fullon_exchange.kraken.wire import KrakenWire
from fullon_exchange.records import Trades

SILENCE_S = 1.5
"""Who has got no trade for so long is taken to have lost the rest."""


class Tally:
    """Counts trades and the time they took; looks at the clocks, which cost more than a trade, now and then."""

    def __init__(self, wanted: int) -> None:
        self.trades = 0
        self.ended = asyncio.Event()
        self._wanted = wanted
        self._first = (0.0, 0.0)
        self._last = (0.0, 0.0)
        self._look_at = 0

    def add(self, trades: int) -> None:
        """Count some more."""
        if self.trades >= self._look_at or self.trades + trades >= self._wanted:
            self._last = (time.process_time(), time.perf_counter())
            self._look_at = self.trades + 64
        if not self.trades:
            self._first = self._last
        self.trades += trades
        if self.trades >= self._wanted:
            self.ended.set()

    async def wait(self) -> Timed:
        """Wait for all of them, or until no more come."""
        seen = -1
        while not self.ended.is_set():
            if 0 < self.trades == seen:
                break
            seen = self.trades
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self.ended.wait()
            except TimeoutError:
                continue
        return Timed(self.trades, self._last[0] - self._first[0], self._last[1] - self._first[1])


# ours: the session of fullon_exchange ---------------------------------------------------------------------


def receive_by_session(venue: VenueName, number: int, trades: int, port: int) -> Timed:
    """Read the events of our session; the environment points it at the feed."""
    return uvloop.run(_receive_by_session(venue, number, trades))


async def _receive_by_session(venue: VenueName, number: int, trades: int) -> Timed:
    tally = Tally(trades)

    async def read(session: Any) -> None:
        async for events in session.events():
            for event in events:
                if isinstance(event, Trades):
                    tally.add(len(event.records))

    async with open_exchange(venue) as exchange, exchange.live() as session, asyncio.TaskGroup() as group:
        await session.subscribe("trades", symbols(venue, number))
        reading = group.create_task(read(session))
        received = await tally.wait()
        reading.cancel()
    return received


# the bare limit: picows and typed decoding ----------------------------------------------------------------


class _KrakenTrade(msgspec.Struct, gc=False):
    symbol: str
    side: str
    price: float
    qty: float
    ord_type: str
    trade_id: int
    timestamp: datetime


class KrakenFrame(msgspec.Struct, gc=False):
    """What a frame of Kraken's says of trades."""

    channel: str
    data: list[_KrakenTrade]


class BinanceTrade(msgspec.Struct, gc=False):
    """What a frame of Binance's says of a trade."""

    s: str
    a: int
    p: float
    q: float
    T: int
    m: bool


def bare_decoder(venue: VenueName) -> Callable[[memoryview], KrakenFrame | BinanceTrade]:
    """Return what decodes a frame of trades, and raises for any other."""
    if venue == "kraken":
        return msgspec.json.Decoder(KrakenFrame).decode
    return msgspec.json.Decoder(BinanceTrade, strict=False).decode


def subscription(venue: VenueName, number: int) -> tuple[str, bytes, list[str]]:
    """Return the path, the message that subscribes the venue's first symbols, and how its wire names them."""
    names = [name if venue == "kraken" else plain(name).upper() for name in symbols(venue, number)]
    wire = KrakenWire() if venue == "kraken" else BinanceWire()
    return ("v2" if venue == "kraken" else "ws"), wire.subscribe("trades", {name: name for name in names}), names


class _Bare(WSListener):
    """Decodes each frame and makes a tuple of each trade; knows nothing of faults, order or proof."""

    def __init__(self, venue: VenueName, tally: Tally) -> None:
        super().__init__()
        self._tally = tally
        self._decode = bare_decoder(venue)
        self.newest: Any = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            told = self._decode(frame.get_payload_as_memoryview())
        except msgspec.ValidationError:
            return
        if type(told) is BinanceTrade:
            self.newest = (told.s, told.T, told.p, told.q, told.m, told.a)
        elif type(told) is KrakenFrame:
            for row in told.data:
                self.newest = (row.symbol, row.timestamp, row.price, row.qty, row.side, row.trade_id)
        self._tally.add(1)


def receive_barely(venue: VenueName, number: int, trades: int, port: int) -> Timed:
    """Read with picows and msgspec alone."""
    return uvloop.run(_receive_barely(venue, number, trades, port))


async def _receive_barely(venue: VenueName, number: int, trades: int, port: int) -> Timed:
    tally = Tally(trades)
    path, order, _ = subscription(venue, number)
    transport, _ = await ws_connect(lambda: _Bare(venue, tally), f"ws://127.0.0.1:{port}/{path}")
    transport.send(WSMsgType.TEXT, order)
    received = await tally.wait()
    transport.disconnect(graceful=False)
    return received


# ccxt.pro -------------------------------------------------------------------------------------------------


def receive_by_ccxt(venue: VenueName, number: int, trades: int, port: int) -> Timed:
    """Read with a `watch_trades` loop for each symbol, as ccxt's documentation has it."""
    return uvloop.run(_receive_by_ccxt(venue, number, trades, port))


async def _receive_by_ccxt(venue: VenueName, number: int, trades: int, port: int) -> Timed:
    import ccxt.pro  # noqa: PLC0415 - half a second and 90 MB that only this way needs

    exchange = ccxt.pro.kraken() if venue == "kraken" else ccxt.pro.binance()
    exchange.enableRateLimit = False
    api, origin = exchange.urls["api"], f"127.0.0.1:{port}"
    if venue == "kraken":
        api["public"], api["ws"]["publicV2"] = f"http://{origin}", f"ws://{origin}/v2"
    else:
        api["public"], api["ws"]["spot"] = f"http://{origin}/api/v3", f"ws://{origin}/stream/ws"
        exchange.options["fetchMarkets"] = {"types": ["spot"]}
        exchange.options["streamLimits"]["spot"] = 1
    tally = Tally(trades)

    async def watch(symbol: str) -> None:
        params = {} if venue == "kraken" else {"name": "aggTrade"}
        while True:
            tally.add(len(await exchange.watch_trades(symbol, None, None, dict(params))))

    try:
        await exchange.load_markets()
        tasks = [asyncio.ensure_future(watch(symbol)) for symbol in symbols(venue, number)]
        received = await tally.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await exchange.close()
    return received


# cryptofeed, which has an environment of its own ----------------------------------------------------------


def receive_by_cryptofeed(venue: VenueName, number: int, trades: int, port: int, python: str) -> Timed:
    """Read with cryptofeed's trades callback, under the interpreter that has it."""
    program = Path(__file__).with_name("cryptofeed_loop.py")
    answer = subprocess.run(  # noqa: S603 - our own program
        [python, str(program), venue, str(number), str(trades), str(port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    try:
        received, cpu_s, wall_s = json.loads(answer.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(f"cryptofeed failed: {answer.stderr[-2000:]}") from None
    return Timed(received, cpu_s, wall_s)
