"""Who runs, who is silent, who has stopped."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from fullon_cache import (
    ConnectionPool,
    ProcessCache,
    ProcessStatus,
    ProcessType,
    ProcessUpdate,
    PubSubError,
    SerializationError,
    process_cache,
)

START = datetime(2026, 1, 5, 12, 0, 0, 250_000, tzinfo=UTC)


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_minutes(self, minutes: float) -> None:
        self.now += timedelta(minutes=minutes)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def cache(redis: ConnectionPool, time: Time) -> ProcessCache:
    return ProcessCache(now=time)


async def test_a_registered_process_has_the_documented_record_and_keys(
    cache: ProcessCache, redis: ConnectionPool
) -> None:
    process_id = await cache.register_process(
        ProcessType.OHLCV, "kraken:BTC/USD", params={"type": "live_trade", "pid": 7}, message="hello"
    )
    epoch = int(START.timestamp())
    assert process_id == f"ohlcv:kraken:BTC/USD:{epoch}"
    stored = json.loads(await redis.run("GET", f"process:data:{process_id}"))
    assert stored == {
        "process_id": process_id,
        "process_type": "ohlcv",
        "component": "kraken:BTC/USD",
        "params": {"type": "live_trade", "pid": 7},
        "status": "starting",
        "message": "hello",
        "created_at": START.isoformat(),
        "updated_at": START.isoformat(),
        "heartbeat": START.isoformat(),
    }
    assert 86_390 < await redis.run("TTL", f"process:data:{process_id}") <= 86_400
    assert await redis.run("HGETALL", "process:active:ohlcv") == {process_id.encode(): START.isoformat().encode()}
    assert await redis.run("HGET", "process:components", "kraken:BTC/USD") == process_id.encode()
    assert await cache.get_process(process_id) == {**stored, "heartbeat_age_s": 0.0, "is_stale": False}


async def test_an_update_changes_what_it_names_and_beats(
    cache: ProcessCache, redis: ConnectionPool, time: Time
) -> None:
    process_id = await cache.register_process("bot", "rsi", params={"a": 1, "b": 1}, message="hello")
    await redis.run("EXPIRE", f"process:data:{process_id}", 5)
    time.pass_minutes(1)
    assert await cache.update_process(process_id, ProcessStatus.RUNNING, params={"b": 2})
    record = await cache.get_process(process_id)
    assert record is not None
    assert (record["status"], record["message"], record["params"]) == ("running", "hello", {"a": 1, "b": 2})
    assert record["heartbeat"] == record["updated_at"] == time.now.isoformat()
    assert record["created_at"] == START.isoformat()
    assert await redis.run("TTL", f"process:data:{process_id}") > 86_000
    time.pass_minutes(1)
    assert await cache.update_process(process_id, message="busy", heartbeat=False)
    record = await cache.get_process(process_id)
    assert record is not None
    assert (record["message"], record["heartbeat_age_s"]) == ("busy", 60.0)
    assert await redis.run("HGET", "process:active:bot", process_id) == time.now.isoformat().encode()


async def test_an_unknown_id_is_false_and_nothing_is_made_of_it(cache: ProcessCache, redis: ConnectionPool) -> None:
    assert not await cache.update_process("ohlcv:nobody:1", "running")
    assert not await cache.stop_process("ohlcv:nobody:1")
    for unknown in ("nobody", "ohlcv_service", ""):
        assert await cache.update_process(unknown, "running") is False
        assert await cache.update_process(unknown, ProcessStatus.RUNNING, "a message") is False
        assert await cache.stop_process(unknown) is False
    assert await cache.get_process("ohlcv:nobody:1") is None
    assert await cache.get_component_status("nobody") is None
    assert await redis.run("KEYS", "*") == []


async def test_the_short_form_updates_the_newest_of_a_component(cache: ProcessCache, time: Time) -> None:
    old = await cache.register_process("ohlcv", "kraken:BTC/USD")
    time.pass_minutes(1)
    new = await cache.register_process("ohlcv", "kraken:BTC/USD")
    assert await cache.update_process("ohlcv_service", "kraken:BTC/USD", "running", message="received")
    assert await cache.update_process("ohlcv_service", "kraken:BTC/USD", status="running", params={"n": 1})
    record = await cache.get_component_status("kraken:BTC/USD")
    assert record is not None
    assert (record["process_id"], record["status"], record["message"]) == (new, "running", "received")
    untouched = await cache.get_process(old)
    assert untouched is not None
    assert untouched["status"] == "starting"


@pytest.mark.parametrize("word", ["collecting", "streaming", "connected", "active"])
async def test_words_of_the_ecosystem_for_a_running_process_mean_running(cache: ProcessCache, word: str) -> None:
    assert await cache.update_process("ohlcv_service", "kraken:BTC/USD", word, message="12 candles")
    record = await cache.get_component_status("kraken:BTC/USD")
    assert record is not None
    assert (record["status"], record["message"]) == ("running", "12 candles")


async def test_health_and_metrics_count_the_processes_under_both_names(cache: ProcessCache, time: Time) -> None:
    await cache.register_process("ohlcv", "silent")
    time.pass_minutes(6)
    await cache.register_process("ohlcv", "well")
    for counts in (await cache.get_system_health(), await cache.get_metrics()):
        assert (counts["total_processes"], counts["active_processes"]) == (2, 1)


async def test_the_short_form_registers_what_is_unknown(cache: ProcessCache) -> None:
    assert await cache.update_process(ProcessType.TICK, "kraken:ETH/USD", "idle", params={"n": 1})
    record = await cache.get_component_status("kraken:ETH/USD")
    assert record is not None
    assert (record["process_type"], record["status"], record["params"]) == ("tick", "idle", {"n": 1})


async def test_a_stopped_process_leaves_the_active_and_stays_readable(
    cache: ProcessCache, redis: ConnectionPool
) -> None:
    process_id = await cache.register_process("ohlcv", "ohlcv_daemon")
    assert await cache.stop_process(process_id, "bye")
    assert await cache.get_active_processes() == []
    record = await cache.get_component_status("ohlcv_daemon")
    assert record is not None
    assert (record["status"], record["message"], record["is_stale"]) == ("stopped", "bye", False)
    assert await redis.run("EXISTS", "process:active:ohlcv") == 0
    assert await cache.update_process(process_id, "running")
    assert [record["process_id"] for record in await cache.get_active_processes()] == [process_id]


async def test_two_registrations_within_a_second_are_two_processes(cache: ProcessCache) -> None:
    ids = await asyncio.gather(*(cache.register_process("ohlcv", "ohlcv_daemon") for _ in range(5)))
    assert len(set(ids)) == 5
    assert len(await cache.get_active_processes()) == 5


async def test_active_processes_are_chosen_by_type_component_and_time(cache: ProcessCache, time: Time) -> None:
    first = await cache.register_process("ohlcv", "b")
    time.pass_minutes(3)
    second = await cache.register_process("ohlcv", "a")
    third = await cache.register_process("bot", "a")

    async def ids(**choice: object) -> list[str]:
        return [record["process_id"] for record in await cache.get_active_processes(**choice)]

    assert await ids() == [third, second, first]
    assert await ids(process_type="ohlcv") == [second, first]
    assert await ids(component="a") == [third, second]
    assert await ids(process_type=ProcessType.BOT, component="b") == []
    assert await ids(since_minutes=1) == [third, second]


async def test_a_silent_process_is_told_from_an_active_one(cache: ProcessCache, time: Time) -> None:
    killed = await cache.register_process("ohlcv", "killed", status="running")
    alive = await cache.register_process("ohlcv", "alive", status="running")
    mute = await cache.register_process("ohlcv", "mute", status="running")
    time.pass_minutes(6)
    await cache.update_process(alive)
    await cache.update_process(mute, message="no heartbeat", heartbeat=False)

    async def ids(**choice: object) -> list[str]:
        return [record["process_id"] for record in await cache.get_active_processes(**choice)]

    assert await ids() == [alive]
    assert await ids(include_heartbeat_check=False) == [alive, mute]
    everyone = await cache.get_active_processes(since_minutes=1_440, include_heartbeat_check=False)
    assert {r["process_id"]: r["is_stale"] for r in everyone} == {alive: False, killed: True, mute: True}
    assert {r["process_id"]: r["heartbeat_age_s"] for r in everyone} == {alive: 0, killed: 360, mute: 360}


async def test_health_and_metrics_count_the_silent_and_the_failed(cache: ProcessCache, time: Time) -> None:
    assert (await cache.get_system_health())["healthy"]
    silent = await cache.register_process("ohlcv", "silent", status="running")
    time.pass_minutes(6)
    failed = await cache.register_process("bot", "failed", status="error")
    await cache.register_process("ohlcv", "well", status="running")
    await cache.stop_process(await cache.register_process("ohlcv", "gone"))
    health = await cache.get_system_health()
    assert not health["healthy"]
    assert (health["active"], health["stale"], health["error"]) == (2, 1, 1)
    assert (health["stale_processes"], health["error_processes"]) == ([silent], [failed])
    assert health["checked_at"] == time.now.isoformat()
    assert await cache.get_metrics() == {
        "total": 3,
        "total_processes": 3,
        "active_processes": 2,
        "active": 2,
        "stale": 1,
        "by_type": {"ohlcv": 2, "bot": 1},
        "by_status": {"running": 2, "error": 1},
        "components": 4,
        "heartbeat_age_max_s": 360.0,
    }


async def test_cleaning_up_takes_out_the_dead_and_lets_them_come_back(
    cache: ProcessCache, redis: ConnectionPool, time: Time
) -> None:
    dead = await cache.register_process("ohlcv", "dead", status="running")
    expired = await cache.register_process("tick", "expired")
    await redis.run("DEL", f"process:data:{expired}")
    time.pass_minutes(31)
    alive = await cache.register_process("ohlcv", "alive")
    assert await cache.cleanup_stale_processes() == 2
    assert await cache.cleanup_stale_processes() == 0
    everyone = await cache.get_active_processes(since_minutes=1_440, include_heartbeat_check=False)
    assert [record["process_id"] for record in everyone] == [alive]
    record = await cache.get_process(dead)
    assert record is not None
    assert (record["status"], record["message"]) == ("error", "no heartbeat for 30 minutes")
    assert record["heartbeat"] == START.isoformat()
    await cache.update_process(dead, "running")
    assert len(await cache.get_active_processes()) == 2


async def test_many_processes_beat_in_a_few_round_trips(cache: ProcessCache, redis: ConnectionPool, time: Time) -> None:
    ids = [await cache.register_process("ohlcv", f"kraken:{number}") for number in range(1_200)]
    time.pass_minutes(1)
    before = (await redis.run("INFO", "stats"))["total_reads_processed"]
    updates = dict.fromkeys(ids, ProcessUpdate("running")) | {"ohlcv:unknown:1": ProcessUpdate()}
    assert await cache.update_processes(updates) == {"ohlcv:unknown:1"}
    after = (await redis.run("INFO", "stats"))["total_reads_processed"]
    assert after - before < 150
    records = await cache.get_active_processes()
    assert len(records) == 1_200
    assert {(r["status"], r["heartbeat"]) for r in records} == {("running", time.now.isoformat())}
    assert await cache.update_processes({}) == set()


async def test_updates_at_the_same_time_all_take_effect(cache: ProcessCache) -> None:
    process_id = await cache.register_process("ohlcv", "ohlcv_daemon")
    await asyncio.gather(*(cache.update_process(process_id, params={f"p{n}": n}) for n in range(12)))
    record = await cache.get_process(process_id)
    assert record is not None
    assert record["params"] == {f"p{n}": n for n in range(12)}


@pytest.mark.parametrize("wrong", ["nonsense", "", "OHLCV"])
async def test_unknown_types_and_statuses_are_refused_with_what_is_allowed(
    cache: ProcessCache, redis: ConnectionPool, wrong: str
) -> None:
    process_id = await cache.register_process("ohlcv", "x")
    with pytest.raises(ValueError, match=f"process type is '{wrong}'; allowed is tick, ohlcv, bot, account"):
        await cache.register_process(wrong, "x")
    with pytest.raises(ValueError, match=f"status is '{wrong}'; allowed is starting, running, processing"):
        await cache.update_process(process_id, wrong)
    with pytest.raises(ValueError, match="process type is 'nonsense'"):
        await cache.update_process("nonsense", "component", "running")
    with pytest.raises(ValueError, match="component is ''"):
        await cache.register_process("ohlcv", "")
    with pytest.raises(SerializationError, match=f"process:data:{process_id}: cannot be written"):
        await cache.update_process(process_id, params={"x": object()})


async def test_one_unreadable_record_does_not_hide_the_others(cache: ProcessCache, redis: ConnectionPool) -> None:
    good = await cache.register_process("ohlcv", "good")
    for number, text in enumerate(["{", "[]", '{"process_id": 1}']):
        await redis.run("SET", f"process:data:bad{number}", text)
        await redis.run("HSET", "process:active:ohlcv", f"bad{number}", START.isoformat())
        with pytest.raises(SerializationError, match=f"process:data:bad{number}"):
            await cache.get_process(f"bad{number}")
    assert [record["process_id"] for record in await cache.get_active_processes()] == [good]


async def test_a_broadcast_reaches_those_who_listen(cache: ProcessCache, redis: ConnectionPool) -> None:
    assert await cache.broadcast_message("ohlcv", {"command": "reload"}) == 0
    async with redis.client.pubsub() as listener:
        await listener.subscribe("process:broadcast:ohlcv")
        await listener.get_message(timeout=5)
        assert await cache.broadcast_message("ohlcv", {"command": "reload"}) == 1
        message = await listener.get_message(timeout=5)
    assert json.loads(message["data"]) == {"command": "reload"}


async def test_a_refused_broadcast_is_said(hurt_redis: object) -> None:
    pool = await ConnectionPool.shared()
    await pool.run("ACL", "SETUSER", "default", "-publish")
    async with ProcessCache() as cache:
        with pytest.raises(PubSubError, match="channel process:broadcast:bot"):
            await cache.broadcast_message("bot", "hello")


def test_types_and_statuses_are_the_documented_ones() -> None:
    types = "tick ohlcv bot account order bot_status_service crawler user_trades_service"
    assert [str(kind) for kind in process_cache.ProcessType] == types.split()
    statuses = "starting running processing idle error stopped"
    assert [str(status) for status in process_cache.ProcessStatus] == statuses.split()
