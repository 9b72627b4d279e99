"""The fault proxy does to connections what it says, before a server of our own and before the real ones."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
from fault.proxy import FaultProxy
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

PATIENCE_S = 10.0
LINE = 100


async def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)


class Echo:
    """A server that answers every line with itself, and counts what it has heard."""

    def __init__(self) -> None:
        self.heard = 0
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.read(1 << 16):
                self.heard += len(line)
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.ended += 1
            writer.close()


class Client:
    def __init__(self, proxy: FaultProxy) -> None:
        self._place = proxy.environment()

    async def connect(self) -> "Client":
        host, port = self._place["DB_HOST"], int(self._place["DB_PORT"])
        if host.startswith("/"):
            self._reader, self._writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            self._reader, self._writer = await asyncio.open_connection(host, port)
        return self

    async def say(self, size: int = LINE) -> None:
        self._writer.write(b"x" * size)
        await self._writer.drain()

    async def hear(self, size: int = LINE, timeout_s: float = PATIENCE_S) -> bytes:
        async with asyncio.timeout(timeout_s):
            return await self._reader.readexactly(size)

    async def echo(self) -> None:
        await self.say()
        assert len(await self.hear()) == LINE

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture(params=["tcp", "unix"])
async def proxy(request: pytest.FixtureRequest, echo: Echo, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    """A proxy before an echo, behind and before it the same kind of socket."""
    unix = request.param == "unix"
    if unix:
        server = await asyncio.start_unix_server(echo.serve, tmp_path / ".s.PGSQL.5432")
        environment = {"DB_HOST": str(tmp_path), "DB_PORT": "5432"}
    else:
        server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
        environment = {"DB_HOST": "127.0.0.1", "DB_PORT": str(server.sockets[0].getsockname()[1])}
    async with FaultProxy.postgres(environment, unix=unix) as proxy:
        yield proxy
    server.close()
    await until(lambda: echo.ended == proxy.connections)


async def test_what_is_said_passes_and_is_counted(proxy: FaultProxy, echo: Echo) -> None:
    client = await Client(proxy).connect()
    await client.echo()
    assert (proxy.connections, proxy.links, echo.heard) == (1, 1, LINE)
    assert proxy.passed == {"requests": LINE, "replies": LINE}
    client.close()
    await until(lambda: not proxy.links)


async def test_cut_ends_both_sides_and_new_connections_are_welcome(proxy: FaultProxy, echo: Echo) -> None:
    client = await Client(proxy).connect()
    await client.echo()
    await proxy.cut()
    assert proxy.links == 0
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.hear()
    await until(lambda: echo.ended == 1)
    client.close()
    again = await Client(proxy).connect()
    await again.echo()
    again.close()


async def test_reset_is_a_reset_where_there_is_one(proxy: FaultProxy) -> None:
    client = await Client(proxy).connect()
    await client.echo()
    await proxy.reset()
    expected = asyncio.IncompleteReadError if proxy.environment()["DB_HOST"].startswith("/") else ConnectionResetError
    with pytest.raises(expected):
        await client.hear()
    client.close()


async def test_hang_holds_everything_until_healed(proxy: FaultProxy, echo: Echo) -> None:
    client = await Client(proxy).connect()
    await client.echo()
    await proxy.hang()
    await client.say()
    with pytest.raises(TimeoutError):
        await client.hear(timeout_s=0.2)
    assert echo.heard == LINE
    late = await Client(proxy).connect()  # accepted, and silent
    await late.say()
    with pytest.raises(TimeoutError):
        await late.hear(timeout_s=0.1)
    await proxy.heal()
    await client.hear()
    await late.hear()
    client.close()
    late.close()


async def test_hung_replies_let_the_server_do_what_nobody_hears_of(proxy: FaultProxy, echo: Echo) -> None:
    client = await Client(proxy).connect()
    await proxy.hang("replies")
    await client.say()
    await until(lambda: echo.heard == LINE)
    await proxy.cut()  # also while it hangs
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.hear()
    client.close()


async def test_a_hung_proxy_holds_no_more_than_a_chunk(proxy: FaultProxy) -> None:
    await proxy.hang()
    client = await Client(proxy).connect()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.say(1 << 26), 0.5)
    assert proxy.passed == {}
    client.close()
    await proxy.cut()


async def test_delay_waits_each_way(proxy: FaultProxy) -> None:
    client = await Client(proxy).connect()
    await proxy.delay(0.1)
    began = time.monotonic()
    await client.echo()
    assert time.monotonic() - began >= 0.2
    await proxy.heal()
    began = time.monotonic()
    for _ in range(5):
        await client.echo()
    assert time.monotonic() - began < 0.2
    client.close()


async def test_refuse_turns_new_connections_away_and_leaves_the_others(proxy: FaultProxy) -> None:
    client = await Client(proxy).connect()
    await client.echo()
    await proxy.refuse()
    await client.echo()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await Client(proxy).connect()
    await proxy.down()
    assert proxy.links == 0
    client.close()
    place = proxy.environment()
    await proxy.heal()
    assert proxy.environment() == place
    again = await Client(proxy).connect()
    await again.echo()
    again.close()


async def test_cut_after_ends_in_the_middle_of_a_message(proxy: FaultProxy, echo: Echo) -> None:
    client = await Client(proxy).connect()
    await proxy.cut_after(LINE + 30, "replies")
    await client.echo()
    await client.say()
    assert len(await client.hear(30)) == 30
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.hear(1)
    assert echo.heard == 2 * LINE
    client.close()
    await proxy.heal()


async def test_a_server_that_is_away_ends_the_connection(tmp_path: Path) -> None:
    async with FaultProxy.postgres({"DB_HOST": str(tmp_path), "DB_PORT": "5432"}) as proxy:
        client = await Client(proxy).connect()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.hear()
        client.close()
        await until(lambda: not proxy.links)


@pytest.mark.parametrize("unix", [False, True])
async def test_postgresql_is_reached_and_hurt_through_it(servers: object, unix: bool) -> None:
    async with FaultProxy.postgres(unix=unix) as proxy:
        place = proxy.environment()
        connection = await asyncpg.connect(
            host=place["DB_HOST"],
            port=int(place["DB_PORT"]),
            user=os.environ["DB_USER"],
            password=os.environ.get("DB_PASSWORD"),
            database="postgres",
            timeout=PATIENCE_S,
        )
        assert await connection.fetchval("SELECT 41 + 1") == 42
        await proxy.hang()
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT 1", timeout=0.2)
        await proxy.cut()
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await connection.fetchval("SELECT 1", timeout=PATIENCE_S)
        connection.terminate()


@pytest.mark.parametrize("unix", [False, True])
async def test_redis_is_reached_and_hurt_through_it(servers: object, unix: bool) -> None:
    async with FaultProxy.redis(unix=unix) as proxy:
        place = proxy.environment()
        host = place["REDIS_HOST"]
        once = Retry(NoBackoff(), 0)
        where = {"unix_socket_path": host} if unix else {"host": host, "port": int(place["REDIS_PORT"])}
        client = Redis(**where, retry=once)
        async with client:
            assert await client.ping()
            await proxy.down()
            with pytest.raises(RedisConnectionError):
                await client.ping()
            await proxy.heal()
            assert await client.ping()
