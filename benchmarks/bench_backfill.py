"""Back-fill: from REST pages to committed rows with rate limits off, and how many requests it makes with them on.

    python benchmarks/bench_backfill.py [--runs 3]

A process of its own answers pages cut from rows rendered beforehand; the service's historic collector fills the gaps
of a fresh database from them, eight symbols side by side: Binance's candles, Binance's aggregate trades, and Kraken's
trades with the candles folded from them. The bare limits are measured in the same run: the barest program that brings
the same rows from the same server into the same tables (`bare.py`), a COPY of the same rows by asyncpg, each page a
transaction, and the decoding of the same pages by the venue's mapper. Requests are counted by the simulated market,
against the fewest that full pages of the same rows would take.
"""

import os

from measuring import Timed, isolated, median, parser, print_header, ratio, say, serving, short, spread
from pages import PAGE_ROWS, History, Kind
from stores import exchange_clock, name_fresh_databases, throwaway_servers

SIZES: tuple[tuple[Kind, int, int], ...] = (("klines", 8, 30 * 1440), ("aggTrades", 8, 25_000), ("Trades", 8, 25_000))
"""What, of how many symbols, and rows of each."""
WHAT: dict[Kind, str] = {
    "klines": "Binance candles",
    "aggTrades": "Binance trades",
    "Trades": "Kraken trades and their candles",
}
SPEED = 30.0
"""Of the market whose requests are counted: its limits are passed so much sooner."""


def main() -> None:
    given = parser("back-fill: from REST pages to committed rows").parse_args()
    print_header()
    runs = 1 if given.smoke else given.runs
    with throwaway_servers() as servers:
        pids = [pid for pid in servers.pids().values() if pid is not None]
        sizes = [History("Trades", 2, 1_500)] if given.smoke else [History(*size) for size in SIZES]
        for history in sizes:
            measure(history, runs, pids)
        count_requests(smoke=given.smoke)


def measure(history: History, runs: int, pids: list[int]) -> None:
    """Print the line of one kind of history."""
    decoded: list[Timed] = [isolated("filling:decode_alone", history) for _ in range(runs)]
    copied = [copy_alone(history) for _ in range(runs)]
    pairs = [(fill(history, pids, "filling:fill"), fill(history, pids, "bare:fill_barely")) for _ in range(runs)]
    filled, bare = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    wall, cpu = median([run.per_s for run in filled]), median([run.per_cpu_s for run in filled])
    decoding, copying = median([run.per_cpu_s for run in decoded]), median([run.per_cpu_s for run in copied])
    say(
        f"back-fill, {WHAT[history.kind]}",
        f"{short(wall)} rows/s of wall{spread([run.per_s for run in filled])}, {short(cpu)}/CPU s, "
        f"servers {short(median([run.per_server_cpu_s for run in filled]))}/CPU s",
        ratio(wall, median([run.per_s for run in bare]), "the barest way, wall"),
        ratio(cpu, median([run.per_cpu_s for run in bare]), "the barest way, CPU"),
        ratio(wall, median([run.per_s for run in copied]), "COPY alone, wall"),
        ratio(cpu, 1 / (1 / decoding + 1 / copying), "decoding and COPY alone, CPU"),
        ratio(cpu, decoding, "decoding alone, CPU"),
    )


def copy_alone(history: History) -> Timed:
    """Copy as many rows, a page a transaction, by asyncpg alone."""
    name_fresh_databases()
    size = (history.symbols, history.rows, PAGE_ROWS)
    copied: Timed = (
        isolated("copying:copy_candles", *size)
        if history.kind == "klines"
        else isolated("copying:copy_trades", *size, 864_000)
    )
    return copied


def fill(history: History, pids: list[int], way: str) -> Timed:
    """Fill a fresh database in a process of its own: by a historic collector, or barely."""
    name_fresh_databases()
    with serving("pages:serve_history", history) as port:
        os.environ[f"FULLON_{history.venue.upper()}_ORIGIN"] = f"http://127.0.0.1:{port}"
        filled: Timed = isolated(way, history, port, pids)
    return filled


def count_requests(*, smoke: bool) -> None:
    """Print how many requests the service makes of the simulated market, against the fewest possible."""
    name_fresh_databases()
    with exchange_clock(second=0, speed=SPEED):
        for venue, made, fewest, refused in isolated("filling:count", smoke):
            say(
                f"requests, {venue}, limits on",
                f"{made} requests, {fewest} at least, {refused} refused",
                f"{made / fewest:.3f} of the fewest",
            )


if __name__ == "__main__":
    main()
