"""`fullon-ohlcv export`: candles of any timeframe into Parquet or CSV, with a manifest that accounts for them."""

import csv
import hashlib
import json
import os
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.intervals import union
from fullon_ohlcv.reading import Buckets, Incomplete, Row, Window, read_buckets, read_sources
from fullon_ohlcv.records import Interval, State
from fullon_ohlcv.timeframe import DAY_US, Timeframe, from_us, to_us
from fullon_ohlcv_service.commands.candles import Tf, WhatIfIncomplete
from fullon_ohlcv_service.commands.screen import AsJson, From, SymbolName, To, check_place, make_console, print_json
from fullon_ohlcv_service.commands.session import Ledger, complete, open_ledger
from fullon_ohlcv_service.commands.times import iso, parse_range, say_time
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.errors import CommandError

Format = Literal["parquet", "csv"]
CHUNK_US = 7 * DAY_US
"""So much time is read at once; memory does not grow with what is exported."""
NUMBERS = ("open", "high", "low", "close", "volume")
COLUMNS = ("timestamp", *NUMBERS, "known_minutes", "complete")
Write = Callable[[Buckets], None]


class Wanted(NamedTuple):
    """What is exported of a symbol."""

    timeframe: Timeframe
    times: tuple[str | None, str | None]
    incomplete: Incomplete


def export(
    symbol: SymbolName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .parquet or .csv.")],
    *,
    tf: Tf = "1m",
    start: From = None,
    end: To = None,
    incomplete: WhatIfIncomplete = "drop",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Export candles: all that is wanted of the symbol, or of the time that is said.

    Beside FILE comes FILE.manifest.json: rows, SHA-256, how many minutes are traded, verified empty, unavailable or
    unknown, the intervals that are unavailable or unknown, and those in which candles are not complete: they are
    left out, or marked in the columns `known_minutes` and `complete`. Exit code 0: nothing is unknown; 1: exported,
    but with gaps; 2: not exported.

    \b
    Examples:
      fullon-ohlcv export BTC/USD btc.parquet
      fullon-ohlcv export kraken:BTC/USD btc.csv --tf 1h --from 90d
    """
    timeframe = Timeframe.parse(tf)
    kind = _format_of(file)
    check_place(file)
    if file.exists() and not force:
        raise CommandError(f"{file} exists; --force replaces it")
    manifest = complete(_export(symbol, Wanted(timeframe, (start, end), incomplete), file, kind))
    if as_json:
        print_json(manifest)
    else:
        coverage = manifest["coverage"]
        said = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in coverage.items() if count)
        counted = f"{manifest['rows']:,} candles of {timeframe}"
        make_console().print(f"{file}: {counted}; minutes: {said or 'none'}; accounted for in {_manifest_of(file)}")
    raise typer.Exit(1 if manifest["coverage"]["unknown"] else 0)


def _manifest_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.manifest.json")


def _format_of(file: Path) -> Format:
    match file.suffix.lower():
        case ".parquet" | ".pq":
            return "parquet"
        case ".csv":
            return "csv"
        case _:
            raise CommandError(f"{file} has no known form; allowed are names that end in .parquet or .csv")


async def _export(name: str, wanted: Wanted, file: Path, kind: Format) -> dict[str, Any]:
    timeframe = wanted.timeframe
    async with open_ledger() as ledger:
        one = ledger.find(name)
        series = await ledger.candles(one.exchange, one.symbol)
        start_us, end_us = await _default(ledger, one)
        whole = (start_us, max(timeframe.floor(end_us), start_us + MINUTE_US))
        interval = parse_range(*wanted.times, ledger.clock.now_us(), default=whole)
        rows = 0
        first: Row | None = None
        last: Row | None = None
        not_complete: list[Interval] = []
        part = file.with_name(f"{file.name}.part")
        try:
            with _writing(part, kind) as write, _progress(f"{one} {timeframe}", interval) as advance:
                async for chunk, until_us in _chunks(ledger, one, interval, wanted):
                    if chunk.rows:
                        write(chunk)
                        first, last = first or chunk.rows[0], chunk.rows[-1]
                        rows += len(chunk.rows)
                    not_complete = union([*not_complete, *chunk.incomplete])
                    advance(until_us)
            digest, size = _sha256(part)
            os.replace(part, file)
        except OSError as error:
            raise CommandError(f"cannot write {file}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)
        runs = await ledger.store.coverage_intervals(series, interval)
        minutes = dict.fromkeys((State.COVERED, State.UNAVAILABLE, State.UNKNOWN), 0)
        for run in runs:
            minutes[run.state] += (run.interval[1] - run.interval[0]) // MINUTE_US
        async with ledger.store.connection("count the candles") as connection:
            query = "SELECT count(*) FROM candles WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3"
            stored = await connection.fetchval(query, series.series_id, *map(from_us, interval))
            traded = min(minutes[State.COVERED], stored)
        manifest = {
            "file": file.name,
            "format": kind,
            "sha256": digest,
            "bytes": size,
            "exchange": one.exchange,
            "symbol": one.symbol,
            "timeframe": str(timeframe),
            "from": iso(interval[0]),
            "to": iso(interval[1]),
            "rows": rows,
            "first": None if first is None else first[0].isoformat(),
            "last": None if last is None else last[0].isoformat(),
            "columns": list(COLUMNS),
            "coverage": {
                "traded": traded,
                "verified_empty": minutes[State.COVERED] - traded,
                "unavailable": minutes[State.UNAVAILABLE],
                "unknown": minutes[State.UNKNOWN],
            },
            "intervals": [
                {**_span(run.interval), "state": run.state, "reason": run.reason}
                for run in runs
                if run.state is not State.COVERED
            ],
            "incomplete": {"candles": wanted.incomplete, "intervals": list(map(_span, not_complete))},
        }
        _manifest_of(file).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return manifest


def _span(interval: Interval) -> dict[str, str | None]:
    return {"from": iso(interval[0]), "to": iso(interval[1])}


async def _default(ledger: Ledger, one: WantedSymbol) -> Interval:
    """Return what is wanted of a symbol; of one that is not collected any more, what is stored."""
    if (one.exchange, one.symbol) in ledger.wanted:
        return ledger.interval(one)
    now_us = ledger.clock.now_us()
    async with ledger.store.connection("read candles") as connection:
        sources = await read_sources(connection, one.exchange, one.symbol, Timeframe(1, "minute"))
    if not sources:
        raise CommandError(f"nothing is stored of {one}")
    return min(source.first_us for source in sources), now_us


async def _chunks(
    ledger: Ledger, one: WantedSymbol, interval: Interval, wanted: Wanted
) -> AsyncIterator[tuple[Buckets, int]]:
    """Yield the rows of one stretch after another, and where it ends; stretches are whole buckets."""
    timeframe = wanted.timeframe
    start_us, end_us = interval
    at_us = timeframe.ceil(start_us)
    async with ledger.store.connection("read candles") as connection:
        sources = await read_sources(connection, one.exchange, one.symbol, timeframe)
        while at_us < end_us:
            until_us = min(end_us, timeframe.next(timeframe.floor(at_us + CHUNK_US - 1)))
            window = Window(timeframe, at_us, until_us)
            now_us = ledger.clock.now_us()
            yield await read_buckets(connection, sources, window, now_us, incomplete=wanted.incomplete), until_us
            at_us = until_us


@contextmanager
def _progress(title: str, interval: Interval) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far it is; what is yielded is told up to where."""
    console = make_console(stderr=True)
    columns = (
        TextColumn(title),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[at]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=interval[1] - interval[0], at="")
        yield lambda us: progress.update(task, completed=us - interval[0], at=say_time(us))


@contextmanager
def _writing(path: Path, kind: Format) -> Iterator[Write]:
    """Open the file; what is yielded appends rows to it."""
    if kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            yield lambda buckets: writer.writerows(
                (row[0].isoformat(), *map(repr, row[1:]), known, str(is_complete).lower())
                for row, known, is_complete in zip(buckets.rows, buckets.known_minutes, buckets.complete, strict=True)
            )
        return
    import pyarrow as pa  # noqa: PLC0415 - a third of a second that only Parquet needs
    import pyarrow.parquet as pq  # noqa: PLC0415 - only Parquet needs it

    pa.set_memory_pool(pa.system_memory_pool())  # gives back what it does not use
    fields: list[tuple[str, Any]] = [("timestamp", pa.timestamp("us", tz="UTC"))]
    fields += [(name, pa.float64()) for name in NUMBERS]
    schema = pa.schema([*fields, ("known_minutes", pa.int32()), ("complete", pa.bool_())])

    def write(buckets: Buckets) -> None:
        # From buffers: converting Python objects would import pandas, 60 MB, to see whether they are its own.
        times, *values = zip(*buckets.rows, strict=True)
        columns = [array("q", map(to_us, times)), *(array("d", column) for column in values)]
        columns += [array("i", buckets.known_minutes), array("b", buckets.complete)]
        kinds = [pa.int8() if field.type == pa.bool_() else field.type for field in schema]
        arrays = [
            pa.Array.from_buffers(kind, len(times), [None, pa.py_buffer(column)]).cast(field.type)
            for kind, field, column in zip(kinds, schema, columns, strict=True)
        ]
        parquet.write_table(pa.Table.from_arrays(arrays, schema=schema))

    with pq.ParquetWriter(path, schema, compression="zstd") as parquet:
        yield write


def _sha256(path: Path) -> tuple[str, int]:
    """Return the digest and the size of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
