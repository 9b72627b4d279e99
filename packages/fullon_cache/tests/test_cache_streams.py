"""The stream between collecting and storing: everything arrives, in order, and the stream is bounded."""

import asyncio
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_cache import ConnectionPool, Frame, StreamError, StreamFull, TradesCache


def payloads(frames: list[Frame]) -> list[bytes]:
    return [frame.payload for frame in frames]


def ids(frames: list[Frame]) -> list[str]:
    return [frame.entry_id for frame in frames]


async def test_frames_come_back_whole_and_in_order(redis: ConnectionPool) -> None:
    sent = [bytes([n % 256]) * (n % 50) for n in range(2_500)]
    async with TradesCache() as cache:
        await cache.append_frames("kraken", sent)
        assert await cache.count_frames("kraken") == 2_500
        first = await cache.read_frames(["kraken"], consumer="a", count=2_000)
        second = await cache.read_frames(["kraken"], consumer="a", count=2_000)
        assert payloads(first) + payloads(second) == sent
        assert {frame.exchange for frame in first} == {"kraken"}
        assert await cache.read_frames(["kraken"], consumer="a", block_ms=0) == []


async def test_what_was_appended_before_the_first_reader_is_read(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        await cache.append_frames("kraken", [b"early"])
        assert payloads(await cache.read_frames(["kraken", "binance"], consumer="a")) == [b"early"]


async def test_frames_of_several_exchanges_are_told_apart(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        await cache.append_frames("kraken", [b"k1", b"k2"])
        await cache.append_frames("binance:futures", [b"b1"])
        frames = await cache.read_frames(["binance:futures", "kraken", "quiet"], consumer="a")
        by_exchange = defaultdict(list)
        for frame in frames:
            by_exchange[frame.exchange].append(frame.payload)
        assert by_exchange == {"kraken": [b"k1", b"k2"], "binance:futures": [b"b1"]}


async def test_a_waiting_reader_gets_a_frame_when_it_comes(redis: ConnectionPool) -> None:
    async with TradesCache() as cache, asyncio.TaskGroup() as group:
        reading = group.create_task(cache.read_frames(["kraken"], consumer="a", block_ms=2_000))
        await asyncio.sleep(0)
        await cache.append_frames("kraken", [b"late"])
        assert payloads(await reading) == [b"late"]


async def test_waiting_ends_after_the_time_asked(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await cache.read_frames(["kraken"], consumer="a", block_ms=100) == []
        assert await cache.read_frames(["kraken"], consumer="a", block_ms=0) == []
        assert 0.09 < loop.time() - began < 1.5


async def test_a_wait_longer_than_the_socket_allows_is_shortened(
    redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_SOCKET_TIMEOUT", "0.2")
    async with TradesCache() as cache:
        assert await cache.read_frames(["kraken"], consumer="a", block_ms=60_000) == []


async def test_a_frame_leaves_only_when_acknowledged(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        await cache.append_frames("kraken", [b"1", b"2", b"3"])
        frames = await cache.read_frames(["kraken"], consumer="a")
        assert await cache.count_frames("kraken") == 3
        await cache.ack_frames("kraken", ids(frames[:2]))
        await cache.ack_frames("kraken", ids(frames[:2]))
        assert await cache.count_frames("kraken") == 1
        assert payloads(await cache.claim_frames("kraken", consumer="a")) == [b"3"]


async def test_frames_of_a_dead_consumer_are_claimed_oldest_first(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        await cache.append_frames("kraken", [b"1", b"2", b"3", b"4", b"5"])
        await cache.read_frames(["kraken"], consumer="dead", count=2)
        await cache.read_frames(["kraken"], consumer="deader", count=2)
        claimed = []
        while frames := await cache.claim_frames("kraken", consumer="next", count=3):
            claimed += payloads(frames)
            await cache.ack_frames("kraken", ids(frames))
        assert claimed == [b"1", b"2", b"3", b"4"]
        assert payloads(await cache.read_frames(["kraken"], consumer="next")) == [b"5"]


async def test_claiming_leaves_alone_what_was_delivered_just_now(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        await cache.append_frames("kraken", [b"1"])
        await cache.read_frames(["kraken"], consumer="busy")
        assert await cache.claim_frames("kraken", consumer="next", idle_ms=60_000) == []
        assert payloads(await cache.claim_frames("kraken", consumer="next")) == [b"1"]


async def test_claiming_from_a_stream_that_never_was_gives_nothing(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        assert await cache.claim_frames("nowhere", consumer="a") == []
        await cache.ack_frames("nowhere", ["1-1"])
        assert await cache.count_frames("nowhere") == 0


async def test_a_full_stream_refuses_and_writes_nothing(redis: ConnectionPool) -> None:
    async with TradesCache(frames_max=5) as cache:
        await cache.append_frames("kraken", [b"1", b"2", b"3"])
        with pytest.raises(StreamFull, match="holds 3 frames, 3 more would exceed the 5 allowed") as caught:
            await cache.append_frames("kraken", [b"4", b"5", b"6"])
        assert isinstance(caught.value, StreamError)
        assert caught.value.retryable
        assert await cache.count_frames("kraken") == 3
        await cache.append_frames("kraken", [b"4", b"5"])
        await cache.append_frames("binance", [b"has room of its own"])
        frames = await cache.read_frames(["kraken"], consumer="a", count=1)
        await cache.ack_frames("kraken", ids(frames))
        await cache.append_frames("kraken", [b"6"])
        with pytest.raises(StreamFull):
            await cache.append_frames("kraken", [b"7"])


async def test_more_than_one_lot_is_bounded_as_a_whole(redis: ConnectionPool) -> None:
    async with TradesCache(frames_max=15_000) as cache:
        with pytest.raises(StreamFull):
            await cache.append_frames("kraken", [b""] * 15_001)
        assert await cache.count_frames("kraken") == 0
        await cache.append_frames("kraken", [b""] * 15_000)
        assert await cache.count_frames("kraken") == 15_000


async def test_appenders_together_do_not_exceed_the_bound(redis: ConnectionPool) -> None:
    async with TradesCache(frames_max=50) as cache:
        appends = (cache.append_frames("kraken", [b"x"] * 7) for _ in range(20))
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        assert await cache.count_frames("kraken") == 49
        assert sum(outcome is None for outcome in outcomes) == 7


async def test_a_cancelled_read_loses_nothing(redis: ConnectionPool) -> None:
    sent = [b"%d" % number for number in range(200)]
    async with TradesCache() as cache:
        for number, payload in enumerate(sent):
            reading = asyncio.ensure_future(cache.read_frames(["kraken"], consumer="a", count=3))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            await cache.append_frames("kraken", [payload])
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        delivered = payloads(await cache.claim_frames("kraken", consumer="a"))
        fresh = payloads(await cache.read_frames(["kraken"], consumer="a", block_ms=0))
        assert delivered + fresh == sent


class Storing:
    """A reader that can die at any moment: it keeps what it stored and forgets what it has in hand."""

    def __init__(self, cache: TradesCache) -> None:
        self.cache = cache
        self.lives = 0
        self.stored: dict[str, list[int]] = defaultdict(list)
        self.in_hand: list[Frame] = []

    async def crash(self) -> None:
        self.lives += 1
        self.in_hand = []
        for exchange in EXCHANGES:
            while frames := await self.cache.claim_frames(exchange, consumer=self.name, count=3):
                await self.store(frames, acknowledge=True)

    @property
    def name(self) -> str:
        return f"reader {self.lives}"

    async def read(self, count: int) -> None:
        frames = await self.cache.read_frames(EXCHANGES, consumer=self.name, count=count, block_ms=0)
        self.in_hand += frames

    async def store(self, frames: list[Frame], *, acknowledge: bool) -> None:
        for frame in frames:
            self.stored[frame.exchange].append(int(frame.payload))
            if acknowledge:
                await self.cache.ack_frames(frame.exchange, [frame.entry_id])


EXCHANGES = ["kraken", "binance"]

steps = st.one_of(
    st.tuples(st.just("append"), st.sampled_from(EXCHANGES), st.integers(1, 4)),
    st.tuples(st.just("read"), st.integers(1, 3)),
    st.tuples(st.just("store and acknowledge"), st.integers(1, 4)),
    st.tuples(st.just("store and crash"), st.integers(1, 4)),
    st.tuples(st.just("crash")),
)


@settings(max_examples=60)
@given(st.lists(steps, max_size=25))
async def test_whatever_happens_each_frame_is_stored_and_in_order(
    redis: ConnectionPool, history: list[tuple[str, object]]
) -> None:
    await redis.run("FLUSHDB")
    appended: dict[str, int] = defaultdict(int)
    async with TradesCache() as cache:
        reader = Storing(cache)
        for step, *values in history:
            match step, values:
                case "append", [str(exchange), int(count)]:
                    start = appended[exchange]
                    await cache.append_frames(exchange, [b"%d" % n for n in range(start, start + count)])
                    appended[exchange] += count
                case "read", [int(count)]:
                    await reader.read(count)
                case "store and acknowledge", [int(count)]:
                    await reader.store(reader.in_hand[:count], acknowledge=True)
                    del reader.in_hand[:count]
                case "store and crash", [int(count)]:
                    await reader.store(reader.in_hand[:count], acknowledge=False)
                    await reader.crash()
                case "crash", []:
                    await reader.crash()
        await reader.crash()
        while True:
            await reader.read(100)
            if not reader.in_hand:
                break
            await reader.store(reader.in_hand, acknowledge=True)
            reader.in_hand = []
        for exchange in EXCHANGES:
            first_time = list(dict.fromkeys(reader.stored[exchange]))
            assert first_time == list(range(appended[exchange]))
            assert await cache.count_frames(exchange) == 0
