"""What is known of each symbol right now: its phase, how much of its history is covered, how far behind it is."""

import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fullon_exchange.clock import Clock, floor_minute_us
from fullon_exchange.exchange_clock import ExchangeClock
from fullon_exchange.interface import Exchange, Listing
from fullon_log import get_component_logger
from fullon_ohlcv.records import CoverageSummary, Lifecycle, MarketState
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.markets import OF_STATES, UNKNOWN, UNSUPPORTED, absence_of_pinned, not_listed

RATE_WINDOW_S = 20.0


class Phase(StrEnum):
    """What is being done for a symbol."""

    WAITING = "waiting"
    CATCHING_UP = "catching up"
    LIVE = "live"
    COMPLETE = "complete"
    """Nothing is missing and nothing is streamed."""
    HALTED = "halted"
    """The venue does not trade it now; `problem` says so, as of the next two."""
    DELISTED = "delisted"
    CLOSED = "closed"
    REFUSED = "refused"
    """It cannot be collected; `problem` says why."""


@dataclass(slots=True)
class SymbolStatus:
    """One line of the table. Times in microseconds since the epoch, exchange time."""

    wanted: WantedSymbol
    kind: str
    """What feeds its candles: `candles` or `trades`."""
    phase: Phase = Phase.WAITING
    problem: str = ""
    covered_ratio: float | None = None
    """Share of the wanted range that is covered or known to be unavailable; None while unknown."""
    last_candle_us: int | None = None
    covered_until_us: int | None = None
    """The end of the newest covered minute; None while nothing is covered."""
    lag_s: float | None = None
    """Exchange seconds between the end of the newest covered minute and the last look at the ledger."""
    missing_us: int = 0
    """How much is neither covered nor unavailable, up to what live has promised to prove."""
    deadline_us: int | None = None
    """When the exchange forgets the first minute of what is missing; None where nothing is missing or forgotten."""
    rate_rows_s: float = 0.0
    """Rows stored per second, history and live, over the last seconds."""
    eta_s: float | None = None
    """Seconds until nothing is missing at the present pace; None while it cannot be told."""
    rows: int = 0
    """Rows stored since the start."""
    coarse_us: dict[str, int] = field(default_factory=dict)
    """By timeframe: how much of the range has coarser candles, because the exchange no longer serves those of 1m."""
    doubts: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By channel: since when it cannot be told whether its silent stream is quiet or sick, and why."""
    _samples: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=64), repr=False)

    def refresh(self, summary: CoverageSummary, claim_us: int | None, now_us: int, at_s: float) -> None:
        """Take what the ledger says; `claim_us` is where live has promised to go on, `at_s` a steady clock."""
        missing_us = summary.wanted_us - summary.covered_us - summary.unavailable_us
        if claim_us is not None:
            missing_us -= max(0, floor_minute_us(now_us) - claim_us)
        missing_us = max(0, missing_us)
        self.covered_ratio = 1.0 - missing_us / summary.wanted_us if summary.wanted_us else 1.0
        self.last_candle_us = summary.last_timestamp_us
        self.missing_us = missing_us
        self.covered_until_us = summary.covered_until_us
        self.lag_s = self.lag_at_s(now_us)
        self._samples.append((at_s, self.rows, missing_us))
        while at_s - self._samples[0][0] > RATE_WINDOW_S:
            self._samples.popleft()
        then_s, then_rows, then_missing_us = self._samples[0]
        elapsed_s = at_s - then_s
        self.rate_rows_s = (self.rows - then_rows) / elapsed_s if elapsed_s > 0 else 0.0
        repaired_us = then_missing_us - missing_us
        self.eta_s = None
        if missing_us == 0:
            self.eta_s = 0.0
        elif repaired_us > 0 and elapsed_s > 0:
            self.eta_s = missing_us / repaired_us * elapsed_s
        if self.problem:
            self.phase = Phase.REFUSED
        elif missing_us:
            self.phase = Phase.CATCHING_UP
        else:
            self.phase = Phase.COMPLETE if claim_us is None else Phase.LIVE

    def lag_at_s(self, now_us: int) -> float | None:
        """Return exchange seconds between the end of the newest covered minute and `now_us`; None where none is."""
        return None if self.covered_until_us is None else max(0.0, (now_us - self.covered_until_us) / 1e6)

    @property
    def should_be_fresh(self) -> bool:
        """False of what is not collected: refused, halted, delisted, closed; `problem` says why."""
        return not self.problem


class StatusBoard:
    """The status of every wanted symbol; collectors write to it, the table and the status records read it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._symbols: dict[tuple[str, str], SymbolStatus] = {}
        self.venue_problems: dict[str, str] = {}
        """By venue: why it cannot be reached just now."""
        self.stream_entries: dict[str, int] = {}
        """By venue: entries of its Redis stream that are not stored yet."""
        self.unreadable = ""
        """Why the ledger cannot be looked at just now; the lines are what it said last."""
        self.told = False
        """Whether it is known what is wanted."""
        self.clocks: dict[str, ExchangeClock] = {}
        """By exchange: its own clock."""
        self._refreshed_s = time.monotonic()

    def now_us(self, exchange: str) -> int:
        """Return the time of an exchange; this machine's where it has not been opened yet."""
        return self.clocks.get(exchange, self.clock).now_us()

    def latest_us(self, exchange: str) -> int:
        """Return a time that the exchange's clock has not passed."""
        clock = self.clocks.get(exchange)
        return self.clock.now_us() if clock is None else clock.latest_us()

    def ahead_us(self, exchange: str) -> int:
        """Return how far this machine's clock is ahead of the exchange's time as `now_us` has it."""
        return self.clock.now_us() - self.now_us(exchange) if exchange in self.clocks else 0

    @property
    def age_s(self) -> float:
        """Real seconds since the ledger was looked at last."""
        return time.monotonic() - self._refreshed_s

    def note_refreshed(self) -> None:
        """Note that every line says what the ledger says now."""
        self._refreshed_s = time.monotonic()

    def want(self, wanted: Collection[WantedSymbol]) -> None:
        """Make the lines exactly those of `wanted`, keeping what is known of the ones that stay."""
        self.told = True
        kept = self._symbols
        self._symbols = {}
        for one in sorted(wanted):
            status = kept.get((one.exchange, one.symbol)) or SymbolStatus(one, "")
            status.wanted = one
            self._symbols[one.exchange, one.symbol] = status

    def get(self, exchange: str, symbol: str) -> SymbolStatus | None:
        """Return the line of a symbol; None where it is not wanted."""
        return self._symbols.get((exchange, symbol))

    def lines(self) -> list[SymbolStatus]:
        """Return all lines, sorted by exchange and symbol."""
        return list(self._symbols.values())

    def add_rows(self, exchange: str, symbol: str, rows: int) -> None:
        """Count rows that have been stored."""
        if (status := self.get(exchange, symbol)) is not None:
            status.rows += rows

    def refuse(self, exchange: str, symbol: str, sentence: str) -> None:
        """Say why a symbol cannot be collected, on its line and, where that is news, in the log."""
        if self.set_problem(exchange, symbol, sentence):
            get_component_logger(f"fullon.ohlcv.collector.{exchange}.{symbol}").error("not collected", why=sentence)

    def refuse_unlisted(self, exchange: Exchange, symbol: str, listings: Mapping[str, Listing]) -> None:
        """Show why a symbol that is not listed cannot be collected; of a pinned one the log has it already."""
        name = exchange.name
        if why := absence_of_pinned(name, symbol, exchange.renamed(), exchange.unreadable()):
            self.set_problem(name, symbol, why)
        else:
            self.refuse(name, symbol, not_listed(name, symbol, listings))

    def set_problem(self, exchange: str, symbol: str, sentence: str) -> bool:
        """Say why a symbol cannot be collected; an empty sentence takes it back. True where that is news."""
        status = self.get(exchange, symbol)
        if status is None or status.problem == sentence:
            return False
        status.problem = sentence
        if sentence:
            status.phase = Phase.REFUSED
        return True

    def set_state(self, market: MarketState) -> None:
        """Show the state of a market, and why; what was said of an earlier one is taken back."""
        status = self.get(market.exchange, market.symbol)
        if status is None:
            return
        if market.reason.startswith(UNSUPPORTED):
            # Said already, once for all symbols of the venue.
            self.set_problem(market.exchange, market.symbol, market.reason)
        elif market.reason.startswith(UNKNOWN):
            self.refuse(market.exchange, market.symbol, market.reason)
        elif market.state is not Lifecycle.ACTIVE:
            status.problem = market.reason
            status.phase = Phase(market.state.value)
        elif status.problem.startswith(OF_STATES):
            status.problem = ""
            status.phase = Phase.WAITING

    def take_back(self, exchange: str, symbol: str, sentence: str) -> None:
        """Say no longer that a symbol cannot be collected, where `sentence` is what is said."""
        status = self.get(exchange, symbol)
        if status is not None and status.problem == sentence:
            status.problem = ""
            status.phase = Phase.WAITING

    def doubt(self, exchange: str, symbol: str, channel: str, why: str, now_us: int) -> None:
        """Note that it cannot be told any more whether a symbol's stream is quiet or sick."""
        if (status := self.get(exchange, symbol)) is not None:
            since_us, _ = status.doubts.get(channel, (now_us, ""))
            status.doubts[channel] = (since_us, why)

    def trust(self, exchange: str, symbol: str, channel: str) -> None:
        """Take back what `doubt()` noted."""
        if (status := self.get(exchange, symbol)) is not None:
            status.doubts.pop(channel, None)

    def set_venue_problem(self, exchange: str, sentence: str) -> bool:
        """Say why a venue cannot be reached; an empty sentence takes it back. True where that is news."""
        if self.venue_problems.get(exchange, "") == sentence:
            return False
        if sentence:
            self.venue_problems[exchange] = sentence
        else:
            del self.venue_problems[exchange]
        return True

    def set_coarse(self, exchange: str, symbol: str, amounts_us: Mapping[str, int]) -> None:
        """Note how much of a symbol's range is there in coarser candles only, by timeframe."""
        if (status := self.get(exchange, symbol)) is not None:
            status.coarse_us = dict(amounts_us)

    def set_kind(self, exchange: str, symbol: str, kind: str) -> None:
        """Note what feeds a symbol's candles."""
        if (status := self.get(exchange, symbol)) is not None:
            status.kind = kind
