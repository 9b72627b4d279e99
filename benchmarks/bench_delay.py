"""Delay: from a minute's end to its candle being readable, for many symbols that close together.

    python benchmarks/bench_delay.py [--minutes 2] [--symbols 100,500,2000] [--venues kraken,binance]

A process of its own feeds live data in real time: on Kraken every symbol trades once in ten seconds, on Binance every
symbol's candle is updated as often and all candles close together at the minute's end. The service's live path stores
them: Kraken's trades through Redis and the batcher, which folds the candles, Binance's candles at once (but for the
first one of each symbol, which is compared with REST before and not measured). A third process asks the database for
each minute's rows until all are there. The bare limit is what no collector can avoid: the half second of grace for
trades on their way (Kraken; none for Binance, which says itself that a candle is closed) and one COPY of as many rows.
"""

import os

from feed import BOARD_SIZE, Steady
from measuring import Timed, isolated, parser, prepared, print_header, processes, quantile, say, serving
from stores import exchange_clock, name_fresh_databases, throwaway_servers
from venue_rest import VenueName

PERIOD_S = 10.0
BEFORE_S = 14.0
"""From the start of collecting to the end of the first minute: by then everything is subscribed and has traded."""
SMOKE_SPEED = 20.0
GRACE_S = {"kraken": 0.5, "binance": 0.0}
"""What the session waits for trades on their way: `SocketLimits.grace_s` of Kraken."""
COPIES = 5


def main() -> None:
    options = parser("delay: from a minute's end to readable candles", runs=None)
    options.add_argument("--venues", default="kraken,binance", help="whose feeds (default: kraken,binance)")
    options.add_argument("--symbols", default="100,500,2000", help="how many close together (default: 100,500,2000)")
    options.add_argument("--minutes", type=int, default=2, help="how many minutes' ends are watched (default: 2)")
    given = options.parse_args()
    print_header()
    with throwaway_servers():
        if given.smoke:
            measure("kraken", 5, minutes=1, speed=SMOKE_SPEED)
            return
        for venue in given.venues.split(","):
            for number in given.symbols.split(","):
                measure(venue, int(number), minutes=given.minutes)


def measure(venue: VenueName, number: int, *, minutes: int, speed: float = 1.0) -> None:
    """Print the line of one venue and number of symbols; the quantiles are over the symbols of all minutes."""
    name_fresh_databases()
    copied: Timed = isolated("copying:copy_minutes", number, COPIES)
    delays_s = close_minutes(venue, number, minutes, speed)
    limit_s = GRACE_S[venue] + copied.wall_s / COPIES
    p50, p99, latest = (quantile(delays_s, share) for share in (0.5, 0.99, 1.0))
    say(
        f"delay, {venue}, {number:,} symbols",
        f"p50 {p50:.3f} s, p99 {p99:.3f} s, max {latest:.3f} s",
        f"p99 {p99 / limit_s:.2f} × the bare {limit_s:.3f} s (grace {GRACE_S[venue]:g} s + COPY)",
    )


def close_minutes(venue: VenueName, number: int, minutes: int, speed: float) -> list[float]:
    """Collect through so many minutes' ends; return the delay of each symbol and minute in seconds."""
    name_fresh_databases()
    board = processes.Array("d", BOARD_SIZE, lock=False)
    done = processes.Array("d", 1, lock=False)
    with (
        prepared("watching:watch_rows") as watch,
        prepared("collecting:collect_until", done) as run,
        exchange_clock(second=60 - BEFORE_S, speed=speed) as minute_end_us,
        serving("feed:serve_feed", Steady(venue, number, PERIOD_S), board) as port,
    ):
        os.environ[f"FULLON_{venue.upper()}_ORIGIN"] = f"http://127.0.0.1:{port}"
        run.start(venue, number)
        delays_s: list[float] = watch(venue, number, minute_end_us, minutes)
        done[0] = 1
        run.wait()
    return delays_s


if __name__ == "__main__":
    main()
