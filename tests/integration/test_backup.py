"""A backup as docs/operations.md has it: what is restored is the rows and what is known of every minute."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fullon_embedded.binaries import find_postgres
from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_ohlcv.records import CandleWrite, State, TradeWrite
from fullon_ohlcv.store import TimeseriesStore, system_now_us
from fullon_orm.database import DatabaseManager


def run_program(name: str, *arguments: str | Path) -> None:
    """Run a program of PostgreSQL against the server of the tests."""
    program = find_postgres(Path("no cluster")).directory / name
    address = {"PGHOST": os.environ["DB_HOST"], "PGPORT": os.environ["DB_PORT"], "PGUSER": os.environ["DB_USER"]}
    done = subprocess.run(
        [program, *arguments], env=os.environ | address, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_a_backup_is_restored_with_its_ledger(
    fresh_databases: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_us = floor_minute_us(system_now_us()) - 5 * MINUTE_US
    start_us = end_us - 6 * MINUTE_US
    row = (start_us, 1.0, 2.0, 0.5, 1.5, 10.0, 3)
    async with TimeseriesStore.open() as store:
        await store.init_symbol("kraken", "BTC/USD", main="candles")
        candles = await store.series("kraken", "BTC/USD", "candles1m")
        trades = await store.series("kraken", "BTC/USD", "trades")
        lost = ((end_us - 2 * MINUTE_US, end_us - MINUTE_US), "retention: not served")
        await store.write_candles([CandleWrite(candles, [row], [(start_us, start_us + 2 * MINUTE_US)], [lost])])
        trade = (start_us + 2 * MINUTE_US, 1.0, 2.0, "buy", "market", "7")
        covered = (start_us + 2 * MINUTE_US, start_us + 3 * MINUTE_US)
        await store.write_trades([TradeWrite(trades, [trade], [covered], candles)])
        before = await store.classify(candles, (start_us, end_us))
        rows = await store.read_candles(candles, (start_us, end_us))
    assert {one.state for one in before} >= {State.TRADED, State.VERIFIED_EMPTY, State.UNAVAILABLE, State.UNKNOWN}
    source, restored = os.environ["DB_OHLCV_NAME"], f"{os.environ['DB_OHLCV_NAME']}_restored"
    dump = tmp_path / "fullon_ohlcv.dump"
    run_program("pg_dump", "--format=custom", f"--file={dump}", source)
    await DatabaseManager().create_database(restored)
    try:
        run_program("pg_restore", f"--dbname={restored}", "--no-owner", dump)
        monkeypatch.setenv("DB_OHLCV_NAME", restored)
        async with TimeseriesStore.open() as store:
            candles = await store.series("kraken", "BTC/USD", "candles1m")
            assert await store.classify(candles, (start_us, end_us)) == before
            assert await store.read_candles(candles, (start_us, end_us)) == rows
            assert len(rows) == 2
            async with store.connection("look at the views") as connection:
                assert await connection.fetchval("SELECT count(*) FROM kraken.btc_usd_candles1m") == 2
            await store.write_candles([CandleWrite(candles, [], [(end_us - MINUTE_US, end_us)])])
    finally:
        await DatabaseManager().drop_database(restored)
