"""`status` asks the same few questions, however many symbols there are, and tells a silent exchange from a slow one."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from asyncpg.connection import Connection

from fullon_cache import ProcessCache
from fullon_cache.process_cache import ProcessType
from fullon_ohlcv.store import TimeseriesStore, system_now_us
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US
from fullon_ohlcv.writer_lock import WriterLock
from fullon_ohlcv_service.cli import main
from fullon_orm import DatabaseContext, init_db
from fullon_orm.models import Exchange, Symbol, User

VENUES = ("binance", "kraken")


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every query that any connection to PostgreSQL makes from here on."""
    made: list[str] = []
    build = Connection.__init__

    def build_and_listen(self: Any, *arguments: Any, **named: Any) -> None:
        build(self, *arguments, **named)
        self.add_query_logger(lambda record: made.append(record.query))

    monkeypatch.setattr(Connection, "__init__", build_and_listen)
    return made


async def add_venues() -> None:
    """Put the admin and the exchanges into a new database."""
    await init_db()
    async with DatabaseContext() as db:
        user = await db.users.add_user(User(mail="admin@fullon", password="none", name="Admin", lastname=""))
        for venue in VENUES:
            cat_ex_id = (await db.exchanges.create_cat_exchange(venue)).cat_ex_id
            await db.exchanges.add_user_exchange(Exchange(uid=user.uid, cat_ex_id=cat_ex_id, name=venue))
        await db.commit()


async def add_symbols(
    numbers: range,
    *,
    phase: str = "live",
    behind_us: int = 0,
    rows_s: Mapping[str, float] | None = None,
    recorded: bool = True,
) -> None:
    """Put covered symbols into the database, and into Redis what a daemon says of them; `rows_s` by exchange."""
    async with DatabaseContext() as db:
        for venue in VENUES:
            cat_ex_id = await db.exchanges.get_exchange_cat_id(venue)
            assert cat_ex_id is not None
            for number in numbers:
                base = f"C{number}"
                symbol = Symbol(symbol=f"{base}/USDT", cat_ex_id=cat_ex_id, backtest=30, base=base, quote="USDT")
                db.session.add(symbol)
        await db.commit()
    async with TimeseriesStore.open() as store, ProcessCache() as cache:
        for venue in VENUES:
            for number in numbers:
                await store.series(venue, f"C{number}/USDT", "candles1m")
                component, params = f"{venue}:C{number}/USDT", {"type": "ohlcv", "phase": phase}
                params |= {"rows_s": (rows_s or {}).get(venue, 0.0)}
                if recorded:
                    await cache.register_process(ProcessType.OHLCV, component, params=params)
        end_us = system_now_us() // MINUTE_US * MINUTE_US - behind_us
        async with store.connection("cover everything") as connection:
            cover = "UPDATE coverage SET covered = tstzmultirange(span_us($1, $2))"
            await connection.execute(cover, end_us - 40 * DAY_US, end_us)


@pytest.mark.parametrize("command", ["status", "gaps"])
async def test_the_number_of_queries_does_not_grow_with_the_symbols(
    command: str,
    fresh_databases: None,
    tmp_path: Path,
    queries: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    await add_venues()
    counts = []
    for numbers in (range(2), range(2, 60)):
        await add_symbols(numbers)
        capsys.readouterr()
        queries.clear()
        code = await asyncio.to_thread(main, (command, "--json"))
        counts.append(len(queries))
        answer = json.loads(capsys.readouterr().out)
        if command == "status":
            assert len(answer["symbols"]) == len(VENUES) * numbers.stop
            assert code == 1, "no daemon runs"
        else:
            assert (answer["gaps"], code) == ([], 0)
    assert counts[0] == counts[1] > 0, queries


async def test_without_the_daemons_word_the_ledger_is_judged_by_the_same_rule(
    fresh_databases: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    await add_venues()
    await add_symbols(range(2), phase="catching up", behind_us=9 * MINUTE_US, rows_s={"binance": 3.0})

    async def ask(command: str, code: int) -> Any:
        capsys.readouterr()
        assert await asyncio.to_thread(main, (command, "--json")) == code
        return json.loads(capsys.readouterr().out)

    async with WriterLock() as lock:
        assert await lock.take()
        answer = await ask("status", 1)
        assert (answer["well"], answer["troubles"]) == (False, [])
        for line in answer["symbols"]:
            assert re.fullmatch(r"(5[4-9]|6[0-9])\d s behind, 300 s is the limit", line["problem"]), line
        doing = {gap["exchange"]: gap["doing"] for gap in (await ask("gaps", 1))["gaps"]}
    assert doing == {
        "binance": "being filled",
        "kraken": "tried again and again: nothing arrives from the exchange",
    }


async def test_a_symbol_that_the_daemon_has_not_told_of_yet_waits_or_catches_up_and_is_stopped_only_without_a_daemon(
    fresh_databases: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    await add_venues()
    await add_symbols(range(1), behind_us=9 * MINUTE_US, recorded=False)

    async def phases() -> set[str]:
        capsys.readouterr()
        await asyncio.to_thread(main, ("status", "--json"))
        return {line["phase"] for line in json.loads(capsys.readouterr().out)["symbols"]}

    assert await phases() == {"stopped"}
    async with WriterLock() as lock:
        assert await lock.take()
        assert await phases() == {"catching up"}
