"""An export's memory does not grow with what is exported."""

import asyncio
import sys
from pathlib import Path

import polars as pl
import pytest
from cli_process import COMMAND

from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US, from_us
from fullon_orm import init_db

START_US = 20_000 * DAY_US
YEAR_US = 365 * DAY_US
RESIDENT_MAX_KB = 200_000

_FILL = """
INSERT INTO candles (series_id, timestamp, open, high, low, close, volume, trades)
SELECT $1, at_us($2 + n * 60000000::bigint), 100 + n % 7, 110, 90, 100 + n % 5, n, 1
FROM generate_series(0, $3::bigint - 1) AS n
"""

_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small program of its own: the figure of a child begins with the size of its parent."""


@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes there")
async def test_a_year_of_minutes_is_exported_in_little_memory(
    fresh_databases: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await init_db()
    async with TimeseriesStore.open() as store:
        series = await store.series("kraken", "BTC/USD", "candles1m")
        async with store.connection("fill a year") as connection:
            await connection.execute(_FILL, series.series_id, START_US, YEAR_US // MINUTE_US)
            cover = "UPDATE coverage SET covered = tstzmultirange(span_us($2, $3)) WHERE series_id = $1"
            await connection.execute(cover, series.series_id, START_US, START_US + YEAR_US)
    span = ("--from", str(_date(START_US)), "--to", str(_date(START_US + YEAR_US)))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _MEASURE,
        *(*COMMAND, "export", "kraken:BTC/USD", "year.parquet", *span),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(90):
        out, _ = await process.communicate()
    code, resident_kb = map(int, out.decode().splitlines()[-1].split())
    assert code == 0
    assert resident_kb < RESIDENT_MAX_KB
    frame = pl.scan_parquet(tmp_path / "year.parquet")
    assert frame.select(pl.len(), pl.col("volume").sum()).collect().row(0) == (525_600, sum(range(525_600)))


def _date(us: int) -> str:
    return f"{from_us(us):%Y-%m-%d}"
