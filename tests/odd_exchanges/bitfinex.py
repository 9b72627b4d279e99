"""What Bitfinex answers: markets, candles of the last minutes, and channels, of which a socket carries a few."""

from collections.abc import Collection, Sequence
from typing import Any

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from odd_exchanges import Answer, Request, Socket

ROWS = 100


def _row(minute_us: int) -> list[float]:
    """Return a candle as Bitfinex writes it: time in ms, open, close, high, low, volume."""
    return [minute_us // 1000, 10.0, 10.5, 11.0, 9.5, 2.0]


def answers(clock: Clock, symbols: Sequence[str]) -> dict[str, Answer]:
    """Return what is answered over REST; a symbol has three letters, a slash and three more."""
    pairs = [
        [symbol.replace("/", ""), [None, None, None, "0.1", "1000", None, None, None, 0.2, 0.1]] for symbol in symbols
    ]

    def configuration(request: Request) -> Any:
        return [pairs if request.names["config"].startswith("pub:info:pair") else [], *([[]] * 9)]

    def candles(request: Request) -> Any:
        newest = floor_minute_us(clock.now_us())
        start_us = int(request.query.get("start", "0")) * 1000
        end_us = min(newest, int(request.query.get("end", newest // 1000)) * 1000)
        limit = int(request.query.get("limit", ROWS))
        if "start" not in request.query:
            start_us = end_us - (min(limit, ROWS) - 1) * MINUTE_US
        first = -(-start_us // MINUTE_US) * MINUTE_US
        rows = [_row(minute) for minute in range(first, end_us + 1, MINUTE_US)][:limit]
        return rows if request.query.get("sort") == "1" else rows[::-1]

    return {"/v2/conf/{config}": configuration, "/v2/candles/{key}/hist": candles, "/v2/trades/{symbol}/hist": []}


def stream(clock: Clock, *, channels_max: int, ignored: Collection[str] = ()) -> Any:
    """Return a `Stream` of sockets that say nothing to what exceeds `channels_max`, or is of the `ignored` markets."""
    carried: dict[Socket, int] = {}

    async def answer(socket: Socket, message: Any) -> None:
        if message.get("event") != "subscribe":
            return
        market = message["key"].rpartition(":t")[2]
        number = carried.get(socket, 0)
        if number >= channels_max or market in ignored:
            return
        carried[socket] = number + 1
        await socket.send(
            {"event": "subscribed", "channel": "candles", "chanId": number + 1, "key": message["key"]},
            [number + 1, [_row(floor_minute_us(clock.now_us()))]],
        )

    return answer
