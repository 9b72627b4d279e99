"""cryptofeed's bare receive loop; run by `bench_live.py` under an interpreter that has cryptofeed.

    python cryptofeed_loop.py kraken|binance SYMBOLS TRADES PORT

Prints [trades, CPU seconds, wall seconds] from the first trade to the last. Kraken is read in its first dialect, the
only one that cryptofeed speaks.
"""

import asyncio
import json
import logging
import os
import sys
import time

import cryptofeed.connection
from cryptofeed import FeedHandler
from cryptofeed.connection import WebsocketEndpoint
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance, Kraken
from cryptofeed.symbols import Symbol, Symbols

SILENCE_S = 1.5


def main() -> None:
    venue, number, wanted, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    logging.disable(logging.CRITICAL)
    quote = "USD" if venue == "kraken" else "USDT"
    separator = "/" if venue == "kraken" else ""
    names = {Symbol(f"C{at:04}", quote).normalized: f"C{at:04}{separator}{quote}" for at in range(number)}
    feed = Kraken if venue == "kraken" else Binance
    Symbols.set(feed.id, names, {"instrument_type": dict.fromkeys(names, "spot"), "tick_size": {}})
    path = "/v1" if venue == "kraken" else ""
    feed.websocket_endpoints = [WebsocketEndpoint(f"wss://127.0.0.1:{port}{path}")]
    # It insists on an address with TLS, which the other receivers here do without.
    connect = cryptofeed.connection.connect
    cryptofeed.connection.connect = lambda address, **options: connect(address.replace("wss://", "ws://"), **options)
    seen = 0
    first = last = (0.0, 0.0)

    async def on_trade(trade: object, receipt: float) -> None:
        nonlocal seen, first, last
        if seen % 64 == 0 or seen == wanted - 1:
            # The clock of a process costs about as much as a trade.
            last = (time.process_time(), time.perf_counter())
            first = first if seen else last
        seen += 1

    async def finish() -> None:
        before = -1
        while seen < wanted and not 0 < seen == before:
            before = seen
            for _ in range(round(SILENCE_S / 0.05)):
                await asyncio.sleep(0.05)
                if seen >= wanted:
                    break
        print(json.dumps([seen, last[0] - first[0], last[1] - first[1]]), flush=True)
        os._exit(0)

    handler = FeedHandler(config={"log": {"disabled": True}, "uvloop": True})
    handler.add_feed(feed(symbols=list(names), channels=[TRADES], callbacks={TRADES: on_trade}))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    handler.run(start_loop=False, install_signal_handlers=False)
    finishing = loop.create_task(finish())
    loop.run_until_complete(finishing)


main()
