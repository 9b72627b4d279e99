"""Contract, section 5: fullon_cache."""

import asyncio
import json
from datetime import datetime, timedelta

import pytest
from fixed_clock import wall_now

import fullon_cache
from fullon_cache import BaseCache, CacheError, ConnectionPool, OHLCVCache, ProcessCache, TradesCache
from fullon_cache.process_cache import ProcessStatus, ProcessType
from fullon_orm.models import Trade

DAY_S = 86_400


@pytest.mark.parametrize("name", ["ProcessCache", "TradesCache", "OHLCVCache", "BaseCache", "ConnectionPool"])
def test_the_package_offers(name: str) -> None:
    assert hasattr(fullon_cache, name)


@pytest.mark.parametrize(
    "name",
    [
        "ConnectionError",
        "SerializationError",
        "KeyNotFoundError",
        "ConfigurationError",
        "StreamError",
        "PubSubError",
        "LockError",
    ],
)
def test_the_error_is_a_cache_error(name: str) -> None:
    assert issubclass(getattr(fullon_cache, name), CacheError)


@pytest.mark.parametrize("kind", [ProcessCache, TradesCache, OHLCVCache, BaseCache])
async def test_the_cache_is_an_async_context_manager(kind: type[BaseCache], redis: ConnectionPool) -> None:
    async with kind() as cache:
        assert await cache.ping() > 0


def test_process_types_and_statuses_are_str_enums_with_the_documented_values() -> None:
    types = ["tick", "ohlcv", "bot", "account", "order", "bot_status_service", "crawler", "user_trades_service"]
    statuses = ["starting", "running", "processing", "idle", "error", "stopped"]
    assert [str(one) for one in ProcessType] == types
    assert [str(one) for one in ProcessStatus] == statuses
    assert ProcessType.OHLCV == "ohlcv"


class TestProcessCache:
    async def test_a_process_is_found_under_the_documented_keys(self, redis: ConnectionPool) -> None:
        async with ProcessCache() as cache:
            process_id = await cache.register_process(
                ProcessType.OHLCV, "kraken:BTC/USD", params={"type": "historic"}, message="hello"
            )
        kind, _, rest = process_id.partition(":")
        component, _, epoch = rest.rpartition(":")
        assert (kind, component) == ("ohlcv", "kraken:BTC/USD")
        assert abs(int(epoch) - wall_now().timestamp()) < 60
        record = json.loads(await redis.run("GET", f"process:data:{process_id}"))
        assert record["status"] == "starting"
        assert DAY_S - 60 < await redis.run("TTL", f"process:data:{process_id}") <= DAY_S
        active = await redis.run("HGET", "process:active:ohlcv", process_id)
        assert datetime.fromisoformat(active.decode()).tzinfo is not None
        assert await redis.run("HGET", "process:components", "kraken:BTC/USD") == process_id.encode()

    async def test_a_record_has_the_documented_fields(self, redis: ConnectionPool) -> None:
        async with ProcessCache() as cache:
            record = await cache.get_process(await cache.register_process("bot", "b1"))
        assert record is not None
        fields = "process_id process_type component params status message created_at updated_at heartbeat"
        assert record.keys() >= set(fields.split())

    async def test_an_update_changes_what_is_given_and_refreshes_the_day(self, redis: ConnectionPool) -> None:
        async with ProcessCache() as cache:
            process_id = await cache.register_process("ohlcv", "c", params={"a": 1})
            await redis.run("EXPIRE", f"process:data:{process_id}", 100)
            assert await cache.update_process(process_id, status=ProcessStatus.RUNNING, message="m", heartbeat=True)
            record = await cache.get_process(process_id)
            assert record is not None
            assert (record["status"], record["message"], record["params"]) == ("running", "m", {"a": 1})
            assert await redis.run("TTL", f"process:data:{process_id}") > DAY_S - 60
            assert await cache.update_process("ohlcv:nobody:1", status="running") is False

    async def test_the_short_form_names_the_component(self, redis: ConnectionPool) -> None:
        async with ProcessCache() as cache:
            process_id = await cache.register_process(ProcessType.OHLCV, "ohlcv_daemon")
            assert await cache.update_process("ohlcv_service", "ohlcv_daemon", "running", message="well")
            record = await cache.get_process(process_id)
        assert record is not None
        assert (record["status"], record["message"]) == ("running", "well")

    async def test_active_processes_are_chosen_by_type_component_and_age(self, redis: ConnectionPool) -> None:
        long_ago = wall_now() - timedelta(minutes=9)
        async with ProcessCache() as cache, ProcessCache(now=lambda: long_ago) as past:
            await past.register_process("ohlcv", "old")
            await cache.register_process("ohlcv", "new")
            await cache.register_process("bot", "other")

            async def found(**wanted: object) -> list[str]:
                return [one["component"] for one in await cache.get_active_processes(**wanted)]

            assert await found() == ["other", "new"]
            assert await found(process_type="ohlcv") == ["new"]
            assert await found(component="other") == ["other"]
            assert await found(process_type="ohlcv", since_minutes=10) == ["new", "old"]
            assert await found(process_type="ohlcv", since_minutes=10, include_heartbeat_check=False) == ["new", "old"]

    async def test_a_stopped_process_is_no_longer_active_and_its_status_stays_readable(
        self, redis: ConnectionPool
    ) -> None:
        async with ProcessCache() as cache:
            process_id = await cache.register_process("ohlcv", "c")
            assert await cache.stop_process(process_id, "done")
            assert await cache.get_active_processes() == []
            status = await cache.get_component_status("c")
        assert status is not None
        assert (status["status"], status["message"]) == ("stopped", "done")

    async def test_health_metrics_and_clean_up_know_who_is_silent(self, redis: ConnectionPool) -> None:
        long_ago = wall_now() - timedelta(minutes=40)
        async with ProcessCache() as cache, ProcessCache(now=lambda: long_ago) as past:
            silent = await past.register_process("ohlcv", "silent")
            await cache.register_process("ohlcv", "alive")
            health = await cache.get_system_health()
            assert (health["healthy"], health["stale_processes"]) == (False, [silent])
            assert (await cache.get_metrics())["by_type"] == {"ohlcv": 2}
            assert await cache.cleanup_stale_processes(stale_minutes=30) == 1
            assert (await cache.get_system_health())["healthy"] is True

    async def test_a_message_is_broadcast_on_the_channel_of_the_type(self, redis: ConnectionPool) -> None:
        async with redis.client.pubsub() as channel, ProcessCache() as cache:
            await channel.subscribe("process:broadcast:ohlcv")
            async with asyncio.timeout(5):
                while await channel.get_message(timeout=1) is None:
                    pass
                assert await cache.broadcast_message("ohlcv", {"do": "report"}) == 1
                while (message := await channel.get_message(ignore_subscribe_messages=True, timeout=1)) is None:
                    pass
        assert json.loads(message["data"]) == {"do": "report"}


class TestTradesCache:
    async def test_trades_wait_in_the_documented_list_and_are_taken_atomically(self, redis: ConnectionPool) -> None:
        trade = Trade(trade_id=1, symbol="BTC/USD", side="buy", price=5.0, volume=1.0)
        async with TradesCache() as cache:
            assert await cache.push_trade_list("BTC/USD", "kraken", trade) == 1
            assert await cache.push_trade("BTC/USD", "kraken", trade) == 2
            assert await redis.run("LLEN", "trades:kraken:BTCUSD") == 2
            assert await cache.get_trades("BTC/USD", "kraken") == [trade, trade]
            assert await cache.get_trades("BTC/USD", "kraken") == []

    async def test_trade_statuses_are_kept_by_key(self, redis: ConnectionPool) -> None:
        async with TradesCache() as cache:
            assert await cache.get_trade_status("kraken") is None
            await cache.update_trade_status("kraken")
            await cache.update_trade_status("binance")
            seen = await cache.get_trade_status("kraken")
            assert seen is not None
            assert await cache.get_all_trade_statuses("k") == {"kraken": seen}

    async def test_the_stream_is_appended_read_as_a_group_acknowledged_and_claimed(self, redis: ConnectionPool) -> None:
        async with TradesCache() as cache:
            await cache.append_frames("kraken", [b"1", b"2"])
            frames = await cache.read_frames(["kraken"], consumer="batcher", block_ms=0)
            assert [frame.payload for frame in frames] == [b"1", b"2"]
            await cache.ack_frames("kraken", [frames[0].entry_id])
            claimed = await cache.claim_frames("kraken", consumer="batcher")
            assert [frame.payload for frame in claimed] == [b"2"]


class TestOhlcvCache:
    async def test_bars_wait_in_the_documented_list_the_newest_ten_thousand(self, redis: ConnectionPool) -> None:
        bars = [[60_000 * number, 1.0, 2.0, 0.5, 1.5, 3.0] for number in range(10_002)]
        async with OHLCVCache() as cache:
            await cache.update_ohlcv_bars("BTC/USD", "1m", bars)
            assert await redis.run("LLEN", "ohlcv:BTC/USD:1m") == 10_000
            assert await cache.get_latest_ohlcv_bars("BTC/USD", "1m", 2) == bars[-2:]

    async def test_bars_of_an_exchange_are_set_and_got(self, redis: ConnectionPool) -> None:
        bars = [[60_000, 1.0, 2.0, 0.5, 1.5, 3.0]]
        async with OHLCVCache() as cache:
            await cache.set_ohlcv("kraken", "BTC/USD", "1m", bars)
            assert await cache.get_ohlcv("kraken", "BTC/USD", "1m") == bars
            assert await cache.get_ohlcv("binance", "BTC/USD", "1m") == []
