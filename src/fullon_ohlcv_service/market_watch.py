"""Examine calmly which markets are traded, record it, and let every collector have those that it can collect.

    active     streamed and filled
    halted     not streamed; its history is asked for once for each examination, which are 90 s apart meanwhile
    delisted   not streamed; what is missing since then is unavailable, and all of it where the venue forgot the market
    closed     the whole venue: nothing is asked, what is missing is unavailable

Every state is re-examined; a market that is traded again comes back by itself, and what was called unavailable
meanwhile is a gap again.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Protocol

from fullon_exchange.clock import floor_minute_us
from fullon_exchange.errors import ExchangeError
from fullon_exchange.interface import Exchange, Listing
from fullon_exchange.records import Channel
from fullon_log import get_component_logger
from fullon_ohlcv.records import CandleWrite, Interval, Lifecycle, MarketState, Series, State, TradeWrite
from fullon_ohlcv_service.config.database_config import WantedSymbol, by_exchange
from fullon_ohlcv_service.markets import REASON_MAX, UNSUPPORTED, is_gone, is_served, judge
from fullon_ohlcv_service.runtime import Runtime
from fullon_ohlcv_service.supervisor import Supervisor
from fullon_ohlcv_service.wanted_range import find_starts

EXAMINE_EVERY_S = 3600.0
"""Seconds of the clock between two examinations of a venue's markets."""
HALTED_S = 90.0
"""The same while one of them is halted: most halts are a maintenance of some minutes."""
NEWS_S = 60.0
"""How old the list of markets may be for a new symbol, how long a missing one has to be missing, how soon a doubt is
followed up after the last examination."""


class Wants(Protocol):
    """A collector that is told what it is to collect."""

    async def want(self, wanted: Collection[WantedSymbol]) -> None:
        """Make what is collected exactly this."""


class MarketWatch:
    """Stands between what the database wants and the collectors."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        live: Collection[Wants],
        history: Collection[Wants],
        examine_every_s: float | None = None,
    ) -> None:
        """Build one for these collectors; `examine_every_s` is in seconds of the clock."""
        self._runtime = runtime
        self._live = live
        self._history = history
        self._every_us = round((examine_every_s or EXAMINE_EVERY_S) * 1e6)
        self._wanted: dict[str, set[WantedSymbol]] = {}
        self._closed: dict[str, str] = {}
        self._examined: set[tuple[str, str]] = set()
        self._missing: dict[tuple[str, str], tuple[int, Mapping[str, Listing]]] = {}
        """Of known markets that are not in the list: since when, and in which list first."""
        self._loaded = False
        self._forwarding = asyncio.Lock()
        self._log = get_component_logger("fullon.ohlcv.daemon")
        self._supervisor: Supervisor[str] = Supervisor("fullon.ohlcv.daemon", self._watch_venue)

    async def run(self) -> None:
        """Watch until cancelled; what is wanted is told with `want()`."""
        async with self._supervisor:
            await self._supervisor.want(self._wanted.keys())
            await asyncio.get_running_loop().create_future()

    async def want(self, wanted: Collection[WantedSymbol], refused: Mapping[str, str] | None = None) -> None:
        """Make the watched and collected symbols exactly these.

        `refused` names venues that cannot be collected from, and why: `wanted` has their symbols too.
        """
        await self._load()
        self._wanted = by_exchange(wanted)
        self._closed = dict(refused or {})
        keys = {(one.exchange, one.symbol) for one in wanted}
        self._examined &= keys
        self._missing = {key: since for key, since in self._missing.items() if key in keys}
        for name, why in self._closed.items():
            await self._close(name, why)
        for name in self._wanted:
            self._runtime.markets.doubts(name).set()
            self._show(name)
        await self._forward()
        await self._supervisor.want(self._wanted.keys())

    async def _load(self) -> None:
        """Begin with what was known when the last daemon ended."""
        if not self._loaded:
            for state in (await self._runtime.store.read_states()).values():
                self._runtime.markets.put(state)
            self._loaded = True

    async def _forward(self) -> None:
        """Let each collector have what it can collect."""
        async with self._forwarding:
            open_ = [one for name, each in self._wanted.items() if name not in self._closed for one in each]
            states = {one: self._runtime.markets.get(one.exchange, one.symbol) for one in open_}
            for collector in self._live:
                await collector.want({one for one in open_ if states[one].state is Lifecycle.ACTIVE})
            for collector in self._history:
                await collector.want({one for one in open_ if is_served(states[one])})

    # one venue ----------------------------------------------------------------------------------------

    async def _watch_venue(self, name: str) -> None:
        rt = self._runtime
        doubts = rt.markets.doubts(name)
        due_us = examined_us = 0
        while True:
            now_us = rt.board.now_us(name)
            if name not in self._closed:
                if self._unexamined(name):
                    due_us = now_us
                elif doubts.is_set():
                    due_us = min(due_us, examined_us + round(NEWS_S * 1e6))
                if now_us >= due_us:
                    doubts.clear()
                    age_max_s = NEWS_S / rt.clock.speed if self._unexamined(name) else 0.0
                    exchange, listings = await rt.exchanges.reach(name, age_max_s=age_max_s)
                    examined_us = rt.board.now_us(name)
                    await self._examine(exchange, listings)
                    due_us = examined_us + self._pause_us(name)
            await self._account_for_the_gone(name)
            await self._wait(name, doubts, due_us)

    async def _wait(self, name: str, doubts: asyncio.Event, due_us: int) -> None:
        clock, interval_s = self._runtime.clock, self._runtime.config.collection_interval
        left_s = (due_us - self._runtime.board.now_us(name)) / 1e6
        if 0 < left_s < interval_s:
            interval_s = left_s
        try:
            async with asyncio.timeout(max(0.05, interval_s / clock.speed)):
                if doubts.is_set():
                    await asyncio.sleep(interval_s / clock.speed)
                await doubts.wait()
        except TimeoutError:
            pass

    def _unexamined(self, name: str) -> bool:
        return any((one.exchange, one.symbol) not in self._examined for one in self._wanted.get(name, ()))

    def _pause_us(self, name: str) -> int:
        """Return how long the next examination may wait: not long where a market is missing or halted."""
        if any(exchange == name for exchange, _ in self._missing):
            return min(self._every_us, round(NEWS_S * 1e6))
        states = (self._runtime.markets.get(name, one.symbol).state for one in self._wanted.get(name, ()))
        return min(self._every_us, round(HALTED_S * 1e6)) if Lifecycle.HALTED in states else self._every_us

    async def _examine(self, exchange: Exchange, listings: Mapping[str, Listing]) -> None:
        """Compare what is wanted of a venue with its list of markets, and act on what has changed."""
        rt, name, renamed, unreadable = self._runtime, exchange.name, exchange.renamed(), exchange.unreadable()
        now_us = rt.board.now_us(name)
        wanted = list(self._wanted.get(name, ()))
        found = [MarketState(name, "", Lifecycle.ACTIVE, "", now_us)]
        for one in wanted:
            known = one.symbol not in listings and await self._is_known(one)
            if not self._is_settled(one, listings, known=known, now_us=now_us):
                continue
            was = rt.markets.get(name, one.symbol)
            judged = judge(
                *(name, one.symbol, listings),
                renamed=renamed,
                unreadable=unreadable,
                known=known,
                was=was,
                now_us=now_us,
            )
            listed_id = listings[one.symbol].market_id if one.symbol in listings else ""
            since_us = was.since_us if judged == (was.state, was.reason) and was.since_us else now_us
            found.append(MarketState(name, one.symbol, *judged, since_us, was.market_id or listed_id))
        exchange.pin({state.symbol: state.market_id for state in found if state.symbol})
        await self._record(found, {one.symbol: one for one in wanted})
        rt.markets.note_examined(name, now_us)
        self._examined.update((name, one.symbol) for one in wanted)
        self._show(name)
        await self._forward()

    def _is_settled(self, one: WantedSymbol, listings: Mapping[str, Listing], *, known: bool, now_us: int) -> bool:
        """Tell whether a list may be believed: a known market has to be missing from two, some time apart."""
        key = (one.exchange, one.symbol)
        if not known or not is_served(self._runtime.markets.get(*key)):
            self._missing.pop(key, None)
            return True
        since_us, first = self._missing.setdefault(key, (now_us, listings))
        if now_us - since_us < NEWS_S * 1e6 or listings is first:
            return False
        del self._missing[key]
        return True

    async def _is_known(self, one: WantedSymbol) -> bool:
        """Tell whether a market has ever been listed: a state or a covered minute says so."""
        state = self._runtime.markets.get(one.exchange, one.symbol)
        if state.since_us:
            return state.state is not Lifecycle.DELISTED or is_gone(state)
        store, asked = self._runtime.store, (0, self._runtime.board.now_us(one.exchange))
        found = [await store.find_series(one.exchange, one.symbol, channel) for channel in ("candles1m", "trades")]
        summaries = await store.summaries({series: asked for series in found if series is not None})
        return any(summary.covered_us for summary in summaries.values())

    async def _close(self, name: str, why: str) -> None:
        """Note that nothing can be collected from a venue."""
        try:
            closed = (await self._runtime.exchanges.get(name)).traits.closed_reason is not None
        except ExchangeError:
            closed = False
        reason = f"closed: {name} {why}" if closed else f"{UNSUPPORTED}: {why}"
        now_us = self._runtime.board.now_us(name)
        symbols = {one.symbol: one for one in self._wanted.get(name, ())}
        await self._record(
            [
                MarketState(name, symbol, Lifecycle.CLOSED, reason[:REASON_MAX], now_us, self._market_id(name, symbol))
                for symbol in ("", *symbols)
            ],
            symbols,
        )

    def _market_id(self, name: str, symbol: str) -> str:
        return self._runtime.markets.get(name, symbol).market_id

    async def _record(self, found: Collection[MarketState], wanted: Mapping[str, WantedSymbol]) -> None:
        """Write the states that are news, then go by them."""
        markets = self._runtime.markets
        before = {state: markets.get(state.exchange, state.symbol) for state in found}
        news = {
            state: was
            for state, was in before.items()
            if (state.state, state.reason, state.market_id) != (was.state, was.reason, was.market_id)
            or not was.since_us
        }
        # First the ledger, then the state: who is killed in between finds the old state, and does both again.
        for state, was in news.items():
            if is_gone(was) and (is_served(state) or not is_gone(state)) and state.symbol:
                await self._take_back(wanted[state.symbol])
        await self._runtime.store.set_state(*news)
        for state, was in news.items():
            markets.put(state)
            # A venue's end has been said, once for all of its symbols, by whoever was refused it.
            if state.state is not was.state and state.state is not Lifecycle.CLOSED:
                log = self._log
                if state.symbol:
                    log = get_component_logger(f"fullon.ohlcv.collector.{state.exchange}.{state.symbol}")
                say = log.info if state.state is Lifecycle.ACTIVE else log.warning
                say("state changed", exchange=state.exchange, state=state.state.value, why=state.reason or "traded")

    def _show(self, name: str) -> None:
        for one in self._wanted.get(name, ()):
            self._runtime.board.set_state(self._runtime.markets.get(one.exchange, one.symbol))

    # the ledger of what is gone -----------------------------------------------------------------------

    async def _account_for_the_gone(self, name: str) -> None:
        """Call unavailable what is missing of markets that will not be served any more."""
        rt = self._runtime
        now_us = rt.board.now_us(name)
        ranges: dict[Series, Interval] = {}
        reasons: dict[Series, str] = {}
        gone = [one for one in self._wanted.get(name, ()) if is_gone(rt.markets.get(one.exchange, one.symbol))]
        if not gone:
            return
        for channel in await self._channels_of(name):
            for one, (series, since_us) in (await find_starts(rt, gone, channel)).items():
                state = rt.markets.get(one.exchange, one.symbol)
                start_us = max(since_us, floor_minute_us(state.since_us)) if is_served(state) else since_us
                ranges[series] = (start_us, max(start_us, floor_minute_us(now_us)))
                reasons[series] = state.reason
        lost = {
            series: [(gap, reasons[series]) for gap in gaps]
            for series, gaps in (await rt.store.gaps(ranges)).items()
            if gaps
        }
        await rt.store.write_trades(
            [TradeWrite(series, (), unavailable=gaps) for series, gaps in lost.items() if series.channel == "trades"]
        )
        await rt.store.write_candles(
            [CandleWrite(series, (), unavailable=gaps) for series, gaps in lost.items() if series.channel != "trades"]
        )

    async def _take_back(self, one: WantedSymbol) -> None:
        """Make a gap again of what was called unavailable while a market was gone."""
        store, now_us = self._runtime.store, self._runtime.board.now_us(one.exchange)
        for series in await self._series_of(one):
            for run in await store.coverage_intervals(series, (0, now_us)):
                if run.state is State.UNAVAILABLE and (run.reason or "").startswith(("delisted:", "closed:")):
                    await store.uncover(series, run.interval, why="listed again")

    async def _series_of(self, one: WantedSymbol) -> list[Series]:
        channels = await self._channels_of(one.exchange)
        return [await self._runtime.store.series(one.exchange, one.symbol, channel) for channel in channels]

    async def _channels_of(self, name: str) -> list[Channel]:
        rt = self._runtime
        folded = (await rt.exchanges.get(name)).traits.candles_from_trades
        return ["trades", "candles1m"] if folded or rt.config.collect_trades == "all" else ["candles1m"]
