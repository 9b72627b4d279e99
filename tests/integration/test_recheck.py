"""What live has stored is read again over REST: a difference is corrected, kept as a revision, and counted."""

import json
from collections.abc import Iterable

import pytest
from support import eventually, running_daemon

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_simulator import Connection, Frame, Outlet, SimulatedMarket


class WrongOnce(Outlet):
    """Sends one closed candle of BTCUSDT, of a traded minute from `after_us` on, with another volume than it had."""

    def __init__(self, after_us: int) -> None:
        self.after_ms = after_us // 1000
        self.sent: list[int] = []

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        message = json.loads(frame.text)
        kline = message.get("data", message).get("k", {})
        traded = (kline.get("s"), kline.get("x")) == ("BTCUSDT", True) and kline["n"] > 0
        if traded and kline["t"] >= self.after_ms and not self.sent:
            kline["v"] = "1.5"
            self.sent.append(kline["t"] * 1000)
        return (frame._replace(text=json.dumps(message)),)


async def test_a_live_candle_that_differs_from_rest_is_corrected_and_kept_as_a_revision(
    seeded: SimulatedMarket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for a while no reading confirms anything of the series, for history may have been wrong."""
    monkeypatch.setattr("fullon_ohlcv_service.recheck.SUSPECT_US", 24 * 60 * MINUTE_US)
    outlet = seeded.venue("binance").outlet = WrongOnce(floor_minute_us(clock.now_us()) + 4 * MINUTE_US)
    async with running_daemon() as daemon:
        await eventually(lambda: bool(outlet.sent), "the wrong candle on the wire")
        (minute_us,) = outlet.sent
        interval = (minute_us, minute_us + MINUTE_US)
        assert daemon._runtime is not None
        store = daemon._runtime.store
        series = await store.series("binance", "BTC/USDT", "candles1m")

        async def revised() -> bool:
            return bool(await store.read_revisions(series, interval))

        await eventually(revised, "the correction")
        (revision,) = await store.read_revisions(series, interval)
        (truth,) = seeded.truth("binance", "BTC/USDT").candles(*interval)
        assert revision.why == "read again over REST"
        assert revision.before[5] == 1.5
        assert revision.after == tuple(truth)
        assert await store.read_candles(series, interval) == [tuple(truth)]

        collecting = daemon._condition.collecting
        assert collecting is not None
        assert collecting.rechecker is not None
        rechecker, begun_us = collecting.rechecker, collecting.rechecker._due_us[series]
        await eventually(lambda: rechecker._due_us[series] > begun_us, "it is read again")
        read = rechecker.rechecked_minutes
        await eventually(lambda: rechecker.rechecked_minutes > read, "it has been read again")
        assert await store.unconfirmed({series: interval}) == {series: [interval]}
