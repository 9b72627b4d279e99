"""What docs/operations.md says of backup and restore is done, word for word."""

import asyncio
import os
from pathlib import Path
from uuid import uuid4

import pytest
from documentation import blocks_of

from fullon_embedded.binaries import find_psql
from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.records import CandleWrite, TradeWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_orm import DatabaseContext, init_db
from fullon_orm.database import DatabaseManager
from fullon_orm.models import User

START_US = 1_772_000_000_000_000 // MINUTE_US * MINUTE_US


def at(minute: float) -> int:
    return START_US + round(minute * MINUTE_US)


def commands(program: str) -> str:
    """The block of the page that uses a program."""
    [block] = [one for one in blocks_of("docs/operations.md") if program in one.text]
    return block.text


async def run(script: str, directory: Path) -> None:
    programs = find_psql()
    assert programs is not None
    server = {"PGHOST": os.environ["DB_HOST"], "PGUSER": os.environ.get("DB_USER") or "postgres"}
    server |= {"PGPORT": os.environ.get("DB_PORT") or "5432", "PGPASSWORD": os.environ.get("DB_PASSWORD", "")}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", script),
        cwd=directory,
        env=os.environ | server | {"PATH": f"{programs.parent}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def everything() -> tuple[object, ...]:
    """Rows, ledger, views and users, as they are read from the databases that the environment names."""
    async with DatabaseContext() as db:
        user_id = await db.users.get_user_id("ada@fullon")
    async with TimeseriesStore.open() as store:
        trades = await store.series("kraken", "BTC/USD", "trades")
        candles = await store.series("kraken", "BTC/USD", "candles1m")
        async with store.connection("read a view") as connection:
            viewed = await connection.fetch("SELECT * FROM kraken.btc_usd_ohlcv ORDER BY timestamp")
        span = at(-2), at(8)
        return (
            user_id,
            await store.read_trades(trades, span),
            await store.read_candles(candles, span),
            await store.classify(candles, span),
            await store.read_revisions(candles, span),
            [tuple(row) for row in viewed],
        )


async def test_a_backup_is_restored_into_new_databases(
    fresh_databases: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await init_db()
    async with DatabaseContext() as db:
        await db.users.add_user(User(mail="ada@fullon", password="a secret", name="Ada"))
        await db.commit()
    async with TimeseriesStore.open() as store:
        assert await store.init_symbol("kraken", "BTC/USD")
        trades = await store.series("kraken", "BTC/USD", "trades")
        candles = await store.series("kraken", "BTC/USD", "candles1m")
        rows = [(at(n / 2), 100.0 + n, 1.5, "buy", "market", str(n)) for n in range(6)]
        await store.write_trades([TradeWrite(trades, rows, [(at(0), at(5))], candles)])
        await store.write_candles([CandleWrite(candles, [(at(6), 1.0, 2.0, 1.0, 2.0, 3.0, 4)], [(at(6), at(7))])])
        await store.write_candles([CandleWrite(candles, [(at(6), 1.0, 2.0, 1.0, 1.5, 3.0, 4)])], why="corrected")
        await store.mark_unavailable(candles, (at(-1), at(0)), "listed later")
    kept = await everything()
    assert all(kept)
    await run(commands("pg_dump"), tmp_path)

    names = [f"restored_{uuid4().hex[:12]}" for _ in range(2)]
    for variable, name in zip(("DB_NAME", "DB_OHLCV_NAME"), names, strict=True):
        monkeypatch.setenv(variable, name)
    try:
        await run(commands("pg_restore"), tmp_path)
        assert await everything() == kept
        async with TimeseriesStore.open() as store:
            trades = await store.series("kraken", "BTC/USD", "trades")
            candles = await store.series("kraken", "BTC/USD", "candles1m")
            new = [(at(5.5), 7.0, 1.0, "sell", "limit", "99")]
            written = await store.write_trades([TradeWrite(trades, new, [(at(5), at(6))], candles)])
            assert (written.inserted, written.derived) == (1, 1)
    finally:
        for name in names:
            await DatabaseManager().drop_database(name)
