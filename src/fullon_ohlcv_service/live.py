"""Live collection of one channel: a session per venue, what it delivers, and who takes it."""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

from fullon_exchange.interface import Exchange, LiveSession
from fullon_exchange.records import Channel, Event, Rejected, Subscribed
from fullon_log import get_component_logger
from fullon_ohlcv_service.by_hand import choose_symbols, status_records
from fullon_ohlcv_service.config.database_config import WantedSymbol, by_exchange
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.stale import StaleStreamGuard
from fullon_ohlcv_service.supervisor import Supervisor
from fullon_orm.models import Symbol

GATHER_S = 0.02
"""What arrives within this time is taken together: waking up costs more than an event does."""
REFUSED_AGAIN_S = 3500.0
"""Seconds of the clock after which a refused subscription is tried again when what is wanted is told again."""


class Sink(Protocol):
    """Takes what a session delivers, in order, and brings it to where it is kept."""

    buffer_max: int
    """How many rows may wait."""
    given_up: int
    """Rows that did not fit; their minutes are gaps."""

    @property
    def buffered(self) -> int:
        """How many rows wait."""

    async def run(self) -> None:
        """Write until cancelled."""

    def feed(self, events: list[Event]) -> None:
        """Take events; never waits. What does not fit is given up and counted, and stays uncovered."""

    async def drain(self) -> None:
        """Write what is pending and end every run; bounded in time."""


@dataclass(frozen=True)
class Stream:
    """What serves one venue's channel as long as its session lasts."""

    session: LiveSession
    sink: Sink
    guard: StaleStreamGuard

    def counts(self) -> Counter[str]:
        """Return what has been counted: the session's counters, `resubscribed`, `given_up`."""
        counts = Counter(self.session.counters)
        counts["resubscribed"] += self.guard.resubscribed
        counts["given_up"] += self.sink.given_up
        return counts


class LiveCollector(ABC):
    """Streams one channel of every wanted symbol of every venue that has it as its feed."""

    channel: ClassVar[Channel]
    log_name: ClassVar[str]
    record_type: ClassVar[str]
    """`params["type"]` of the status records of a run by hand."""

    def __init__(
        self,
        symbols: Collection[Symbol] | None = None,
        *,
        runtime: Runtime | None = None,
        on_gap: Callable[[str], None] = lambda exchange: None,
    ) -> None:
        """Build one; `on_gap(exchange)` is called when minutes have been left to history."""
        self._symbols = symbols
        self._runtime = runtime
        self._on_gap = on_gap
        self._wanted: dict[str, set[WantedSymbol]] = {}
        self._added: set[WantedSymbol] = set()
        self._changed: dict[str, asyncio.Event] = {}
        self._subscribed: dict[str, set[str]] = {}
        self.streams: dict[str, Stream] = {}
        """By venue: what is streamed now."""
        self._counted: dict[str, Counter[str]] = {}
        """By venue: what sessions that have ended had counted."""
        self._refused: dict[tuple[str, str], tuple[int, str]] = {}
        """By exchange and symbol: when a subscription was refused, and what has been said of it."""
        self._log = get_component_logger(self.log_name)
        self._supervisor: Supervisor[str] = Supervisor(self.log_name, self._serve_venue)
        self._say_status: Callable[[], Awaitable[None]] | None = None
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    @abstractmethod
    def serves(self, exchange: Exchange) -> bool:
        """Tell whether this collector streams from the venue."""

    @abstractmethod
    def _sink(self, exchange: Exchange) -> Sink:
        """Return where the venue's events go."""

    def _understands(self, exchange: str, symbol: str) -> bool:
        """Tell whether it is known what the times of a symbol's stream mean."""
        return True

    def counts(self) -> dict[str, Counter[str]]:
        """Return by venue what has been counted since the start; see `Stream.counts`."""
        venues = self._counted.keys() | self.streams.keys()
        return {name: self._counts_of(name) for name in sorted(venues)}

    def _counts_of(self, name: str) -> Counter[str]:
        stream = self.streams.get(name)
        return self._counted.get(name, Counter()) + (Counter() if stream is None else stream.counts())

    # for the daemon -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Stream until cancelled; what is wanted is told with `want()`."""
        async with self._supervisor:
            await self._supervisor.want(self._wanted.keys())
            await asyncio.get_running_loop().create_future()

    async def want(self, wanted: Collection[WantedSymbol]) -> None:
        """Make the streamed symbols exactly these; venues without any have stopped on return."""
        self._wanted = by_exchange(wanted)
        await self._supervisor.want(self._wanted.keys())
        for changed in self._changed.values():
            changed.set()

    # by hand ------------------------------------------------------------------------------------------

    async def start_collection(self) -> None:
        """Stream the given symbols, or all of the database, until `stop_collection()` or cancelled.

        Raises:
            RuntimeError: it is streaming already.
        """
        await self._collect_by_hand(self._symbols)

    async def start_symbol(self, symbol: Symbol) -> None:
        """Stream `symbol`, and of the others only those that are added, until `stop_collection()` or cancelled.

        Raises:
            RuntimeError: it is streaming already.
            ValueError: not a symbol with a name and an exchange.
        """
        await self._collect_by_hand([symbol])

    async def _collect_by_hand(self, symbols: Collection[Symbol] | None) -> None:
        if not self._ended.is_set():
            raise RuntimeError("this collector is streaming already; add_symbol() adds to it")
        self._ended.clear()
        self._stop.clear()
        try:
            async with AsyncExitStack() as stack:
                await self._prepare_by_hand(stack, symbols)
                async with asyncio.TaskGroup() as group:
                    streaming = group.create_task(self._run_by_hand())
                    await self._stop.wait()
                    streaming.cancel()
        finally:
            self._ended.set()

    async def _prepare_by_hand(self, stack: AsyncExitStack, symbols: Collection[Symbol] | None) -> None:
        alone = self._runtime is None
        if alone:
            self._runtime = await stack.enter_async_context(self._open_runtime())
            stack.callback(setattr, self, "_runtime", None)
            stack.callback(setattr, self, "_say_status", None)
        chosen = await choose_symbols(symbols, self._rt.config)
        self._wanted = by_exchange(chosen | self._added)
        if alone:
            self._show(self._everything())
            health_s = self._rt.config.health_interval
            self._say_status = await stack.enter_async_context(
                status_records(self._rt.process_cache, self._everything, self.record_type, health_s)
            )

    def _open_runtime(self) -> AbstractAsyncContextManager[Runtime]:
        return open_runtime()

    async def _run_by_hand(self) -> None:
        await self.run()

    async def stop_collection(self) -> None:
        """End `start_collection()`; what has arrived is written first. Harmless when nothing runs."""
        self._stop.set()
        await self._ended.wait()

    def is_collecting(self, symbol: Symbol) -> bool:
        """Tell whether the venue has been asked for `symbol`."""
        one = WantedSymbol.from_orm(symbol)
        return one.symbol in self._subscribed.get(one.exchange, ())

    async def add_symbol(self, symbol: Symbol) -> None:
        """Stream `symbol` too: from now on, or once `start_collection()` is called."""
        one = WantedSymbol.from_orm(symbol)
        self._added.add(one)
        if self._runtime is not None:
            everything = self._everything() | {one}
            self._show(everything)
            await self.want(everything)
            if self._say_status is not None:
                await self._say_status()

    def _show(self, wanted: Collection[WantedSymbol]) -> None:
        board = self._rt.board
        board.want({*wanted, *(line.wanted for line in board.lines())})

    def _everything(self) -> set[WantedSymbol]:
        return {one for symbols in self._wanted.values() for one in symbols}

    # one venue ----------------------------------------------------------------------------------------

    @property
    def _rt(self) -> Runtime:
        if self._runtime is None:
            raise RuntimeError("the collector has no runtime: call start_collection(), or pass one")
        return self._runtime

    async def _serve_venue(self, name: str) -> None:
        exchange = await self._rt.exchanges.get(name)
        if not self.serves(exchange):
            return
        changed = self._changed.setdefault(name, asyncio.Event())
        self._subscribed[name] = set()
        sink = self._sink(exchange)
        await self._rt.exchanges.reach(name)
        try:
            async with exchange.live() as session, asyncio.TaskGroup() as group:
                group.create_task(sink.run())
                group.create_task(self._follow_wanted(exchange.name, session, changed))
                guard = StaleStreamGuard(
                    self._rt, exchange, session, self.channel, self._on_gap, understood=partial(self._understands, name)
                )
                group.create_task(guard.run())
                self.streams[name] = Stream(session, sink, guard)
                try:
                    async for events in session.events():
                        sink.feed(events)
                        guard.feed(events)
                        self._note_answers(name, events)
                        await asyncio.sleep(GATHER_S)
                finally:
                    self._counted[name] = self._counts_of(name)
                    del self.streams[name]
        finally:
            self._subscribed[name] = set()
            await sink.drain()

    async def _follow_wanted(self, name: str, session: LiveSession, changed: asyncio.Event) -> None:
        subscribed = self._subscribed[name]
        while True:
            changed.clear()
            exchange, listings = await self._rt.exchanges.reach(name)
            wanted = {one.symbol for one in self._wanted.get(name, ())}
            for symbol in sorted(wanted - listings.keys()):
                self._rt.board.refuse_unlisted(exchange, symbol, listings)
            wanted -= self._still_refused(name, wanted)
            surplus = subscribed - wanted
            missing = (wanted & listings.keys()) - subscribed
            subscribed -= surplus
            subscribed |= missing
            if surplus:
                await session.unsubscribe(self.channel, sorted(surplus))
            if missing:
                await session.subscribe(self.channel, sorted(missing))
            await changed.wait()

    def _still_refused(self, name: str, wanted: Collection[str]) -> set[str]:
        """Return what was refused a short time ago; a refusal of what is not wanted any more is forgotten."""
        due_us = self._rt.clock.now_us() - round(REFUSED_AGAIN_S * 1e6)
        self._refused = {key: why for key, why in self._refused.items() if key[0] != name or key[1] in wanted}
        return {symbol for (exchange, symbol), why in self._refused.items() if exchange == name and why[0] > due_us}

    def stop_stream(self, name: str, symbol: str, sentence: str) -> None:
        """Stop streaming a symbol and say why; it is tried again as one that the venue has refused."""
        sentence = f"{name} {self.channel}: {sentence}"
        self._refused[name, symbol] = (self._rt.clock.now_us(), sentence)
        self._rt.board.refuse(name, symbol, sentence)
        self._changed[name].set()

    def _note_answers(self, name: str, events: list[Event]) -> None:
        """Say what the venue refuses, until it is asked again and accepts it."""
        board = self._rt.board
        for event in events:
            if isinstance(event, Rejected):
                sentence = f"{name} refused {event.channel}: {event.reason}"
                self._refused[name, event.symbol] = (self._rt.clock.now_us(), sentence)
                self._subscribed[name].discard(event.symbol)
                board.refuse(name, event.symbol, sentence)
                self._rt.markets.doubt(name)
            elif isinstance(event, Subscribed) and (said := self._refused.pop((name, event.symbol), None)):
                board.take_back(name, event.symbol, said[1])
