"""Settings, and whose connections are whose."""

import asyncio
import socket

import pytest

from fullon_cache import (
    BaseCache,
    CacheSettings,
    ConfigurationError,
    ConnectionPool,
    KeyNotFoundError,
    OHLCVCache,
    ProcessCache,
    SerializationError,
    TradesCache,
)


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("REDIS", "CACHE"):
        for name in ("HOST", "PORT", "DB", "PASSWORD", "MAX_CONNECTIONS", "SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT"):
            monkeypatch.delenv(f"{prefix}_{name}", raising=False)


def test_settings_have_the_documented_defaults(no_redis: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "cache.example")
    assert CacheSettings.from_env() == CacheSettings(
        host="cache.example",
        port=6379,
        database=0,
        password="",
        connections_max=50,
        socket_timeout_s=5.0,
        connect_timeout_s=5.0,
    )


def test_cache_variables_stand_in_one_by_one(no_redis: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_HOST", "old.example")
    monkeypatch.setenv("CACHE_PORT", "7000")
    monkeypatch.setenv("CACHE_PASSWORD", "hunter2")
    monkeypatch.setenv("REDIS_PORT", "7001")
    monkeypatch.setenv("REDIS_DB", "")
    found = CacheSettings.from_env()
    assert (found.host, found.port, found.password, found.database) == ("old.example", 7001, "hunter2", 0)
    assert "hunter2" not in repr(found) + found.address


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("REDIS_PORT", "redis", "a whole number from 1 to 65535"),
        ("REDIS_PORT", "0", "from 1 to 65535"),
        ("CACHE_PORT", "65536", "from 1 to 65535"),
        ("REDIS_DB", "-1", "a whole number from 0"),
        ("REDIS_DB", "1.5", "a whole number from 0"),
        ("REDIS_MAX_CONNECTIONS", "0", "a whole number from 1"),
        ("REDIS_SOCKET_TIMEOUT", "nan", "a number of seconds from 0.01 to 3600"),
        ("REDIS_SOCKET_TIMEOUT", "0", "a number of seconds from 0.01 to 3600"),
        ("REDIS_SOCKET_CONNECT_TIMEOUT", "inf", "a number of seconds from 0.01 to 3600"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(
    no_redis: None, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv("REDIS_HOST", "cache.example")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"{variable} is '{value}'; allowed is .*{allowed}") as caught:
        CacheSettings.from_env()
    assert isinstance(caught.value, ValueError)


async def test_without_a_host_entering_says_what_to_set(no_redis: None) -> None:
    with pytest.raises(ConfigurationError, match=r"REDIS_HOST is not set; .*python -m fullon_embedded env"):
        async with ProcessCache():
            pass


async def test_all_caches_of_a_loop_share_one_pool(redis: ConnectionPool) -> None:
    async with ProcessCache() as processes, TradesCache() as trades, OHLCVCache() as bars:
        await asyncio.gather(processes.ping(), trades.ping(), bars.ping())
        assert await ConnectionPool.shared() is redis


async def test_the_environment_is_read_anew_at_each_entry(
    redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = BaseCache()
    async with cache:
        await cache.set_json("here", 1)
    monkeypatch.setenv("REDIS_DB", "0")
    async with cache:
        with pytest.raises(KeyNotFoundError, match="here"):
            await cache.get_json("here")


async def test_more_callers_than_connections_wait_for_each_other(
    redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_MAX_CONNECTIONS", "2")
    async with TradesCache() as cache:
        await asyncio.gather(*(cache.append_frames("kraken", [b"x"]) for _ in range(50)))
        assert await cache.count_frames("kraken") == 50
        pool = await ConnectionPool.shared()
        assert len(pool.client.connection_pool._available_connections) <= 2


def test_a_cache_outlives_its_event_loop_and_leaves_no_connection(hurt_redis: object) -> None:
    cache = TradesCache()

    async def use() -> int:
        await cache.append_frames("kraken", [b"x"])
        return await cache.count_frames("kraken")

    async def connected() -> int:
        clients = await (await ConnectionPool.shared()).run("INFO", "clients")
        return int(clients["connected_clients"])

    assert [asyncio.run(use()) for _ in range(3)] == [1, 2, 3]
    assert asyncio.run(connected()) == 1


async def test_closing_everything_opens_anew_afterwards(redis: ConnectionPool) -> None:
    async with BaseCache() as cache:
        await cache.set_json("key", 1)
        await ConnectionPool.close_all()
        await ConnectionPool.close_all()
        assert await cache.get_json("key") == 1


async def test_json_values_are_kept_and_what_is_none_is_named(redis: ConnectionPool) -> None:
    async with BaseCache() as cache:
        value = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
        await cache.set_json("key", value, ttl_s=60)
        assert await cache.get_json("key") == value
        assert 0 < await redis.run("TTL", "key") <= 60
        assert await cache.delete("key", "other") == 1
        with pytest.raises(KeyNotFoundError, match="key: there is nothing"):
            await cache.get_json("key")
        with pytest.raises(SerializationError, match="key: cannot be written"):
            await cache.set_json("key", socket.socket)
        await redis.run("SET", "key", "{")
        with pytest.raises(SerializationError, match="key: is not JSON"):
            await cache.get_json("key")
