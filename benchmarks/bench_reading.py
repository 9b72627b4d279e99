"""Reading: a year of 1-minute candles of one symbol among 500, as they are and as hours.

    python benchmarks/bench_reading.py [--runs 5] [--others 499] [--other-days 10]

The table is loaded by COPY in the order of a back-fill of all symbols side by side: a page of each, over and over. The
year is then read through `TimeseriesRepository.fetch_ohlcv`. The bare limit is the same rows fetched by asyncpg from
the same table; hours stand beside the fetch of the minutes they are made of, and beside the plainest grouping that
the database could do.
"""

import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import uvloop
from measuring import isolated, median, parser, print_header, say, short, spread
from stores import connect, name_fresh_databases, throwaway_servers, utc

from fullon_ohlcv.repositories.ohlcv import TimeseriesRepository
from fullon_ohlcv.store import TimeseriesStore

FIRST_US = 1_735_689_600 * 1_000_000  # 2025-01-01
MINUTE_US = 60_000_000
PAGE_ROWS = 1000
COLUMNS = ("series_id", "timestamp", "open", "high", "low", "close", "volume", "trades")
MINUTES = """
SELECT timestamp, open, high, low, close, volume FROM candles
WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3 ORDER BY timestamp
"""
HOURS = """
SELECT date_bin('1 hour', timestamp, '2000-01-01 00:00:00+00') AS hour, min(open), max(high), min(low), min(close),
       sum(volume)
FROM candles WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3 GROUP BY 1 ORDER BY 1
"""

_ROW = struct.Struct(">hiiiqidididididii")
_POSTGRES_EPOCH_US = 946_684_800_000_000


def main() -> None:
    options = parser("reading: a year of 1-minute candles of one symbol among many", runs=5)
    options.add_argument("--others", type=int, default=499, help="how many other symbols (default: 499)")
    options.add_argument("--other-days", type=int, default=10, help="days stored of each other symbol (default: 10)")
    given = options.parse_args()
    days, others, other_days, runs = 365, given.others, given.other_days, given.runs
    if given.smoke:
        days, others, other_days, runs = 5, 3, 1, 1
    print_header()
    with throwaway_servers():
        name_fresh_databases()
        rows, load_s = isolated("bench_reading:load", days, others, other_days)
        print(f"# {rows:,} rows of {others + 1} symbols loaded by COPY in {load_s:.0f} s, {rows / load_s:,.0f} rows/s")
        minutes = days * 1440
        taken: dict[str, list[float]] = isolated("bench_reading:read", days, runs)
        bare = minutes / median(taken["minutes, asyncpg"])
        for what, limits in (
            ("minutes", {"asyncpg's fetch": bare}),
            (
                "hours",
                {
                    "asyncpg's fetch of the minutes": bare,
                    "the plainest grouping": minutes / median(taken["hours, asyncpg"]),
                },
            ),
        ):
            figures = [minutes / one_s for one_s in taken[what]]
            say(
                f"reading, {days} days as {what}",
                f"{median(taken[what]) * 1000:.0f} ms, {short(median(figures))} stored rows/s{spread(figures)}",
                *(f"{median(figures) / limit:.2f} of {name} ({short(limit)})" for name, limit in limits.items()),
            )


def load(days: int, others: int, other_days: int) -> tuple[int, float]:
    """Fill the table; return rows and seconds."""
    return uvloop.run(_load(days, others, other_days))


async def _load(days: int, others: int, other_days: int) -> tuple[int, float]:
    async with TimeseriesStore.open() as store:
        wanted = await store.series("kraken", "BTC/USD", "candles1m")
        ids = [(await store.series("kraken", f"C{at}/USD", "candles1m")).series_id for at in range(others)]
        connection = await connect()
        rows = 0
        started_s = time.perf_counter()
        pages = days * 1440 // PAGE_ROWS + 1
        other_pages = other_days * 1440 // PAGE_ROWS + 1
        for page in range(pages):
            # The others' pages lie between those of the wanted symbol, all along the year.
            turn = [at for at, one in enumerate(ids) if _is_due(at, page, pages, other_pages)]
            batch = [_page(wanted.series_id, page * PAGE_ROWS, min(PAGE_ROWS, days * 1440 - page * PAGE_ROWS))]
            batch += [_page(ids[at], _turn_of(at, page, pages, other_pages) * PAGE_ROWS, PAGE_ROWS) for at in turn]
            await connection.copy_to_table("candles", source=_document(batch), columns=COLUMNS, format="binary")
            rows += sum(len(one) // _ROW.size for one in batch)
        load_s = time.perf_counter() - started_s
        await connection.execute(
            "UPDATE coverage SET covered = tstzmultirange(tstzrange($1, $2)) WHERE series_id = $3",
            utc(FIRST_US),
            utc(FIRST_US + days * 1440 * MINUTE_US),
            wanted.series_id,
        )
        await connection.execute("VACUUM ANALYZE candles")
        await connection.close()
    return rows, load_s


def _turn_of(at: int, page: int, pages: int, other_pages: int) -> int:
    """Return which of its pages the other symbol `at` would write up to `page`."""
    return (page + at) * other_pages // pages


def _is_due(at: int, page: int, pages: int, other_pages: int) -> bool:
    return _turn_of(at, page, pages, other_pages) != _turn_of(at, page - 1, pages, other_pages)


def _page(series_id: int, first: int, count: int) -> bytes:
    return b"".join(
        _ROW.pack(
            8, 4, series_id, 8, FIRST_US + (first + at) * MINUTE_US - _POSTGRES_EPOCH_US,
            8, 100.5, 8, 102.0, 8, 99.25, 8, 101.0, 8, at / 8 + 0.125, 4, 7,
        )
        for at in range(count)
    )  # fmt: skip


async def _document(pages: Sequence[bytes]) -> AsyncIterator[bytes]:
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for page in pages:
        yield page
    yield b"\xff\xff"


def read(days: int, runs: int) -> dict[str, list[float]]:
    """Read the year in every way, in turns; return the seconds that each took."""
    return uvloop.run(_read(days, runs))


async def _read(days: int, runs: int) -> dict[str, list[float]]:
    start, end = utc(FIRST_US), utc(FIRST_US) + timedelta(days=days)
    connection = await connect()
    series_id = await connection.fetchval("SELECT series_id FROM series WHERE symbol = 'BTC/USD'")
    async with TimeseriesRepository("kraken", "BTC/USD") as repository:
        ways: dict[str, tuple[Callable[[], Awaitable[Sequence[Any]]], int]] = {
            "minutes, asyncpg": (lambda: connection.fetch(MINUTES, series_id, start, end), days * 1440),
            "minutes": (lambda: repository.fetch_ohlcv(1, "minutes", start, end), days * 1440),
            "hours, asyncpg": (lambda: connection.fetch(HOURS, series_id, start, end), days * 24),
            "hours": (lambda: repository.fetch_ohlcv(1, "hours", start, end), days * 24),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(runs + 1):
            for name, (way, expected) in ways.items():
                started_s = time.perf_counter()
                rows = await way()
                if turn:  # the first turn warms the caches
                    taken[name].append(time.perf_counter() - started_s)
                if len(rows) != expected:
                    raise RuntimeError(f"{name}: {len(rows)} rows instead of {expected}")
                del rows
    await connection.close()
    return taken


if __name__ == "__main__":
    main()
