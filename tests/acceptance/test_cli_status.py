"""`status` asks the same few questions, however many symbols there are."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from asyncpg.connection import Connection

from fullon_cache import ProcessCache
from fullon_cache.process_cache import ProcessType
from fullon_ohlcv.store import TimeseriesStore, system_now_us
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US
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


async def add_symbols(numbers: range) -> None:
    """Put covered symbols that say they are live into the database, and into Redis."""
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
                component, params = f"{venue}:C{number}/USDT", {"type": "ohlcv", "phase": "live"}
                await cache.register_process(ProcessType.OHLCV, component, params=params)
        end_us = system_now_us() // MINUTE_US * MINUTE_US
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
    await init_db()
    async with DatabaseContext() as db:
        user = await db.users.add_user(User(mail="admin@fullon", password="none", name="Admin", lastname=""))
        for venue in VENUES:
            cat_ex_id = (await db.exchanges.create_cat_exchange(venue)).cat_ex_id
            await db.exchanges.add_user_exchange(Exchange(uid=user.uid, cat_ex_id=cat_ex_id, name=venue))
        await db.commit()
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
