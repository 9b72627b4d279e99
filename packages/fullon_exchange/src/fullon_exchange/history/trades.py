"""Page through public trades.

Any page may break off inside an instant, so it claims up to its last row's timestamp and hands the rows of that
instant on to the next page. Nothing new after the cursor is the end: everything before the settled time is in.
Where ids are consecutive, a skipped one is asked for once more and then accepted as the exchange's own truth.
"""

import itertools
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from operator import attrgetter
from typing import Protocol

from fullon_exchange.answers import TradeAnswer, VenueFacts
from fullon_exchange.clock import Clock, ceil_minute_us, floor_minute_us
from fullon_exchange.errors import MalformedMessage, PageStuck
from fullon_exchange.history import reasons
from fullon_exchange.history.reasons import Settle
from fullon_exchange.records import Interval, Page, Trade
from fullon_exchange.timeframes import HOUR_US, SECOND_US
from fullon_log import get_component_logger

_VOID_MAX_US = HOUR_US
"""A first trade later than this after the asked start makes us ask when the market began."""
_PROBE_VOID_US = SECOND_US
"""A first trade later than this after the asked start may mean that the venue ignored the start."""
_time_us = attrgetter("timestamp_us")


class TradeSource(Protocol):
    """One venue's public trades of one symbol."""

    exchange: str
    symbol: str
    sequential: bool
    """True where trade ids are consecutive integers."""
    facts: VenueFacts

    def first_cursor(self, start_us: int) -> int:
        """Return the cursor for everything at or after `start_us`."""

    async def fetch(self, cursor: int) -> TradeAnswer:
        """Ask for the trades after `cursor`; rows that an earlier answer gave may come again."""

    async def fetch_listed_us(self, start_us: int) -> int | None:
        """Return the time of the market's first trade ever; None where it has none or the venue cannot tell.

        From memory if that was before `start_us`, and asked anew if it was not.
        """


async def trade_pages(
    source: TradeSource, start_us: int, end_us: int, *, clock: Clock, settle: Settle
) -> AsyncIterator[Page[Trade]]:
    """Yield the trades of `[start_us, end_us)` page by page; see `Exchange.fetch_trades`.

    Raises:
        PageStuck: the cursor does not advance although there is more.
        MalformedMessage: an answer holds nothing that can be read.
    """
    pager = _TradePager(source, start_us, end_us, clock, settle)
    while pager.position < pager.end_us:
        for page in await pager.advance():
            yield page


class _TradePager:
    """Where paging stands: everything before `position` has been yielded or named."""

    def __init__(self, source: TradeSource, start_us: int, end_us: int, clock: Clock, settle: Settle) -> None:
        self.position = start_us
        self.end_us = end_us
        self._source = source
        self._start_us = start_us
        self._clock = clock
        self._settle = settle
        self._cursor = source.first_cursor(start_us)
        self._known: set[str] = set()
        self._carried: list[Trade] = []
        self._doubtful = False
        """Whether the last answer had skipped ids or unreadable rows, also when asked for again."""
        self._first = True
        self._has_void = False
        """Whether any answer had a void row."""
        self._log = get_component_logger("fullon.exchange.history")

    async def advance(self) -> list[Page[Trade]]:
        """Ask for one page and return what it proves; sets `position` to where that ends."""
        settled_us = min(self.end_us, self._settle.until_us(self._clock))
        if settled_us <= self.position:
            self.end_us = self.position
            return []
        answer = await self._fetch()
        if self._first and not self._source.facts.honours_cursor and self._leaves_void(answer, settled_us):
            probe = await self._source.fetch(answer.following)
            if not probe.honoured:
                return self._newest_only(probe, settled_us)
            self._source.facts.honours_cursor = True
        elif not answer.honoured and not any(row.trade_id in self._known for row in answer.rows):
            return self._newest_only(answer, settled_us)
        elif not self._first and answer.honoured:
            self._source.facts.honours_cursor = True
        return await self._take(answer, settled_us)

    async def _take(self, answer: TradeAnswer, settled_us: int) -> list[Page[Trade]]:
        """Turn an answer that continues at the cursor into pages."""
        fresh = self._fresh(answer)
        self._note_void(fresh)
        blocked = self._blocked(answer)
        self._require_progress(answer, fresh)
        unavailable = await self._listed_later(fresh, settled_us) if self._first else []
        self._first = False
        late = [row for row in fresh if row.timestamp_us < self.position]
        if late:
            self._log.warning(
                "trades out of order, delivered late",
                exchange=self._source.exchange,
                symbol=self._source.symbol,
                trades=len(late),
            )
        rows = sorted(self._carried + fresh, key=_time_us)
        claim_us = settled_us
        if fresh and rows[-1].timestamp_us < settled_us:
            claim_us = max(self.position, rows[-1].timestamp_us)
        pages = self._pages(rows, claim_us, unavailable, blocked)
        if late:
            pages.insert(
                0,
                Page(
                    [row for row in late if row.volume], (pages[0].interval[0],) * 2 if pages else (self.position,) * 2
                ),
            )
        self._carried = rows[bisect_left(rows, self.position, key=_time_us) :]
        self._known = {row.trade_id for row in answer.rows}
        self._cursor = answer.following
        if claim_us == settled_us:
            self.end_us = self.position
        return pages

    async def _fetch(self) -> TradeAnswer:
        """Ask, and once more where ids are skipped or rows unreadable; keep the better answer."""
        self._doubtful = False
        answer = await self._source.fetch(self._cursor)
        flaws = self._skipped_ids(answer) + len(answer.unreadable)
        if not flaws:
            return answer
        again = await self._source.fetch(self._cursor)
        flaws_again = self._skipped_ids(again) + len(again.unreadable)
        if flaws_again <= flaws:
            answer, flaws = again, flaws_again
        self._doubtful = bool(flaws)
        if flaws:
            self._log.warning(
                "trade history has holes of the exchange's own",
                exchange=self._source.exchange,
                symbol=self._source.symbol,
                cursor=self._cursor,
                skipped_ids=self._skipped_ids(answer),
                unreadable=len(answer.unreadable),
            )
        return answer

    def _fresh(self, answer: TradeAnswer) -> list[Trade]:
        """Return the rows of an answer that have not been seen and are not older than the asked start."""
        known, start_us = self._known, self._start_us
        rows = [row for row in answer.rows if row.trade_id not in known and row.timestamp_us >= start_us]
        if len({row.trade_id for row in rows}) == len(rows):
            return rows
        first: dict[str, Trade] = {}
        for row in rows:
            first.setdefault(row.trade_id, row)
        return list(first.values())

    def _note_void(self, rows: Sequence[Trade]) -> None:
        void = sum(1 for row in rows if not row.volume)
        if void:
            self._has_void = True
            self._source.facts.void_rows += void
            self._log.debug(
                "rows that say nothing", exchange=self._source.exchange, symbol=self._source.symbol, rows=void
            )

    def _skipped_ids(self, answer: TradeAnswer) -> int:
        """Return how often consecutive ids are not consecutive; 0 where the venue's ids are no sequence."""
        if not self._source.sequential:
            return 0
        ids = [int(row.trade_id) for row in answer.rows if row.trade_id not in self._known]
        if self._known:
            ids.insert(0, max(map(int, self._known)))
        if not ids or ids == list(range(ids[0], ids[0] + len(ids))):
            return 0
        return sum(1 for earlier, later in itertools.pairwise(ids) if later != earlier + 1)

    def _leaves_void(self, answer: TradeAnswer, settled_us: int) -> bool:
        """Tell whether the first answer begins suspiciously late, as if the venue had ignored the start."""
        return bool(answer.rows) and min(answer.rows[0].timestamp_us, settled_us) - self._start_us > _PROBE_VOID_US

    def _newest_only(self, answer: TradeAnswer, settled_us: int) -> list[Page[Trade]]:
        """Take an answer of the newest trades, unconnected to what came before: the rest is not served.

        Trades of the first row's instant may be cut off, so the claim begins right after it.
        """
        begin_us = min(max(answer.rows[0].timestamp_us + 1, self.position), settled_us)
        reason = f"{reasons.START_IGNORED}: {self._source.exchange} answers with its newest trades"
        lost = [((self.position, begin_us), reason)] if begin_us > self.position else []
        rows = [row for row in answer.rows if begin_us <= row.timestamp_us < settled_us and row.volume]
        self.position = self.end_us = settled_us
        return [Page(sorted(rows, key=_time_us), (begin_us, settled_us), lost, self._doubtful)]

    def _require_progress(self, answer: TradeAnswer, fresh: Sequence[Trade]) -> None:
        facts = (
            f"asked for trades after cursor {self._cursor}, answered {len(answer.rows)} rows "
            f"({len(fresh)} new, {len(answer.unreadable)} unreadable), next cursor {answer.following}"
        )
        where = {"exchange": self._source.exchange, "symbol": self._source.symbol}
        if answer.unreadable and not answer.rows:
            raise MalformedMessage(f"no row can be read: {facts}", exchange=where["exchange"])
        stands = answer.following <= self._cursor if answer.full else answer.following < self._cursor
        if answer.rows and (stands or (answer.full and not fresh and answer.rows[-1].timestamp_us >= self._start_us)):
            raise PageStuck(f"paging does not advance: {facts}", channel="trades", **where)

    async def _listed_later(self, fresh: Sequence[Trade], settled_us: int) -> list[tuple[Interval, str]]:
        """Name the part before the market's first trade ever; moves `position` behind it."""
        first_us = min(fresh[0].timestamp_us, settled_us) if fresh else settled_us
        if first_us - self.position <= _VOID_MAX_US:
            return []
        listed_us = await self._source.fetch_listed_us(self.position)
        if listed_us is None or (fresh and listed_us > fresh[0].timestamp_us):
            return []
        begin_us = min(floor_minute_us(listed_us), settled_us)
        if begin_us <= self.position:
            return []
        lost = ((self.position, begin_us), f"{reasons.LISTED_LATER}: the first trade was at {listed_us} us")
        self.position = begin_us
        return [lost]

    def _blocked(self, answer: TradeAnswer) -> list[tuple[Interval, str]]:
        """Return the minutes around rows that could not be read.

        An unreadable last row is left to the next answer, which begins with it.
        """
        blocked: list[tuple[Interval, str]] = []
        for index, excerpt in answer.unreadable:
            if index < len(answer.rows):
                before_us = answer.rows[index - 1].timestamp_us if index else self.position
                after_us = answer.rows[index].timestamp_us
                minutes = (floor_minute_us(before_us), ceil_minute_us(after_us + 1))
                blocked.append((minutes, f"{reasons.UNREADABLE}: {excerpt}"))
        return blocked

    def _pages(
        self,
        rows: Sequence[Trade],
        claim_us: int,
        unavailable: list[tuple[Interval, str]],
        blocked: Sequence[tuple[Interval, str]],
    ) -> list[Page[Trade]]:
        """Cut `[position, claim_us)` around the blocked minutes; moves `position` to the end of it all."""
        pages: list[Page[Trade]] = []
        for minutes, reason in sorted(blocked):
            begin_us, end_us = max(minutes[0], self.position), min(minutes[1], self.end_us)
            if begin_us >= end_us:
                continue
            if begin_us > self.position:
                pages.append(self._page(rows, begin_us, unavailable))
                unavailable = []
            unavailable.append(((begin_us, end_us), reason))
            self.position = end_us
        claim_us = max(claim_us, self.position)
        if claim_us > self.position or unavailable:
            pages.append(self._page(rows, claim_us, unavailable))
        return pages

    def _page(self, rows: Sequence[Trade], until_us: int, unavailable: list[tuple[Interval, str]]) -> Page[Trade]:
        interval = (self.position, until_us)
        self.position = until_us
        within = rows[bisect_left(rows, interval[0], key=_time_us) : bisect_left(rows, until_us, key=_time_us)]
        if self._has_void:
            within = [row for row in within if row.volume]
        return Page(within, interval, unavailable, self._doubtful)
