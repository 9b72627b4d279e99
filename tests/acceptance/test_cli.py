"""The command line from the first set-up to the exported file, as processes, against the market's truth."""

import asyncio
import hashlib
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from cli_process import COMMAND, Done, run_cli
from support import eventually

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.records import CandleWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.history import DAY_US
from fullon_simulator import SimulatedMarket

HOUR_US = 60 * MINUTE_US
SYMBOLS = [("binance", "ADA/USDT"), ("binance", "BTC/USDT"), ("kraken", "BTC/USD")]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: no `.env` but their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_FILE_PATH", str(tmp_path / "service.log"))
    return tmp_path


@asynccontextmanager
async def collecting() -> AsyncIterator[None]:
    """The daemon as `fullon-ohlcv run` starts it; SIGTERM must end it well."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "run", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def wait_until_complete(store: TimeseriesStore, clock: Clock) -> None:
    """Wait until everything up to some minutes ago is accounted for."""

    async def is_complete() -> bool:
        end_us = floor_minute_us(clock.now_us()) - 4 * MINUTE_US
        wanted = {await store.series(*one, "candles1m"): (end_us - DAY_US + HOUR_US, end_us) for one in SYMBOLS}
        return not any((await store.gaps(wanted)).values())

    await eventually(is_complete, "history and live have caught up")


def iso(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat()


@pytest.mark.timeout(400)
async def test_from_init_to_an_exported_file_that_equals_the_market(
    market: SimulatedMarket, clock: Clock, directory: Path
) -> None:
    env_file = directory / "operator.env"
    done = await run_cli("init", "--yes", "--write", str(env_file), "-b", "1", "kraken:BTC/USD", "binance:*/USDT")
    assert done.code == 0, done.err
    assert "added 2 symbols with 1 days of history; the first back-fill will take about" in done.out
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    assert f"DB_HOST={os.environ['DB_HOST']}" in env_file.read_text()

    listed, before = await asyncio.gather(run_cli("symbols", "list", "--json"), run_cli("status", "--json"))
    assert [(one["exchange"], one["symbol"]) for one in listed.json["symbols"]] == SYMBOLS
    assert before.code == 1
    assert before.json["daemon"]["running"] is False
    assert not before.json["well"]

    async with TimeseriesStore.open(now_us=clock.now_us) as store:
        async with collecting():
            await wait_until_complete(store, clock)
            status, gaps, coverage = await asyncio.gather(
                run_cli("status", "--json"), run_cli("gaps", "--json"), run_cli("coverage")
            )
            _check_running_status(status)
            assert gaps.json == {"gaps": []}
            assert gaps.code == 0
            assert coverage.code == 0, "minutes that are on their way are no gaps"
        log = await run_cli("logs", "kraken", "--file", str(directory / "service.log"))
        assert "kraken" in log.out
        assert "binance" not in log.out

        end_us = floor_minute_us(clock.now_us()) // HOUR_US * HOUR_US - HOUR_US
        await _check_gap_and_repair(store, end_us)
        await _check_verify(store, end_us)
        await _check_export(market, directory, end_us)


def _check_running_status(status: Done) -> None:
    assert status.json["daemon"]["running"] is True
    assert status.json["troubles"] == []
    assert [(one["exchange"], one["symbol"]) for one in status.json["symbols"]] == SYMBOLS
    assert all(one["covered"] > 0.95 for one in status.json["symbols"])
    assert status.code == 0, status.out


async def _check_gap_and_repair(store: TimeseriesStore, end_us: int) -> None:
    series = await store.series("binance", "BTC/USDT", "candles1m")
    gap = (end_us - 3 * HOUR_US, end_us - 2 * HOUR_US)
    await store.uncover(series, gap)
    gaps, coverage = await asyncio.gather(
        run_cli("gaps", "BTC/USDT", "--json"),
        run_cli("coverage", "BTC/USDT", "--per", "1h", "--from", iso(gap[0]), "--to", iso(end_us), "--json"),
    )
    [found] = [one for one in gaps.json["gaps"] if one["from"] == iso(gap[0])]
    assert found["minutes"] == 60
    assert found["cause"] == "interrupted, or taken back as suspect"
    assert found["minutes_until_unrecoverable"] is None, "this exchange serves everything for ever"
    assert found["doing"] == "nothing: the daemon does not run"
    assert gaps.code == 1
    cells = coverage.json["symbols"][0]["cells"]
    assert [cell["unknown"] for cell in cells] == [60, 0, 0]
    assert coverage.code == 1

    repaired = await run_cli("repair", "BTC/USDT", "--from", iso(gap[0]), "--to", iso(end_us), "--json")
    assert repaired.code == 0, repaired.err
    assert repaired.json["unknown_before"] == repaired.json["minutes_read"] == 60
    assert repaired.json["unknown_after"] == 0
    assert (await store.gaps({series: (gap[0], end_us)}))[series] == []


async def _check_verify(store: TimeseriesStore, end_us: int) -> None:
    span = ("--from", iso(end_us - HOUR_US), "--to", iso(end_us))
    series = await store.series("binance", "BTC/USDT", "candles1m")
    rows = await store.read_candles(series, (end_us - HOUR_US, end_us))
    right, wrong = rows[0], (*rows[0][:5], rows[0][5] + 1.0, rows[0][6])
    await store.write_candles([CandleWrite(series, [wrong])])
    found, others = await asyncio.gather(
        run_cli("verify", "BTC/USDT", *span, "--json"), run_cli("verify", "kraken:BTC/USD", *span)
    )
    assert found.code == 1
    [difference] = found.json["symbols"][0]["differences"]
    assert difference["timestamp"] == iso(right[0])
    assert f"volume {wrong[5]} stored, {right[5]} served" in difference["what"]
    assert others.code == 0, others.out
    assert "alike" in others.out

    assert (await run_cli("repair", "BTC/USDT", *span, "--force")).code == 0
    assert await store.read_candles(series, (end_us - HOUR_US, end_us)) == rows
    revisions = await run_cli("revisions", "BTC/USDT", *span, "--json")
    assert revisions.json["revisions"][-1]["why"] == "repaired by hand"
    assert revisions.json["revisions"][-1]["before"]["volume"] == wrong[5]
    assert revisions.json["revisions"][-1]["after"]["volume"] == right[5]


async def _check_export(market: SimulatedMarket, directory: Path, end_us: int) -> None:
    start_us = end_us - 6 * HOUR_US
    span = ("--from", iso(start_us), "--to", iso(end_us))
    parquet, table, shown = await asyncio.gather(
        run_cli("export", "kraken:BTC/USD", "btc.parquet", *span, "--json"),
        run_cli("export", "BTC/USDT", "btc.csv", "--tf", "1h", *span),
        run_cli("candles", "kraken:BTC/USD", "--tf", "1m", *span, "--json"),
    )
    assert parquet.code == 0, parquet.err
    truth = [
        (datetime.fromtimestamp(one.timestamp_us // 1_000_000, UTC), one.open, one.high, one.low, one.close, one.volume)
        for one in market.truth("kraken", "BTC/USD").candles(start_us, end_us)
    ]
    frame = pl.read_parquet(directory / "btc.parquet")
    assert frame.columns == ["timestamp", "open", "high", "low", "close", "volume"]
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert frame.rows() == truth
    assert [tuple(one.values())[1:] for one in shown.json["candles"]] == [row[1:] for row in truth]

    manifest = json.loads((directory / "btc.parquet.manifest.json").read_text())
    assert manifest == parquet.json
    assert manifest["rows"] == len(truth)
    assert manifest["sha256"] == hashlib.sha256((directory / "btc.parquet").read_bytes()).hexdigest()
    assert manifest["coverage"] == {
        "traded": len(truth),
        "verified_empty": 360 - len(truth),
        "unavailable": 0,
        "unknown": 0,
    }
    assert table.code == 0, table.err
    hours = pl.read_csv(directory / "btc.csv")
    coarse = market.truth("binance", "BTC/USDT").candles(start_us, end_us, timeframe_s=3600)
    assert hours["close"].to_list() == [one.close for one in coarse]
    assert hours["timestamp"].to_list() == [iso(one.timestamp_us) for one in coarse]


@pytest.mark.timeout(120)
async def test_doctor_names_what_is_broken_and_what_helps(seeded: SimulatedMarket, directory: Path) -> None:
    (directory / ".env").write_text("ADMIN_MAIL=admin@fullon\n")
    (directory / ".env").chmod(0o644)
    healthy = await run_cli("symbols", "set", "kraken:ADA/USD", "--backtest", "2")
    assert healthy.code == 0, healthy.err
    broken = await run_cli(
        "doctor",
        "--json",
        OHLCV_HEALTH_INTERVAL="99",
        OHLCV_COLECT_TRADES="all",
        REDIS_HOST="127.0.0.1",
        REDIS_PORT="9",
        FULLON_KRAKEN_ORIGIN="http://127.0.0.1:9",
        FULLON_BINANC_ORIGIN="http://127.0.0.1:9",
    )
    assert broken.code == 1, broken.err
    checks = [one for one in broken.json["checks"] if one["verdict"] != "well"]
    said = {(one["name"], one["verdict"]): (one["found"], one["remedy"]) for one in checks}
    assert "OHLCV_HEALTH_INTERVAL" in said["settings", "failed"][0]
    assert ("OHLCV_COLECT_TRADES means nothing", "did you mean OHLCV_COLLECT_TRADES?") in _pairs(checks)
    assert ("others can read .env (mode 644)", "chmod 600 .env") in _pairs(checks)
    assert ("FULLON_BINANC_ORIGIN moves no exchange", "did you mean FULLON_BINANCE_ORIGIN?") in _pairs(checks)
    assert "REDIS_PORT" in said["Redis", "failed"][1]
    assert "unset FULLON_KRAKEN_ORIGIN" in said["kraken", "failed"][1]
    assert "fullon-ohlcv run" in said["daemon", "warning"][1]
    well = {one["name"] for one in broken.json["checks"] if one["verdict"] == "well"}
    assert {"PostgreSQL", "schema", "permissions", "disk", "binance"} <= well


def _pairs(checks: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(one["found"], one["remedy"]) for one in checks]


async def test_a_shell_completes_the_names_of_commands() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fullon_ohlcv_service.cli",
        stdout=asyncio.subprocess.PIPE,
        env=os.environ
        | {"_FULLON_OHLCV_COMPLETE": "complete_bash", "COMP_WORDS": "fullon-ohlcv st", "COMP_CWORD": "1"},
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert out.decode().split() == ["status"]
