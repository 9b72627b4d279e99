"""Footprint: memory, tasks and CPU of the daemon for each symbol that it collects live.

    python benchmarks/bench_footprint.py [--symbols 100,500,2000] [--seconds 60]

The real daemon in a process of its own, half of its symbols on a Kraken-like and half on a Binance-like feed, in real
time: on Kraken every symbol trades once in ten seconds, on Binance every symbol's candle is updated as often. It is
live once each of Binance's streams has been compared with REST, which takes a closed minute. It is then measured over
one minute, so that each minute's closing and the status records are in it. The bare limit is the same for every
number of symbols: what a symbol costs where there are 100.
"""

import os
from typing import TYPE_CHECKING, get_args

from feed import BOARD_SIZE, Steady
from measuring import isolated, parser, print_header, processes, say, serving
from stores import exchange_clock, name_fresh_databases, throwaway_servers
from venue_rest import VenueName

if TYPE_CHECKING:
    from daemons import Footprint

PERIOD_S = 10.0
BEFORE_S = 15.0
"""From the start to the first minute's end: by then everything is subscribed."""
SMOKE_SPEED = 30.0
MEGABYTE = 2**20


def main() -> None:
    options = parser("footprint: what a symbol costs the daemon", runs=None)
    options.add_argument("--symbols", default="100,500,2000", help="how many are live (default: 100,500,2000)")
    options.add_argument("--seconds", type=float, default=60.0, help="how long each is measured (default: 60)")
    given = options.parse_args()
    numbers = [4] if given.smoke else [int(number) for number in given.symbols.split(",")]
    print_header()
    first: tuple[int, Footprint] | None = None
    with throwaway_servers() as servers:
        pids = [pid for pid in servers.pids().values() if pid is not None]
        for number in numbers:
            speed, seconds = (SMOKE_SPEED, 0.5) if given.smoke else (1.0, given.seconds)
            name_fresh_databases()
            isolated("daemons:seed", number // 2)
            with exchange_clock(second=60 - BEFORE_S, speed=speed):
                found = measure(number // 2, seconds, pids)
            first = first or (number, found)
            say_footprint(number, found, *first)


def say_footprint(number: int, found: "Footprint", number_before: int, before: "Footprint") -> None:
    """Print the line of one number of symbols, beside the first one."""
    each, each_before = found.cpu_share / number * 1e6, before.cpu_share / number_before * 1e6
    figure = (
        f"{found.rss_bytes / MEGABYTE:.0f} MB (peak {found.rss_peak_bytes / MEGABYTE:.0f}), {found.tasks} tasks, "
        f"CPU {found.cpu_share:.1%} of a core: {each:.0f} µs a second and symbol, servers "
        f"{found.servers_cpu_share:.1%}; live after {found.start_s:.0f} s"
    )
    ratios = []
    if number > number_before:
        more = (found.rss_bytes - before.rss_bytes) / (number - number_before) / 1024
        ratios = [
            f"CPU a symbol {each / each_before:.2f} of that with {number_before}",
            f"{more:.0f} kB and {(found.tasks - before.tasks) / (number - number_before):.2f} tasks a further symbol",
        ]
    say(f"footprint, {number:,} symbols", figure, *ratios)


def measure(number: int, seconds: float, pids: list[int]) -> "Footprint":
    """Run the daemon on so many symbols of each venue."""
    boards = [processes.Array("d", BOARD_SIZE, lock=False) for _ in get_args(VenueName)]
    with (
        serving("feed:serve_feed", Steady("kraken", number, PERIOD_S), boards[0]) as kraken,
        serving("feed:serve_feed", Steady("binance", number, PERIOD_S), boards[1]) as binance,
    ):
        os.environ["FULLON_KRAKEN_ORIGIN"] = f"http://127.0.0.1:{kraken}"
        os.environ["FULLON_BINANCE_ORIGIN"] = f"http://127.0.0.1:{binance}"
        found: Footprint = isolated("daemons:run_daemon", number, seconds, pids)
    return found


if __name__ == "__main__":
    main()
