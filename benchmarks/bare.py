"""The same ways by the barest means: received or fetched, decoded, copied into the same tables, and no more.

Nothing is checked, followed, proved, handed over or looked for, and no coverage is written: what this costs, any
program pays that stores the same rows by the same libraries.
"""

# ruff: noqa: ASYNC110 - waiting for another process is polling

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableSequence, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
import asyncpg
import msgspec
import uvloop
from copying import CANDLE_COLUMNS, TRADE_COLUMNS, Row
from feed import COMMITTED, STARTED_S, Burst
from measuring import Stopwatch, Timed
from pages import PAGE_ROWS, History, Kind
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from receivers import BinanceTrade, KrakenFrame, bare_decoder, subscription
from stores import connect, cpu_s
from venue_rest import VenueName, plain, symbols

from fullon_ohlcv.store import TimeseriesStore

_POLL_S = 0.02
_PATIENCE_S = 240.0

FOLD = """
INSERT INTO candles (series_id, timestamp, open, high, low, close, volume, trades)
SELECT $1 + 1000, date_trunc('minute', timestamp), (array_agg(price ORDER BY timestamp))[1], max(price), min(price),
       (array_agg(price ORDER BY timestamp DESC))[1], sum(volume), count(*)
FROM trades WHERE series_id = $1 GROUP BY 2
"""
"""The plainest fold of a symbol's trades, once."""


# from a socket --------------------------------------------------------------------------------------------


class _Receiver(WSListener):
    """Makes a row of the table of each trade."""

    def __init__(self, venue: VenueName, ids: dict[str, int]) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self._decode = bare_decoder(venue)
        self._ids = ids

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            message = self._decode(frame.get_payload_as_memoryview())
        except msgspec.ValidationError:
            return
        if type(message) is KrakenFrame:
            for one in message.data:
                moment, row_id = one.timestamp, str(one.trade_id)
                self.rows.append((self._ids[one.symbol], moment, one.price, one.qty, 0, one.side, one.ord_type, row_id))
        elif type(message) is BinanceTrade:
            moment, side = _utc(message.T / 1000), "sell" if message.m else "buy"
            self.rows.append((self._ids[message.s], moment, message.p, message.q, 0, side, "", str(message.a)))


def collect_barely(board: MutableSequence[float], plan: Burst, port: int, gather_s: float) -> Timed:
    """Receive the trades of `plan` and copy what arrives within `gather_s` in a transaction.

    CPU and wall are from the first trade on a socket to the last committed.
    """
    return uvloop.run(_collect(board, plan, port, gather_s))


async def _collect(board: MutableSequence[float], plan: Burst, port: int, gather_s: float) -> Timed:
    async with TimeseriesStore.open():
        connection = await connect()
    path, order, names = subscription(plan.venue, plan.symbols)
    ids = {name: at for at, name in enumerate(names)}
    receiver = _Receiver(plan.venue, ids)
    transport, _ = await ws_connect(lambda: receiver, f"ws://127.0.0.1:{port}/{path}")
    transport.send(WSMsgType.TEXT, order)
    while not board[STARTED_S]:
        await asyncio.sleep(_POLL_S)
    cpu_started_s, stored = time.process_time(), 0
    while stored < plan.trades:
        await asyncio.sleep(gather_s)
        rows, receiver.rows = receiver.rows, []
        if rows:
            await connection.copy_records_to_table("trades", records=rows, columns=TRADE_COLUMNS)
        stored += len(rows)
        board[COMMITTED] = stored
        if time.time() > board[STARTED_S] + _PATIENCE_S:
            raise RuntimeError(f"{stored} of {plan.trades} trades stored after {_PATIENCE_S:.0f} s")
    timed = Timed(plan.trades, time.process_time() - cpu_started_s, time.time() - board[STARTED_S])
    transport.disconnect(graceful=False)
    await connection.close()
    return timed


# from REST ------------------------------------------------------------------------------------------------


class _Kline(msgspec.Struct, gc=False, array_like=True):
    time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    end_ms: int
    quote: float
    trades: int


class _AggTrade(msgspec.Struct, gc=False):
    a: int
    p: float
    q: float
    T: int
    m: bool


class _Trade(msgspec.Struct, gc=False, array_like=True):
    price: float
    volume: float
    time_s: float
    side: str
    order_type: str
    misc: str
    trade_id: int


class _Result(msgspec.Struct, gc=False):
    X: list[_Trade]
    last: str


class _Trades(msgspec.Struct, gc=False):
    result: _Result


_decode_klines = msgspec.json.Decoder(list[_Kline], strict=False).decode
_decode_agg_trades = msgspec.json.Decoder(list[_AggTrade], strict=False).decode
_decode_trades = msgspec.json.Decoder(_Trades, strict=False).decode

Fetch = Callable[[str, dict[str, Any]], Awaitable[bytes]]
_SIDES = {"b": "buy", "s": "sell"}
_TYPES = {"m": "market", "l": "limit"}


def fill_barely(history: History, port: int, pids: Sequence[int]) -> Timed:
    """Fetch all pages of all symbols, eight at a time, and copy each page in a transaction; Kraken's are folded."""
    return uvloop.run(_fill(history, port, pids))


async def _fill(history: History, port: int, pids: Sequence[int]) -> Timed:
    async with TimeseriesStore.open():
        connections = [await connect() for _ in range(history.symbols)]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as session:

        async def fetch(path: str, params: dict[str, Any]) -> bytes:
            async with session.get(f"http://127.0.0.1:{port}{path}", params=params) as response:
                return await response.read()

        start_s = time.time() - history.days * 86_400
        servers_started_s, watch = cpu_s(pids), Stopwatch()
        names = symbols(history.venue, history.symbols)
        work = [
            _fill_symbol(
                _PAGES[history.kind](at, plain(name).upper(), fetch, start_s), at, history.kind, connections[at]
            )
            for at, name in enumerate(names)
        ]
        rows = sum(await asyncio.gather(*work))
        used_s, wall_s = watch.read()
    timed = Timed(rows, used_s, wall_s, cpu_s(pids) - servers_started_s)
    for connection in connections:
        await connection.close()
    if rows < 0.99 * history.symbols * history.rows:
        raise RuntimeError(f"{rows} rows copied of {history.symbols} × {history.rows}")
    return timed


async def _fill_symbol(
    pages: AsyncIterator[list[Row]], series_id: int, kind: Kind, connection: "asyncpg.Connection[asyncpg.Record]"
) -> int:
    table, columns = ("candles", CANDLE_COLUMNS) if kind == "klines" else ("trades", TRADE_COLUMNS)
    stored = 0
    async for rows in pages:
        await connection.copy_records_to_table(table, records=rows, columns=columns)
        stored += len(rows)
    if kind == "Trades":
        await connection.execute(FOLD, series_id)
    return stored


async def _klines(series_id: int, name: str, fetch: Fetch, start_s: float) -> AsyncIterator[list[Row]]:
    start_ms = round(start_s * 1000)
    while True:
        page = _decode_klines(
            await fetch("/api/v3/klines", {"symbol": name, "startTime": start_ms, "limit": PAGE_ROWS})
        )
        if page:
            yield [
                (series_id, _utc(one.time_ms / 1000), one.open, one.high, one.low, one.close, one.volume, one.trades)
                for one in page
            ]
        if len(page) < PAGE_ROWS:
            return
        start_ms = page[-1].time_ms + 1


async def _agg_trades(series_id: int, name: str, fetch: Fetch, start_s: float) -> AsyncIterator[list[Row]]:
    since = {"startTime": round(start_s * 1000)}
    while True:
        page = _decode_agg_trades(await fetch("/api/v3/aggTrades", {"symbol": name, "limit": PAGE_ROWS, **since}))
        if page:
            yield [
                (series_id, _utc(one.T / 1000), one.p, one.q, 0, "sell" if one.m else "buy", "", str(one.a))
                for one in page
            ]
        if len(page) < PAGE_ROWS:
            return
        since = {"fromId": page[-1].a + 1}


async def _trades(series_id: int, name: str, fetch: Fetch, start_s: float) -> AsyncIterator[list[Row]]:
    since: int | str = round(start_s * 1e9)
    while True:
        answer = _decode_trades(await fetch("/0/public/Trades", {"pair": name, "since": since, "count": PAGE_ROWS}))
        page = answer.result.X
        if page:
            yield [
                (series_id, _utc(one.time_s), one.price, one.volume, 0, _SIDES[one.side], _TYPES[one.order_type],
                 str(one.trade_id))
                for one in page
            ]  # fmt: skip
        if len(page) < PAGE_ROWS:
            return
        since = answer.result.last


def _utc(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)


_PAGES: dict[Kind, Callable[[int, str, Fetch, float], AsyncIterator[list[Row]]]] = {
    "klines": _klines,
    "aggTrades": _agg_trades,
    "Trades": _trades,
}
