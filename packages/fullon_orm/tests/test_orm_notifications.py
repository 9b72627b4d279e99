"""Listening: every committed change to exchanges and symbols is told, and a lost connection too."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from fullon_orm import DatabaseContext, notifications
from fullon_orm.address import Address
from fullon_orm.connection import close, connect
from fullon_orm.errors import DatabaseUnavailable, NotificationsLost
from fullon_orm.models import CatExchange, Exchange, Symbol, User
from fullon_orm.notifications import Change, listen


async def heard(changes: AsyncIterator[Change], count: int) -> list[Change]:
    """The next `count` changes."""
    async with asyncio.timeout(10):
        return [await anext(changes) for _ in range(count)]


async def execute(*statements: str) -> None:
    """Run plain SQL, each statement in a transaction of its own, as somebody with psql would."""
    connection = await connect(Address.from_env())
    for statement in statements:
        await connection.execute(statement)
    await close(connection)


ADD_KRAKEN = "INSERT INTO cat_exchanges (name) VALUES ('kraken')"
MARK = "INSERT INTO cat_exchanges (cat_ex_id, name) VALUES (1000, 'mark')"
MARKED = Change("cat_exchanges", "insert", 1000)


async def test_changes_through_repositories_are_heard_after_the_commit(db: DatabaseContext, user: User) -> None:
    async with listen() as changes:
        venue = await db.exchanges.create_cat_exchange("kraken")
        account = Exchange(uid=user.uid, cat_ex_id=venue.cat_ex_id, name="kraken1")
        await db.exchanges.add_user_exchange(account)
        symbol = await db.symbols.add_symbol(Symbol(symbol="BTC/USD", cat_ex_id=venue.cat_ex_id))
        await execute(MARK)
        assert await heard(changes, 1) == [MARKED]
        await db.commit()
        assert await heard(changes, 3) == [
            Change("cat_exchanges", "insert", 1),
            Change("exchanges", "insert", 1),
            Change("symbols", "insert", 1),
        ]
        account.active = False
        symbol.backtest = 500
        await db.commit()
        assert sorted(await heard(changes, 2), key=str) == [
            Change("exchanges", "update", 1),
            Change("symbols", "update", 1),
        ]
        await db.symbols.delete_symbol(symbol)
        await db.commit()
        assert await heard(changes, 1) == [Change("symbols", "delete", 1)]


async def test_plain_sql_is_heard(kraken: CatExchange) -> None:
    async with listen() as changes:
        await execute("INSERT INTO symbols (symbol, cat_ex_id) VALUES ('BTC/USD', 1)")
        assert await heard(changes, 1) == [Change("symbols", "insert", 1)]


async def test_what_is_rolled_back_is_not_heard(db: DatabaseContext) -> None:
    async with listen() as changes:
        await db.exchanges.create_cat_exchange("kraken")
        await db.rollback()
        await execute(MARK)
        assert await heard(changes, 1) == [MARKED]


async def test_a_thousand_symbols_are_one_change(db: DatabaseContext, kraken: CatExchange) -> None:
    async with listen() as changes:
        db.session.add_all(Symbol(symbol=f"S{n}/USD", cat_ex_id=kraken.cat_ex_id) for n in range(1000))
        await db.commit()
        await execute(MARK)
        assert await heard(changes, 2) == [Change("symbols", "insert", 1), MARKED]


async def test_an_update_that_changes_nothing_is_silent(symbol: Symbol) -> None:
    async with listen() as changes:
        await execute("UPDATE symbols SET active = true", MARK)
        assert await heard(changes, 1) == [MARKED]


async def test_a_symbol_that_moves_concerns_both_exchanges(symbol: Symbol) -> None:
    await execute("INSERT INTO cat_exchanges (name) VALUES ('binance')")
    async with listen() as changes:
        await execute("UPDATE symbols SET cat_ex_id = 2")
        assert await heard(changes, 2) == [Change("symbols", "update", 1), Change("symbols", "update", 2)]


async def test_truncate_concerns_all(symbol: Symbol) -> None:
    async with listen() as changes:
        await execute("TRUNCATE symbols CASCADE")
        assert await heard(changes, 1) == [Change("symbols", "truncate", None)]


async def test_equal_changes_not_yet_read_come_once(kraken: CatExchange) -> None:
    async with listen() as changes:
        await execute(*(f"INSERT INTO symbols (symbol, cat_ex_id) VALUES ('S{n}', 1)" for n in range(20)))
        await execute(MARK)
        assert await heard(changes, 2) == [Change("symbols", "insert", 1), MARKED]


@pytest.mark.parametrize("payload", ["", "x", "[]", '{"table": 1}', '{"table": "symbols"}', "x" * 7000])
async def test_strange_payloads_are_passed_over(database: str, payload: str) -> None:
    async with listen() as changes:
        await execute(f"SELECT pg_notify('fullon_changes', '{payload}')", ADD_KRAKEN)
        assert await heard(changes, 1) == [Change("cat_exchanges", "insert", 1)]


async def test_a_terminated_connection_is_a_retryable_error(db: DatabaseContext) -> None:
    async with listen() as changes:
        await execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
        with pytest.raises(NotificationsLost, match="connection that listened was lost") as lost:
            await heard(changes, 1)
    assert lost.value.retryable
    async with listen() as changes:
        await execute(ADD_KRAKEN)
        assert await heard(changes, 1) == [Change("cat_exchanges", "insert", 1)]


async def test_a_cut_cable_is_noticed_after_what_had_arrived(relay: Any) -> None:
    async with listen() as changes:
        await execute(ADD_KRAKEN)
        async with asyncio.timeout(10):
            first = await anext(changes)
        relay.cut()
        with pytest.raises(NotificationsLost):
            await heard(changes, 1)
    assert first == Change("cat_exchanges", "insert", 1)


async def test_a_server_that_vanished_silently_is_noticed(relay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "PING_INTERVAL_S", 0.05)
    monkeypatch.setattr(notifications, "CONNECT_TIMEOUT_S", 0.1)
    monkeypatch.setattr("fullon_orm.connection.CLOSE_TIMEOUT_S", 0.1)
    async with listen() as changes:
        relay.fall_silent()
        with pytest.raises(NotificationsLost, match="is dead"):
            await heard(changes, 1)


async def test_a_quiet_connection_outlives_its_pings(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "PING_INTERVAL_S", 0.005)
    async with listen() as changes, asyncio.TaskGroup() as group:
        hearing = group.create_task(heard(changes, 1))
        for _ in range(10):
            await execute("SELECT 1")
        await execute(ADD_KRAKEN)
    assert hearing.result() == [Change("cat_exchanges", "insert", 1)]


async def test_more_changes_than_fit_are_an_error_not_a_silence(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "PENDING_MAX", 2)
    async with listen() as changes:
        await execute("INSERT INTO cat_exchanges (name) VALUES ('a'), ('b'), ('c'), ('d')")
        assert len(await heard(changes, 2)) == 2
        with pytest.raises(NotificationsLost, match="more than 2 changes"):
            await heard(changes, 1)


async def test_a_cancelled_listener_leaves_no_connection(db: DatabaseContext) -> None:
    async def listening() -> None:
        async with listen() as changes:
            started.set()
            await anext(changes)

    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(listening())
        await started.wait()
        task.cancel()
    count = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE :q")
    async with asyncio.timeout(10):
        while await db.session.scalar(count, {"q": "LISTEN%"}):
            await db.rollback()


async def test_an_unreachable_server_is_told_on_entering(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_HOST", "/nonexistent")
    with pytest.raises(DatabaseUnavailable, match="/nonexistent"):
        async with listen():
            pytest.fail("entered without a connection")
