"""One writer per database."""

import asyncio

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.errors import StorageUnavailable
from fullon_ohlcv.writer_lock import WriterLock


async def test_one_of_two_holds_the_lock_and_the_other_is_told_who(database: str) -> None:
    async with WriterLock() as first, WriterLock() as second:
        assert await first.take()
        assert await first.take()
        assert await first.holder() is None
        assert not await second.take()
        assert "UTC" in (await second.holder() or "")


async def test_the_lock_is_free_once_its_holder_has_ended(database: str) -> None:
    async with WriterLock() as second:
        async with WriterLock() as first:
            assert await first.take()
        async with asyncio.timeout(10):
            while not await second.take():
                await asyncio.sleep(0.05)


async def test_a_holder_whose_connection_was_cut_gets_the_lock_back_or_learns_that_it_is_lost(database: str) -> None:
    async with WriterLock() as first, WriterLock() as second:
        assert await first.take()
        await _cut_connections(database)
        assert await _take_patiently(first)
        await _cut_connections(database)
        assert await _take_patiently(second)
        assert not await _take_patiently(first)


async def _take_patiently(lock: WriterLock) -> bool:
    """Take after a cut: the first use of the dead connection says so."""
    try:
        return await lock.take()
    except StorageUnavailable:
        return await lock.take()


async def _cut_connections(database: str) -> None:
    admin = await connect(Target.from_env().of("postgres"))
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
    async with asyncio.timeout(10):
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
        while await admin.fetchval(query, database):
            await asyncio.sleep(0.02)
    await admin.close()
