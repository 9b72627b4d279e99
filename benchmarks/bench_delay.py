"""Delay: from a minute's end to its candle being readable, for many symbols that close together.

    python benchmarks/bench_delay.py [--runs 2] [--symbols 100,500,2000]

A process of its own feeds live data in real time: on Kraken every symbol trades once in ten seconds, on Binance every
symbol's candle is updated as often and all candles close together at the minute's end. The service's live path stores
them: Kraken's trades through Redis and the batcher, which folds the candles, Binance's candles at once. A third
process asks the database for the minute's rows until all are there. The bare limit is what no collector can avoid:
the half second of grace for trades on their way (Kraken; none for Binance, which says itself that a candle is closed)
and one COPY of as many rows.
"""

import os
from typing import get_args

from feed import BOARD_SIZE, Steady
from measuring import Timed, isolated, median, parser, prepared, print_header, processes, quantile, say, serving
from stores import exchange_clock, name_fresh_databases, throwaway_servers
from venue_rest import VenueName

PERIOD_S = 10.0
BEFORE_S = 14.0
"""From the start of collecting to the end of the minute: by then everything is subscribed and has traded."""
GRACE_S = {"kraken": 0.5, "binance": 0.0}
"""What the session waits for trades on their way: `SocketLimits.grace_s` of Kraken."""
COPIES = 5


def main() -> None:
    options = parser("delay: from a minute's end to readable candles")
    options.add_argument("--symbols", default="100,500,2000", help="how many close together (default: 100,500,2000)")
    options.set_defaults(runs=2)
    given = options.parse_args()
    print_header()
    with throwaway_servers():
        if given.smoke:
            measure("kraken", 5, runs=1, before_s=6.0)
            return
        for venue in get_args(VenueName):
            for number in given.symbols.split(","):
                measure(venue, int(number), runs=given.runs, before_s=BEFORE_S)


def measure(venue: VenueName, number: int, *, runs: int, before_s: float) -> None:
    """Print the line of one venue and number of symbols; the quantiles are over the symbols of all runs."""
    delays_s: list[float] = []
    copying_s: list[float] = []
    for _ in range(runs):
        name_fresh_databases()
        copied: Timed = isolated("copying:copy_minutes", number, COPIES)
        copying_s.append(copied.wall_s / COPIES)
        delays_s += close_minute(venue, number, before_s)
    limit_s = GRACE_S[venue] + median(copying_s)
    p50, p99, latest = (quantile(delays_s, share) for share in (0.5, 0.99, 1.0))
    say(
        f"delay, {venue}, {number:,} symbols",
        f"p50 {p50:.3f} s, p99 {p99:.3f} s, max {latest:.3f} s",
        f"p99 {p99 / limit_s:.2f} × the bare {limit_s:.3f} s (grace {GRACE_S[venue]:g} s + COPY)",
    )


def close_minute(venue: VenueName, number: int, before_s: float) -> list[float]:
    """Collect through one minute's end; return each symbol's delay in seconds.

    On a machine too busy to have everything subscribed by then it is done again, and begun earlier.
    """
    name_fresh_databases()
    board = processes.Array("d", BOARD_SIZE, lock=False)
    done = processes.Array("d", 1, lock=False)
    with (
        prepared("watching:watch_rows") as watch,
        prepared("collecting:collect_until", done) as run,
        exchange_clock(second=60 - before_s) as minute_end_us,
        serving("feed:serve_feed", Steady(venue, number, PERIOD_S), board) as port,
    ):
        os.environ[f"FULLON_{venue.upper()}_ORIGIN"] = f"http://127.0.0.1:{port}"
        run.start(venue, number)
        delays_s: list[float] | None = watch(venue, number, minute_end_us)
        done[0] = 1
        run.wait()
    if delays_s is None:
        if before_s * 2 > 60:
            raise RuntimeError(f"{number} symbols were not subscribed within {before_s:.0f} s")
        return close_minute(venue, number, before_s * 2)
    return delays_s


if __name__ == "__main__":
    main()
