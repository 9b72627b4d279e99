"""A Redis that is away, silent, restarted, emptied or out of memory is survived by trying again."""

import asyncio
import socket

import pytest

from fullon_cache import (
    CacheError,
    ConfigurationError,
    ConnectionError,
    ConnectionPool,
    OHLCVCache,
    OutOfMemory,
    ProcessCache,
    TradesCache,
)

Hurt = object


def payloads(frames: list) -> list[bytes]:
    return [frame.payload for frame in frames]


async def test_what_was_appended_survives_a_killed_server(hurt_redis) -> None:
    async with TradesCache() as cache, ProcessCache() as processes:
        process_id = await processes.register_process("ohlcv", "ohlcv_daemon")
        await cache.append_frames("kraken", [b"1", b"2"])
        await cache.read_frames(["kraken"], consumer="a", count=1)
        hurt_redis.kill()
        for _ in range(2):
            with pytest.raises(ConnectionError) as caught:
                await cache.append_frames("kraken", [b"3"])
            assert caught.value.retryable
        with pytest.raises(ConnectionError):
            await processes.update_process(process_id, "running")
        hurt_redis.restart()
        await cache.append_frames("kraken", [b"3"])
        assert await processes.update_process(process_id, "running")
        assert payloads(await cache.claim_frames("kraken", consumer="b")) == [b"1"]
        assert payloads(await cache.read_frames(["kraken"], consumer="b")) == [b"2", b"3"]


async def test_a_restart_between_two_calls_is_not_noticed(hurt_redis) -> None:
    async with TradesCache() as cache:
        await cache.append_frames("kraken", [b"1"])
        hurt_redis.kill()
        await asyncio.to_thread(hurt_redis.restart)
        await cache.append_frames("kraken", [b"2"])
        assert await cache.count_frames("kraken") == 2


async def test_a_reader_waiting_while_the_server_dies_is_told(hurt_redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SOCKET_TIMEOUT", "10")
    async with TradesCache() as cache:
        await cache.read_frames(["kraken"], consumer="a", block_ms=0)
        reading = asyncio.ensure_future(cache.read_frames(["kraken"], consumer="a", block_ms=5_000))
        while not await waiting_readers():
            await asyncio.sleep(0.005)
        hurt_redis.kill()
        with pytest.raises(ConnectionError):
            await reading


async def test_a_silent_server_is_given_up_in_time_and_then_used_again(hurt_redis) -> None:
    async with TradesCache() as cache:
        await cache.append_frames("kraken", [b"1"])
        hurt_redis.freeze()
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionError, match=r"Timeout|no answer"):
            await cache.append_frames("kraken", [b"2"])
        assert asyncio.get_running_loop().time() - began < 2
        hurt_redis.thaw()
        await cache.append_frames("kraken", [b"3"])
        frames = payloads(await cache.read_frames(["kraken"], consumer="a"))
        # Whether the unanswered one was carried out nobody could know; it is what retrying is for.
        assert frames in ([b"1", b"3"], [b"1", b"2", b"3"])


async def test_out_of_memory_writes_nothing_and_reading_makes_room(hurt_redis) -> None:
    pool = await ConnectionPool.shared()
    async with TradesCache() as trades, ProcessCache() as processes, OHLCVCache() as bars:
        await trades.append_frames("kraken", [b"0", b"1"])
        await trades.read_frames(["kraken"], consumer="dead", count=1)
        process_id = await processes.register_process("ohlcv", "ohlcv_daemon")
        await trades.push_trade_list("BTC/USD", "kraken", {"price": 1})
        await bars.update_ohlcv_bars("BTC/USD", "1m", [[60_000, 1.0], [120_000, 2.0]])
        await pool.run("CONFIG", "SET", "maxmemory", 1)
        for call in (
            lambda: trades.append_frames("kraken", [b"2", b"3"]),
            lambda: trades.push_trade_list("BTC/USD", "kraken", {"price": 1}),
            lambda: processes.update_process(process_id, "running"),
            lambda: bars.update_ohlcv_bars("BTC/USD", "1m", [[60_000, 3.0]]),
            lambda: bars.set_ohlcv("kraken", "BTC/USD", "1m", [[60_000, 3.0]]),
        ):
            with pytest.raises(OutOfMemory, match="raise its maxmemory") as caught:
                await call()
            assert "price" not in str(caught.value)
            assert isinstance(caught.value, ConnectionError)
            assert caught.value.retryable
        frames = await trades.claim_frames("kraken", consumer="a")
        frames += await trades.read_frames(["kraken"], consumer="a")
        assert payloads(frames) == [b"0", b"1"]
        await trades.ack_frames("kraken", [frame.entry_id for frame in frames])
        assert await trades.count_frames("kraken") == 0
        assert await trades.get_trades("BTC/USD", "kraken") == [{"price": 1}]
        assert await bars.get_latest_ohlcv_bars("BTC/USD", "1m", 5) == [[60_000, 1.0], [120_000, 2.0]]
        await pool.run("CONFIG", "SET", "maxmemory", 0)
        await trades.append_frames("kraken", [b"2", b"3"])
        assert await processes.update_process(process_id, "running")


async def test_a_server_that_lost_everything_is_used_on(hurt_redis) -> None:
    pool = await ConnectionPool.shared()
    async with TradesCache() as trades, ProcessCache() as processes:
        process_id = await processes.register_process("ohlcv", "ohlcv_daemon")
        await trades.append_frames("kraken", [b"1"])
        (lost,) = await trades.read_frames(["kraken"], consumer="a")
        await pool.run("FLUSHALL")
        await trades.ack_frames("kraken", [lost.entry_id])
        assert await trades.claim_frames("kraken", consumer="a") == []
        await pool.run("FLUSHALL")
        await trades.append_frames("kraken", [b"2"])
        assert payloads(await trades.read_frames(["kraken"], consumer="a")) == [b"2"]
        assert not await processes.update_process(process_id, "running")
        assert await processes.update_process("ohlcv_service", "ohlcv_daemon", "running", message="back")
        record = await processes.get_component_status("ohlcv_daemon")
        assert record is not None
        assert (record["status"], record["message"]) == ("running", "back")


async def test_a_stream_removed_under_a_waiting_reader_is_read_on(hurt_redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SOCKET_TIMEOUT", "4")
    pool = await ConnectionPool.shared()
    async with TradesCache() as cache:
        await cache.read_frames(["kraken"], consumer="a", block_ms=0)
        reading = asyncio.ensure_future(cache.read_frames(["kraken"], consumer="a", block_ms=2_000))
        while not await waiting_readers():
            await asyncio.sleep(0.005)
        await pool.run("FLUSHALL")
        await cache.append_frames("kraken", [b"1"])
        frames = await reading
        frames += await cache.read_frames(["kraken"], consumer="a", block_ms=0)
        assert payloads(frames) == [b"1"]


async def test_a_refused_password_is_said_without_showing_it(hurt_redis, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await ConnectionPool.shared()).run("CONFIG", "SET", "requirepass", "hunter2")
    await ConnectionPool.close_all()
    for given in ("hunter3", ""):
        monkeypatch.setenv("REDIS_PASSWORD", given)
        async with ProcessCache() as cache:
            with pytest.raises(ConfigurationError, match="REDIS_PASSWORD is refused") as caught:
                await cache.ping()
        chain = [caught.value, caught.value.__cause__, caught.value.__context__]
        assert not any("hunter" in f"{error!r} {error}" for error in chain)
        assert not caught.value.retryable
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    async with ProcessCache() as cache:
        assert await cache.ping() < 1
        assert "hunter2" not in repr((await ConnectionPool.shared()).settings)
    await (await ConnectionPool.shared()).run("CONFIG", "SET", "requirepass", "")


async def test_a_database_that_the_server_has_not_is_said(hurt_redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_DB", "9999")
    async with ProcessCache() as cache:
        with pytest.raises(ConfigurationError, match="REDIS_DB is '9999'"):
            await cache.ping()


async def test_no_server_at_all_is_a_retryable_error(hurt_redis, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for host in ("127.0.0.1", "/nowhere/redis.sock"):
        monkeypatch.setenv("REDIS_HOST", host)
        monkeypatch.setenv("REDIS_PORT", str(port))
        async with ProcessCache() as cache:
            with pytest.raises(ConnectionError, match=host):
                await cache.ping()


async def test_a_server_that_accepts_and_never_answers_is_given_up_in_time(
    hurt_redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
        monkeypatch.setenv("REDIS_PORT", str(silent.getsockname()[1]))
        async with ProcessCache() as cache:
            with pytest.raises(ConnectionError):
                await cache.ping()


async def test_a_key_of_another_kind_is_refused_and_not_retryable(hurt_redis) -> None:
    await (await ConnectionPool.shared()).run("SET", "trades:stream:kraken", "text")
    async with TradesCache() as cache:
        with pytest.raises(CacheError, match="WRONGTYPE") as caught:
            await cache.append_frames("kraken", [b"1"])
        assert not caught.value.retryable


async def waiting_readers() -> bool:
    clients = await (await ConnectionPool.shared()).run("INFO", "clients")
    return bool(clients["blocked_clients"])
