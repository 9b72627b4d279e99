"""Keeps the live candles of a series back until their convention has been compared with REST.

A stream that has told no trade yet cannot have stamped one wrongly: its empty minutes pass. With the first candle that
has volume everything of the series is held, promises included, until that candle is closed and REST knows it too.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from fullon_exchange.clock import MINUTE_US, Clock
from fullon_exchange.errors import ExchangeError, NotSupported, TransientExchangeError
from fullon_exchange.history import Settle
from fullon_exchange.interface import Exchange, Urgency
from fullon_exchange.records import Candles, Event, Subscribed
from fullon_log import get_component_logger
from fullon_ohlcv.records import CandleRow
from fullon_ohlcv_service.ohlcv.candle_builder import CandleBatch
from fullon_ohlcv_service.ohlcv.convention import DECISIVE, SHIFT_MAX, Comparison, Verdict, compare, decide, describe

HELD_MINUTES_MAX = 30
"""How much of a series is held while REST does not answer; beyond it all is left to history."""
CHECKS_MAX = 16
"""Series of one venue that are compared side by side; they share its rate budget."""
LOOK_EVERY_S = 0.5
RETRY_S = 5.0


@dataclass(slots=True)
class _Held:
    batch: CandleBatch = field(default_factory=CandleBatch)
    since_us: int | None = None
    """What was promised of the series when holding began."""
    claim_us: int | None = None
    """What would be promised by now."""
    comparisons: list[Comparison] = field(default_factory=list)
    """Of this run and of those before it: a stream that breaks off again and again is found out all the same."""
    not_before_us: int = 0
    checking: bool = False

    def waits_too_long(self) -> bool:
        """Tell whether more is held than may be."""
        return (self.claim_us or 0) - (self.since_us or 0) > HELD_MINUTES_MAX * MINUTE_US

    def next_minute_us(self) -> int | None:
        """Return the first closed minute with trades that has not been compared; None while there is none."""
        done_us = self.comparisons[-1].timestamp_us if self.comparisons else -1
        return min((row[0] for row in self.batch.rows if row[5] > 0 and row[0] > done_us), default=None)


class ConventionGate:
    """The gate of one venue's live candles."""

    def __init__(
        self,
        clock: Clock,
        exchange: Exchange,
        *,
        checked: set[str],
        release: Callable[[str, CandleBatch, int | None], None],
        stop: Callable[[str, str], None],
    ) -> None:
        """Build one.

        `checked` are the symbols that are known to be right, `release(symbol, batch, claim_us)` takes what has been
        held (None: no other promise than before), and `stop(symbol, sentence)` ends a stream that speaks another
        convention.
        """
        self._clock = clock
        self._exchange = exchange
        self._checked = checked
        self._release = release
        self._stop = stop
        self._held: dict[str, _Held] = {}
        self._comparisons: dict[str, list[Comparison]] = {}
        """Of runs that have ended before there was a verdict."""
        self._stopped: set[str] = set()
        """Symbols of which nothing is believed until they are subscribed anew."""
        self._log = get_component_logger("fullon.ohlcv.live")

    def hear(self, events: Iterable[Event]) -> None:
        """Begin to hold every series that tells its first trade."""
        for event in events:
            if isinstance(event, Candles):
                for candle in event.records:
                    if candle.symbol not in self._checked and candle.volume > 0:
                        self._begin(candle.symbol)
            elif isinstance(event, Subscribed):
                self._stopped.discard(event.symbol)

    def hold(self, batches: dict[str, CandleBatch], claims: dict[str, int | None]) -> None:
        """Take out of what is to be stored and promised what must wait; a run that has ended takes all with it."""
        for symbol in self._stopped & batches.keys():
            _keep_doubts(batches, symbol)
        for symbol in self._stopped & claims.keys():
            claims[symbol] = None
        for symbol in [one for one, claim_us in claims.items() if claim_us is None and one in self._held]:
            held = self._held.pop(symbol)
            self._comparisons[symbol] = held.comparisons
            batches[symbol] = _join(held.batch, batches.get(symbol))
            _keep_doubts(batches, symbol)
        for symbol, held in self._held.items():
            if symbol in batches:
                held.batch.extend(batches.pop(symbol))
            if (claim_us := claims.pop(symbol, None)) is not None:
                held.claim_us = claim_us
                held.since_us = held.since_us or claim_us
            if held.waits_too_long():
                batches[symbol] = held.batch
                _keep_doubts(batches, symbol)
                claims[symbol] = held.since_us = held.claim_us
                held.batch = CandleBatch()

    async def run(self) -> None:
        """Compare until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                now_us = self._clock.now_us()
                busy = sum(held.checking for held in self._held.values())
                for symbol, held in list(self._held.items()):
                    minute_us = held.next_minute_us()
                    if minute_us is None or held.checking or max(held.not_before_us, self._due_us(minute_us)) > now_us:
                        continue
                    if busy < CHECKS_MAX:
                        busy += 1
                        held.checking = True
                        group.create_task(self._check(symbol, held, minute_us))
                await self._clock.sleep(LOOK_EVERY_S)

    def _begin(self, symbol: str) -> None:
        if symbol not in self._held:
            self._held[symbol] = _Held(comparisons=self._comparisons.pop(symbol, []))

    def _due_us(self, minute_us: int) -> int:
        """Return when REST surely has all of a minute."""
        return minute_us + MINUTE_US + self._clock.now_us() - Settle().until_us(self._clock)

    async def _check(self, symbol: str, held: _Held, minute_us: int) -> None:
        try:
            rest, known_us = await self._ask(symbol, minute_us)
        except NotSupported:
            rest, known_us = None, 0
        except ExchangeError as error:
            held.not_before_us = self._clock.now_us() + round(RETRY_S * 1e6)
            self._log.info(
                "live candles wait to be compared with REST",
                exchange=self._exchange.name,
                symbol=symbol,
                why=str(error),
            )
            return
        finally:
            held.checking = False
        live = next((row for row in reversed(held.batch.rows) if row[0] == minute_us), None)
        if self._held.get(symbol) is not held or live is None:
            return
        if rest is not None:
            found = compare(live, rest)
            if found.finding not in DECISIVE and known_us < minute_us + 2 * MINUTE_US:
                # It may be the next interval's, which REST does not know yet.
                held.not_before_us = self._due_us(minute_us + MINUTE_US)
                return
            held.comparisons.append(found)
        self._judge(symbol, held)

    async def _ask(self, symbol: str, minute_us: int) -> tuple[Mapping[int, CandleRow] | None, int]:
        """Return what REST has of a minute and around it, and up to when.

        Raises:
            ExchangeError: REST does not know the minute yet, or does not answer.
        """
        span_us = SHIFT_MAX * MINUTE_US
        pages = self._exchange.fetch_candles(
            symbol, "1m", minute_us - span_us, minute_us + span_us + MINUTE_US, urgency=Urgency.LIVE
        )
        rows: dict[int, CandleRow] = {}
        known_us = 0
        async with aclosing(pages) as open_pages:  # type: ignore[type-var]  # a generator, declared as an iterator
            async for page in open_pages:
                known_us = max(known_us, page.interval[1])
                for one in page.records:
                    values = (one.open, one.high, one.low, one.close, one.volume, one.trades)
                    rows[one.timestamp_us] = (one.timestamp_us, *values)
        if known_us <= minute_us:
            raise TransientExchangeError("REST does not know the minute yet", exchange=self._exchange.name)
        return rows, known_us

    def _judge(self, symbol: str, held: _Held) -> None:
        """Store, wait or stop; where the venue has nothing to compare with, store."""
        verdict = decide(held.comparisons) if held.comparisons else Verdict.STORE
        if verdict is Verdict.WAIT:
            return
        del self._held[symbol]
        if verdict is Verdict.STORE:
            self._checked.add(symbol)
            self._release(symbol, held.batch, held.claim_us)
            return
        self._stopped.add(symbol)
        if held.batch.suspect:
            self._release(symbol, CandleBatch(suspect=held.batch.suspect), None)
        self._stop(symbol, f"{describe(held.comparisons)}: not streamed, history goes on over REST")


def _join(earlier: CandleBatch, later: CandleBatch | None) -> CandleBatch:
    if later is not None:
        earlier.extend(later)
    return earlier


def _keep_doubts(batches: dict[str, CandleBatch], symbol: str) -> None:
    """Keep of a batch what has to be taken back even if nothing of it is stored."""
    suspect = batches.pop(symbol).suspect
    if suspect:
        batches[symbol] = CandleBatch(suspect=suspect)
