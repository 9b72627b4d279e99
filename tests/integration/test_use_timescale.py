"""Moving to TimescaleDB, as far as it goes without the extension, and what `doctor` makes of it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timescale import Policy, Usage, read_usage
from fullon_ohlcv.writer_lock import WriterLock
from fullon_ohlcv_service.cli import main
from fullon_ohlcv_service.commands.checks import TIMESCALE_ROWS_MIN, Verdict, judge_timescale

OFFERED = """
    SET allow_system_table_mods = on;
    CREATE OR REPLACE VIEW pg_catalog.pg_available_extensions AS
        SELECT 'timescaledb'::name AS name, '2.21.3'::text AS default_version,
               NULL::text COLLATE "C" AS installed_version, ''::text AS comment;
"""
Move = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def move(fresh_databases: None, capsys: pytest.CaptureFixture[str]) -> Move:
    async with TimeseriesStore.open():
        pass

    async def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(main, ["database", "use-timescale", *arguments])
        return code, "".join(capsys.readouterr())

    return run


async def offer() -> None:
    """Let the database claim that its server offers the extension; a stand-in, since no package has it."""
    connection = await connect(Target.from_env())
    try:
        await connection.execute(OFFERED)
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {name} SET timescaledb.disable_load = 'off'")
    finally:
        await connection.close()


async def test_a_server_that_does_not_offer_timescaledb_is_refused_in_one_sentence(move: Move) -> None:
    async with TimeseriesStore.open() as store, store.connection("look") as connection:
        if (await read_usage(connection)).is_offered:
            pytest.skip("this server offers TimescaleDB")
    code, said = await move("--yes")
    assert (code, said.count("\n")) == (2, 1)
    assert "does not offer TimescaleDB: install it there and add timescaledb to shared_preload_libraries" in said


async def test_nothing_is_moved_while_the_daemon_runs_or_without_consent(move: Move) -> None:
    await offer()
    async with WriterLock() as lock:
        assert await lock.take()
        code, said = await move("--yes")
        assert (code, "the daemon is running, from" in said, "stop it first" in said) == (2, True, True)
    code, said = await move()
    assert code == 2
    assert "nothing moved; 0 rows, 0.0 GB; it will take about 1 s and as much disk again" in said


async def test_a_move_that_fails_is_one_sentence_and_changes_nothing(move: Move) -> None:
    await offer()
    code, said = await move("--yes")
    assert (code, said.count("\n")) == (2, 1)
    assert "cannot move to TimescaleDB" in said
    async with TimeseriesStore.open() as store:
        series = await store.series("kraken", "BTC/USD", "trades")
        assert await store.gaps({series: (0, 1)}) == {series: [(0, 1)]}


def test_doctor_recommends_timescaledb_where_it_helps_and_names_policies_that_are_not_ours() -> None:
    plain = Usage(None, is_offered=True, rows=TIMESCALE_ROWS_MIN, bytes=10**10)
    [check] = judge_timescale(plain, [])
    assert (check.verdict, "database use-timescale" in check.remedy) == (Verdict.WARNING, True)
    for usage in (plain._replace(rows=1000), plain._replace(is_offered=False), plain._replace(used_version="2.29.2")):
        assert [check.verdict for check in judge_timescale(usage, [])] == [Verdict.WELL]
    _, check = judge_timescale(plain._replace(used_version="2.29.2"), [Policy("trades", "90 days")])
    assert (check.verdict, "OHLCV_KEEP_TRADES_DAYS" in check.remedy) == (Verdict.WARNING, True)
    assert "drops trades after 90 days" in check.found
