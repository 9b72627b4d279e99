"""What live has stored is read again over REST: a difference is corrected, kept as a revision, and counted."""

import json
from collections.abc import Iterable

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
    seeded: SimulatedMarket, clock: Clock
) -> None:
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
