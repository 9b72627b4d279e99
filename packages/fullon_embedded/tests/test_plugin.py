"""The fixture `servers` as other packages use it."""

from collections.abc import Mapping

import asyncpg
import redis.asyncio


async def test_the_fixture_gives_a_database_that_answers(servers: Mapping[str, str]) -> None:
    connection = await asyncpg.connect(host=servers["DB_HOST"], user=servers["DB_USER"], database="postgres")
    try:
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()


async def test_the_fixture_gives_a_redis_that_answers(servers: Mapping[str, str]) -> None:
    async with redis.asyncio.Redis(unix_socket_path=servers["REDIS_HOST"]) as client:
        assert await client.ping()
