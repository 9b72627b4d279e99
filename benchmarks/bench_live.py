"""Live trades: from a socket to committed trades and candles, and what each part of that way costs alone.

    python benchmarks/bench_live.py [--runs 3] [--venues kraken,binance] [--python-with-cryptofeed PATH]

A process of its own sends pre-encoded frames of 20 symbols, one trade each, as fast as they are read or at a given
pace. `collected` is the service: our session, the Redis stream, the batcher, the store; of Kraken's trades it folds
the candles too. Trades a CPU second are those of the reading process from the first trade on. The bare limits are
measured with the same feed: the barest program that brings the same trades into the same table (`bare.py`), in
transactions of as many as the batcher would have; picows and typed decoding alone; and the sum of these and of a COPY
of rows that are made already.
"""

import os
import subprocess
import venv
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from feed import BOARD_SIZE, Burst
from measuring import (
    Timed,
    isolated,
    median,
    parser,
    prepared,
    print_header,
    processes,
    ratio,
    say,
    serving,
    short,
    spread,
)
from stores import exchange_clock, name_fresh_databases, throwaway_servers
from venue_rest import VenueName

SYMBOLS = 20
SATURATED_TRADES = 200_000
CCXT_TRADES = 60_000
"""ccxt is slow enough to be measured with fewer."""
WINDOW = 100_000
"""Trades between the socket and the database at most: a venue does not send faster than that for long."""
PACED_S = 4.0
ALONE_S = 2.0
RATES = (1_000.0, 5_000.0)
GATHERED_S = 0.13
"""About how long the sink and the batcher gather what they hand on together."""
START_S = 2.5
SATURATED_S = 7.0
CRYPTOFEED = "cryptofeed==2.4.1"


def main() -> None:
    options = parser("live trades: what the way from a socket to the database costs")
    options.add_argument("--venues", default="kraken,binance", help="whose feeds (default: kraken,binance)")
    options.add_argument("--python-with-cryptofeed", metavar="PATH", help="do not install cryptofeed, it is there")
    given = options.parse_args()
    print_header()
    with throwaway_servers() as servers, cryptofeed(given) as python:
        pids = [pid for pid in servers.pids().values() if pid is not None]
        for venue in given.venues.split(","):
            for rate in (None, *RATES):
                if not given.smoke or (venue, rate) == ("kraken", None):
                    measure(given, venue, rate, pids, python)


def measure(given: Namespace, venue: VenueName, rate: float | None, pids: list[int], python: str | None) -> None:
    """Print the lines of one venue and one pace."""
    what = f"{venue}, {'saturated' if rate is None else f'{rate:,.0f}/s'}"
    plan = Burst(venue, SYMBOLS, SATURATED_TRADES if rate is None else round(rate * PACED_S), rate)
    alone = plan if rate is None else replace(plan, trades=round(rate * ALONE_S))
    if given.smoke:
        plan, alone = replace(plan, trades=2_000), replace(alone, trades=1_000)
    batch = 10_000 if rate is None else round(rate * GATHERED_S)
    runs = range(1 if given.smoke else given.runs)
    receiving = median([received("receivers:receive_barely", alone).per_cpu_s for _ in runs])
    storing = median([copy_alone(plan, batch).per_cpu_s for _ in runs])
    collected = [collect(replace(plan, window=WINDOW), pids, smoke=given.smoke) for _ in runs]
    barely = [collect_barely(replace(plan, window=WINDOW)) for _ in runs]
    figure = median([run.per_cpu_s for run in collected])
    say(
        f"collected, {what}",
        f"{short(figure)} trades/CPU s{spread([run.per_cpu_s for run in collected])}, "
        f"{short(median([run.per_s for run in collected]))}/s of wall, "
        f"servers {short(median([run.per_server_cpu_s for run in collected]))}/CPU s",
        ratio(figure, median([run.per_cpu_s for run in barely]), "the barest way"),
        ratio(figure, 1 / (1 / receiving + 1 / storing), "receiving and COPY alone"),
        ratio(figure, receiving, "receiving alone"),
    )
    say_received(
        f"  our session alone, {what}", [received("receivers:receive_by_session", alone) for _ in runs], receiving
    )
    if given.smoke:
        return
    of_ccxt = replace(alone, trades=min(alone.trades, CCXT_TRADES))
    say_received(f"  ccxt.pro alone, {what}", [received("receivers:receive_by_ccxt", of_ccxt) for _ in runs], receiving)
    if python is not None:
        others = [received("receivers:receive_by_cryptofeed", alone, python) for _ in runs]
        say_received(f"  cryptofeed alone, {what}", others, receiving)
    elif rate is None:
        say(f"  cryptofeed alone, {what}", "not measured: pip cannot install it here")


def say_received(what: str, runs: list[Timed], limit: float) -> None:
    """Print the line of a way of receiving."""
    figures = [run.per_cpu_s for run in runs]
    say(
        what,
        f"{short(median(figures))} trades/CPU s{spread(figures)}, "
        f"{short(median([run.per_s for run in runs]))}/s of wall",
        ratio(median(figures), limit, "picows + msgspec"),
    )


def received(way: str, plan: Burst, *more: str) -> Timed:
    """Send `plan` to one way of receiving, in a process of its own."""
    board = processes.Array("d", BOARD_SIZE, lock=False)
    with serving("feed:serve_feed", plan, board) as port:
        os.environ[f"FULLON_{plan.venue.upper()}_ORIGIN"] = f"http://127.0.0.1:{port}"
        timed: Timed = isolated(way, plan.venue, plan.symbols, plan.trades, port, *more)
    if timed.rows < plan.trades:
        say(f"  {way} lost", f"{plan.trades - timed.rows} of {plan.trades} trades")
    return timed


def collect(plan: Burst, pids: list[int], *, smoke: bool) -> Timed:
    """Send `plan` to the service's live path, in a process of its own, right before a minute ends."""
    name_fresh_databases()
    sending_s = SATURATED_S if plan.rate is None else plan.trades / plan.rate + 1
    board = processes.Array("d", BOARD_SIZE, lock=False)
    with (
        prepared("collecting:collect_burst", board) as run,
        exchange_clock(second=40 if smoke else 60 - START_S - sending_s, speed=6 if smoke else 1),
        serving("feed:serve_feed", plan, board) as port,
    ):
        os.environ[f"FULLON_{plan.venue.upper()}_ORIGIN"] = f"http://127.0.0.1:{port}"
        collected: Timed = run(plan.venue, plan.symbols, plan.trades, pids)
    return collected


def collect_barely(plan: Burst) -> Timed:
    """Send `plan` to the barest program that stores it, in a process of its own."""
    name_fresh_databases()
    board = processes.Array("d", BOARD_SIZE, lock=False)
    with prepared("bare:collect_barely", board) as run, serving("feed:serve_feed", plan, board) as port:
        collected: Timed = run(plan, port, GATHERED_S)
    return collected


def copy_alone(plan: Burst, batch: int) -> Timed:
    """Copy as many rows into a table of trades by asyncpg alone, in a process of its own."""
    name_fresh_databases()
    copied: Timed = isolated("copying:copy_trades", 1, plan.trades, batch, 200)
    return copied


@contextmanager
def cryptofeed(given: Namespace) -> Iterator[str | None]:
    """Enter with an interpreter that has cryptofeed, in an environment that is thrown away; None without one."""
    if given.python_with_cryptofeed or given.smoke:
        yield given.python_with_cryptofeed
        return
    with TemporaryDirectory(prefix="fullon-bench-cryptofeed-") as directory:
        venv.create(directory, with_pip=True)
        python = Path(directory) / "bin" / "python"
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", CRYPTOFEED, "uvloop"]
        try:
            subprocess.run(install, check=True, capture_output=True, timeout=180)  # noqa: S603 - our own interpreter
        except (subprocess.SubprocessError, OSError):
            yield None
        else:
            yield str(python)


if __name__ == "__main__":
    main()
