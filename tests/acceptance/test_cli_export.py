"""An export's memory does not grow with what is exported, and neither it nor `candles` hides a hole."""

import asyncio
import json
import sys
from pathlib import Path

import polars as pl
import pytest
from cli_process import COMMAND

from fullon_ohlcv.records import CandleWrite
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


HOLE = (START_US + 65 * MINUTE_US, START_US + 120 * MINUTE_US)


async def _run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.timeout(240)
async def test_an_hour_with_55_unknown_minutes_is_left_out_and_named_or_kept_and_marked(
    fresh_databases: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await init_db()
    async with TimeseriesStore.open() as store:
        series = await store.series("kraken", "BTC/USD", "candles1m")
        rows = [(START_US + n * MINUTE_US, 1.0, 1.0, 1.0, 1.0, 1.0, 1) for n in range(180)]
        known = [row for row in rows if not HOLE[0] <= row[0] < HOLE[1]]
        covered = [(START_US, HOLE[0]), (HOLE[1], START_US + 180 * MINUTE_US)]
        await store.write_candles([CandleWrite(series, known, covered)])
    start, hole, end = (from_us(us).isoformat() for us in (START_US, HOLE[0], HOLE[1]))
    asked = ("kraken:BTC/USD", "--tf", "1h", "--from", start, "--to", from_us(START_US + 180 * MINUTE_US).isoformat())
    (shown, _, note), (kept, marked, _), (code, said, _), refused = await asyncio.gather(
        _run("candles", *asked),
        _run("candles", *asked, "--incomplete", "keep", "--json"),
        _run("export", "kraken:BTC/USD", "hours.csv", *asked[1:], "--json"),
        _run("export", "kraken:BTC/USD", "none.csv", *asked[1:], "--incomplete", "raise"),
    )
    assert (shown, kept, code, refused[0]) == (1, 1, 1, 2)
    assert f"left out, not wholly known: {_minute(START_US + 60 * MINUTE_US)} to {_minute(HOLE[1])}" in note
    hours = json.loads(marked)["candles"]
    assert [(one["volume"], one["known_minutes"], one["complete"]) for one in hours] == [
        (60.0, 60, True), (5.0, 5, False), (60.0, 60, True),
    ]  # fmt: skip
    manifest = json.loads(said)
    assert manifest["rows"] == 2
    assert manifest["intervals"] == [{"from": hole, "to": end, "state": "unknown", "reason": None}]
    second = from_us(START_US + 60 * MINUTE_US).isoformat()
    assert manifest["incomplete"] == {"candles": "drop", "intervals": [{"from": second, "to": end}]}
    lines = (tmp_path / "hours.csv").read_text().splitlines()
    assert [line.split(",")[-3:] for line in lines[1:]] == [["60.0", "60", "true"]] * 2
    assert "not complete" in refused[2]
    assert not (tmp_path / "none.csv").exists()


def _minute(us: int) -> str:
    return f"{from_us(us):%Y-%m-%d %H:%M}"


def _date(us: int) -> str:
    return f"{from_us(us):%Y-%m-%d}"
