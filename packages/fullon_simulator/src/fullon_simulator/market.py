"""The simulated market: venues on loopback ports, and the truth about what they have published."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Self

from fullon_simulator.binance import Binance
from fullon_simulator.bitmex import Bitmex
from fullon_simulator.catalogue import default_symbols
from fullon_simulator.clock import MarketClock, VenueClock
from fullon_simulator.control import Control
from fullon_simulator.conventions import CONVENTIONS
from fullon_simulator.faults_active import Faults
from fullon_simulator.hyperliquid import Hyperliquid
from fullon_simulator.kraken import Kraken
from fullon_simulator.sockets import Counters
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import BlockCache, Tape, TapeCandle, TapeTrade
from fullon_simulator.venue import Venue

Markets = int | Sequence[SymbolSpec | Tape]
"""How many of the venue's default markets, or which ones: specs are generated, tapes taken as they are."""


class Truth:
    """What one symbol's market has published by now, and nothing of what it will."""

    def __init__(self, tape: Tape, clock: MarketClock) -> None:
        self._tape = tape
        self._clock = clock

    @property
    def listed_at_us(self) -> int:
        """When the market was listed, which is when its first trade happened (on BitMEX, the full hour before)."""
        return self._tape.listed_at_us

    @property
    def ended_at_us(self) -> int | None:
        """When the market was delisted or its venue closed; None while it is there."""
        return self._tape.ended_at_us

    @property
    def pauses(self) -> tuple[tuple[int, int | None], ...]:
        """When nothing could be traded, `[start_us, end_us)` each: halts, and for ever after the end."""
        return self._tape.pauses

    def trades(self, start_us: int, end_us: int) -> list[TapeTrade]:
        """Return the published trades of `[start_us, end_us)`, oldest first."""
        return self._tape.trades(start_us, min(end_us, self._clock.now_us()))

    def aggregates(self, start_us: int, end_us: int) -> list[TapeTrade]:
        """Return the published aggregates of `[start_us, end_us)` (Binance's aggTrades), oldest first."""
        return self._tape.aggregates(start_us, min(end_us, self._clock.now_us()))

    def published_trades(self, start_us: int, end_us: int) -> list[TapeTrade]:
        """Return what a collector of the market's trades gets: its aggregates where it publishes those."""
        publish = self.aggregates if self._tape.convention.publishes_aggregates else self.trades
        return publish(start_us, end_us)

    @property
    def serves_trades(self) -> bool:
        """True where past trades are served over REST."""
        return self._tape.convention.serves_trades

    def candles(self, start_us: int, end_us: int, timeframe_s: int = 60) -> list[TapeCandle]:
        """Return the closed, non-empty candles that lie wholly in `[start_us, end_us)`, oldest first."""
        return self._tape.candles(start_us, min(end_us, self._clock.now_us()), timeframe_s)


class SimulatedMarket:
    """Kraken, Binance, Hyperliquid and BitMEX on loopback ports, as an async context manager.

    `venues` says which markets each has. Without `clock` it is that of `FULLON_CLOCK`, read at construction.
    `rate_limits=False` lets every request through; `mixed_frames=True` lets Kraken and BitMEX put trades of several
    symbols into one message; `recent_listing_us` is when every fifth default market opens. `faults` is where things
    go wrong on request.

    Raises:
        ValueError: an unknown venue, or a symbol named twice.
        PortUnavailable: on entering, a port of `ports` is taken.
    """

    def __init__(
        self,
        venues: Mapping[str, Markets],
        *,
        seed: int = 7,
        clock: MarketClock | None = None,
        ports: Mapping[str, int] | None = None,
        rate_limits: bool = True,
        mixed_frames: bool = False,
        recent_listing_us: int | None = None,
    ) -> None:
        self.clock = clock or MarketClock.from_env()
        self.seed = seed
        self._ports = dict(ports or {})
        self._venues: dict[str, Venue] = {}
        clocks: dict[str, VenueClock] = {}
        self._stopping = asyncio.Event()
        self._exit = AsyncExitStack()
        cache = BlockCache()
        for name, markets in venues.items():
            chosen: Sequence[SymbolSpec | Tape] = (
                default_symbols(name, markets, recent_listing_us=recent_listing_us)
                if isinstance(markets, int)
                else markets
            )
            tapes: dict[str, Tape] = {}
            for market in chosen:
                tape = market if isinstance(market, Tape) else Tape(seed, name, market)
                tape.share(cache)
                if tapes.setdefault(tape.spec.symbol, tape) is not tape:
                    raise ValueError(f"{name} is given {tape.spec.symbol} twice; allowed is once")
            venue_clock = clocks[name] = VenueClock(self.clock)
            if name == "kraken":
                self._venues[name] = Kraken(tapes, venue_clock, limited=rate_limits, mixed_frames=mixed_frames)
            elif name == "binance":
                self._venues[name] = Binance(tapes, venue_clock, limited=rate_limits)
            elif name == "hyperliquid":
                self._venues[name] = Hyperliquid(tapes, venue_clock, limited=rate_limits)
            elif name == "bitmex":
                self._venues[name] = Bitmex(tapes, venue_clock, limited=rate_limits, mixed_frames=mixed_frames)
            else:
                raise ValueError(f"venue is {name!r}; allowed are {', '.join(CONVENTIONS)}")
        self.faults = Faults(self._venues, clocks, self.clock, seed)
        for name, venue in self._venues.items():
            venue.control = Control(self.faults, name).handle

    async def __aenter__(self) -> Self:
        """Listen on every port and let time pass."""
        try:
            tasks = await self._exit.enter_async_context(asyncio.TaskGroup())
            self._exit.callback(self._stopping.set)
            for name, venue in self._venues.items():
                await venue.start(self._ports.get(name, 0))
                tasks.create_task(venue.run(self._stopping))
            tasks.create_task(self.faults.run(self._stopping))
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every socket and port."""
        await self._exit.aclose()

    def venue(self, name: str) -> Venue:
        """Return a venue by name."""
        if name not in self._venues:
            raise ValueError(f"venue is {name!r}; this market has {', '.join(self._venues)}")
        return self._venues[name]

    def origin(self, name: str) -> str:
        """Return scheme, host and port of a venue, for instance `http://127.0.0.1:40123`."""
        return self.venue(name).origin

    def origins(self) -> dict[str, str]:
        """Return the origins of all venues."""
        return {name: venue.origin for name, venue in self._venues.items()}

    def environment(self) -> dict[str, str]:
        """Return the variables that point programs at this market and its clock."""
        origins = {f"FULLON_{name.upper()}_ORIGIN": origin for name, origin in self.origins().items()}
        return origins | self.clock.environment()

    def symbols(self, name: str) -> list[str]:
        """Return the symbols of a venue, listed or not yet."""
        return list(self.venue(name).tapes)

    def truth(self, name: str, symbol: str) -> Truth:
        """Return the truth about one symbol."""
        tapes = self.venue(name).tapes
        if symbol not in tapes:
            raise ValueError(f"symbol is {symbol!r}; {name} has {', '.join(tapes)}")
        return Truth(tapes[symbol], self.clock)

    def requests(self, name: str) -> Counters:
        """Return what a venue was asked and what it sent, as counters that go on counting."""
        return self.venue(name).counters
