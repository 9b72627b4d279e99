"""What the shared pagers ask ccxt for.

`paginate=True` of ccxt is never used: it clamps the start and says nothing. Answers are taken as they are, before
ccxt cuts them to what was asked, so that the pagers can tell what an answer proves.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fullon_exchange.answers import CandleAnswer, TradeAnswer, VenueFacts
from fullon_exchange.ccxt_adapter.dialects import Dialect, exact_micros
from fullon_exchange.ccxt_adapter.library import Question
from fullon_exchange.ccxt_adapter.rest import Rest
from fullon_exchange.ccxt_adapter.rows import LATEST_US, Quiet, Unreadable, candle_of, in_order, trade_of
from fullon_exchange.errors import MalformedMessage, NotSupported, RequestRefused, excerpt_of
from fullon_exchange.history import index_timeframe
from fullon_exchange.history.search import next_open_us, window_us
from fullon_exchange.interface import Urgency
from fullon_exchange.records import EARLIEST_US, Candle, Trade
from fullon_exchange.timeframes import DAY_US, Timeframe

_FAULTS_MAX = 20
_PAGE_UNKNOWN = 100
"""Candles that an answer spans at least where ccxt does not know how many."""
_TIMED_PAGE = 100
_MONTH_MAX_US = 31 * DAY_US
_CROWD = 20
"""So many trades of one millisecond, and no later one, are a page that breaks off."""


class Candles:
    """An exchange's candles of one market and timeframe, as `fullon_exchange.history.CandleSource`."""

    def __init__(
        self, rest: Rest, dialect: Dialect, symbol: str, timeframe: Timeframe, *, urgency: Urgency, facts: VenueFacts
    ) -> None:
        self.exchange = rest.exchange
        self.symbol = symbol
        self.timeframe = timeframe
        self.window = dialect.candle_window
        self.absent_is_quiet = dialect.absent_is_quiet
        self.facts = facts
        self._rest = rest
        self._dialect = dialect
        self._urgency = urgency
        self._step_us = timeframe.step_us or _MONTH_MAX_US
        self._limit = dialect.candle_page or page_of(rest.raw, symbol)
        if self._limit is not None:
            self._limit = facts.rows(self._limit)
        self._span_us: int | None = None
        if self._limit is not None and dialect.candle_span_max_us is not None:
            self._limit = max(1, min(self._limit, dialect.candle_span_max_us // self._step_us))
            self._span_us = self._limit * self._step_us
        self.page = self._limit or _PAGE_UNKNOWN

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        """Ask for the candles of `[start_us, end_us)`.

        Where only the newest are kept, an answer that begins late leaves open why; asked up to now, it fills the
        window if older ones are no longer kept.
        """
        if self.window is None or not self._dialect.candle_until:
            return await self.ask(start_us, end_us)
        if (end_us - start_us) // self._step_us + 1 < self.window:
            answer = await self.ask(start_us, end_us)
            if answer.rows and answer.rows[0].timestamp_us <= start_us:
                return answer
        return await self.ask(start_us, LATEST_US)

    def coarser(self) -> "Candles | None":
        """Return the exchange's hours, or days, of this market."""
        name = index_timeframe(self.timeframe, self._rest.raw.timeframes or ())
        if name is None:
            return None
        timeframe = self._dialect.timeframe(name)
        return Candles(self._rest, self._dialect, self.symbol, timeframe, urgency=self._urgency, facts=self.facts)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        """Return when the market's first candle opened, or any time before `start_us` at which it had one.

        None where the exchange has none or cannot tell.
        """
        ask = partial(self._ask_first_us, start_us)
        return await self.facts.began_us(f"{self.symbol} {self.timeframe.name}", start_us, ask)

    async def _ask_first_us(self, start_us: int) -> int | None:
        if self._span_us is not None:
            return await self._search_first_us(start_us)
        try:
            answer = await self.ask(EARLIEST_US, LATEST_US, limit=1 if self._dialect.candle_page else None)
        except RequestRefused:
            answer = CandleAnswer(())
        if self.window is not None and len(answer.rows) >= self.window - 1:
            return None
        if answer.rows:
            return answer.rows[0].timestamp_us
        return None if self._dialect.tested else await self._search_first_us(start_us)

    async def _search_first_us(self, start_us: int) -> int | None:
        """Find the first candle of an exchange that answers nothing to a start before the market's beginning.

        The coarsest candles of the window before `start_us` say whether the market is older than that.
        """
        coarsest = self
        while (coarser := coarsest.coarser()) is not None:
            coarsest = coarser
        try:
            window_start_us = coarsest.timeframe.floor_us(start_us - window_us(coarsest))
            before = await coarsest.ask(window_start_us, start_us)
        except (MalformedMessage, NotSupported, RequestRefused):
            return None
        if older := [row.timestamp_us for row in before.rows if row.timestamp_us < start_us]:
            return older[0]
        return await next_open_us(self, start_us, self._rest.clock.now_us())

    async def fetch_newest(self) -> CandleAnswer:
        """Ask for the newest candles, the running one included."""
        return await self._fetch(None, self._limit, {})

    async def ask(self, start_us: int, end_us: int, limit: int | None = None) -> CandleAnswer:
        """Ask once for what opens at or after `start_us`, up to `end_us` where the exchange can be told."""
        if self._span_us is not None:
            end_us = min(end_us, start_us + self._span_us)
        params: dict[str, Any] = {"until": end_us // 1000 - 1} if self._dialect.candle_until else {}
        return await self._fetch(start_us // 1000, self._limit if limit is None else limit, params)

    async def _fetch(self, since_ms: int | None, limit: int | None, params: dict[str, Any]) -> CandleAnswer:
        raw, name = self._rest.raw, self.timeframe.name
        reply = await self._rest.ask(
            lambda: raw.fetch_ohlcv(self.symbol, name, since_ms, limit, dict(params)),
            urgency=self._urgency,
            symbol=self.symbol,
        )
        rows = reply.value if reply.question.rows is None else reply.question.rows
        faults = [excerpt for _, excerpt in reply.question.unreadable]
        candles: list[Candle] = []
        quiet: list[int] = []
        for row in rows:
            try:
                candles.append(candle_of(row, self.symbol, self.timeframe, closed=True))
            except Quiet as empty:
                quiet.append(empty.timestamp_us)
            except Unreadable as error:
                faults.append(excerpt_of(f"{error} in {row}"))
        if faults and not candles:
            raise MalformedMessage("no candle can be read", exchange=self.exchange, excerpt=faults[0])
        return CandleAnswer(candles, faults[:_FAULTS_MAX], quiet)


class _Trades:
    """What the ways of paging trades share."""

    def __init__(self, rest: Rest, dialect: Dialect, symbol: str, urgency: Urgency, facts: VenueFacts) -> None:
        self.exchange = rest.exchange
        self.symbol = symbol
        self.sequential = dialect.trade_ids_sequential
        self.facts = facts
        self._rest = rest
        self._urgency = urgency
        self._page = None if dialect.trade_page is None else facts.rows(dialect.trade_page)

    async def fetch_newest(self) -> tuple[list[Trade], list[tuple[int, str]]]:
        """Ask for the newest trades; return them, oldest first, and what could not be read."""
        trades, faults, _ = await self._ask(None, self._page, {})
        return trades, faults

    async def _ask(
        self, since_ms: int | None, limit: int | None, params: Mapping[str, Any]
    ) -> tuple[list[Trade], list[tuple[int, str]], list[Any]]:
        """Return the trades of an answer, what could not be read, and the rows as ccxt gives them."""
        raw = self._rest.raw
        reply = await self._rest.ask(
            lambda: raw.fetch_trades(self.symbol, since_ms, limit, dict(params)),
            urgency=self._urgency,
            symbol=self.symbol,
        )
        rows = reply.value if reply.question.rows is None else reply.question.rows
        return *self._read(rows, reply.question), rows

    def _read(self, rows: Sequence[Any], question: Question) -> tuple[list[Trade], list[tuple[int, str]]]:
        faults = list(question.unreadable)
        trades: list[Trade] = []
        for row in rows:
            try:
                trades.append(trade_of(row, self.symbol, self._time_us(row)))
            except Unreadable as error:
                faults.append((len(trades), excerpt_of(f"{error} in {row.get('info', row)}")))
        if faults and not trades:
            raise MalformedMessage("no trade can be read", exchange=self.exchange, excerpt=faults[0][1])
        return in_order(trades), sorted(faults[:_FAULTS_MAX])

    def _time_us(self, row: Mapping[str, Any]) -> int | None:
        """Return a trade's time where it is more exact than ccxt's milliseconds."""
        return None


class KrakenTrades(_Trades):
    """Kraken's `Trades` page by a nanosecond cursor, exclusive; ccxt's `since` is cut to seconds.

    ccxt appends the next cursor to the raw last row.
    """

    def first_cursor(self, start_us: int) -> int:
        """Return the cursor for everything at or after `start_us`."""
        return start_us * 1000 - 1

    async def fetch(self, cursor: int) -> TradeAnswer:
        """Ask for the trades after `cursor`, in nanoseconds."""
        trades, faults, rows = await self._ask(None, self._page, {"since": str(cursor)})
        last = max((_cursor_in(row) for row in rows), default=0)
        following = max(last - 1, cursor)
        honoured = not trades or trades[0].timestamp_us * 1000 + 999 >= cursor
        full = len(rows) + len(faults) >= (self._page or 0)
        return TradeAnswer(trades, following, full and bool(rows), honoured, faults)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        """Return the time of the market's first trade: the first row of the answer to `since=0`."""
        return await self.facts.began_us(self.symbol, start_us, self._ask_first_us)

    async def _ask_first_us(self) -> int | None:
        trades, _, _ = await self._ask(None, 1, {"since": "0"})
        return trades[0].timestamp_us if trades else None

    def _time_us(self, row: Mapping[str, Any]) -> int | None:
        info = row.get("info")
        return exact_micros(info[2]) if isinstance(info, list) and len(info) > 2 else None


def _cursor_in(row: Mapping[str, Any]) -> int:
    """Return the cursor that ccxt has put at the end of a raw row; 0 where there is none."""
    info = row.get("info")
    last = str(info[-1]) if isinstance(info, list) and len(info) > 7 else ""
    return int(last) if last.isascii() and last.isdecimal() and len(last) < 20 else 0


class BinanceTrades(_Trades):
    """Binance's `aggTrades` are entered by time once and paged by id from there.

    ccxt's `since` would look no further than an hour. A cursor is an id; before the first answer it is the negated
    start in milliseconds. That no trade is answered to a time proves nothing while there are later ones: the documents
    leave open how far the exchange looks. Ids are a sequence, and are searched then.
    """

    def first_cursor(self, start_us: int) -> int:
        """Return the cursor for everything at or after `start_us`."""
        return -(start_us // 1000)

    async def fetch(self, cursor: int) -> TradeAnswer:
        """Ask for the trades from the id, or the negated time, on."""
        asked_us = self._rest.clock.now_us()
        params = {"startTime": -cursor} if cursor < 0 else {"fromId": cursor}
        trades, faults, rows = await self._ask(None, self._page, params)
        if not trades and cursor < 0 and (first_id := await self._search_id(-cursor * 1000, asked_us)) is not None:
            return await self.fetch(first_id)
        if not trades:
            return TradeAnswer(trades, cursor, unreadable=faults)
        honoured = trades[0].timestamp_us + 999 >= -cursor * 1000 if cursor < 0 else int(trades[0].trade_id) >= cursor
        full = len(rows) + len(faults) >= (self._page or 0)
        return TradeAnswer(trades, int(trades[-1].trade_id) + 1, full, honoured, faults)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        """Return the time of the market's first trade."""
        return await self.facts.began_us(self.symbol, start_us, self._ask_first_us)

    async def _ask_first_us(self) -> int | None:
        try:
            trades, _, _ = await self._ask(None, 1, {"fromId": 0})
        except RequestRefused:  # too old to be served: it says nothing of the market
            return None
        return trades[0].timestamp_us if trades else None

    async def _search_id(self, start_us: int, until_us: int) -> int | None:
        """Return the id of the first trade at or after `start_us`; None where the newest before `until_us` is older."""
        newest, _ = await self.fetch_newest()
        later = [trade for trade in newest if start_us <= trade.timestamp_us < until_us]
        if not later:
            return None
        before, found = -1, int(later[0].trade_id)
        while found - before > 1:
            middle = (before + found) // 2
            try:
                trades, _, _ = await self._ask(None, 1, {"fromId": middle})
            except RequestRefused:  # too old to be served
                trades = []
            if trades and trades[0].timestamp_us >= start_us:
                found = middle
            else:
                before = middle
        return found


class TimedTrades(_Trades):
    """Trades paged by their time in milliseconds, for exchanges that have been shown to honour it.

    The next page begins with the last row's millisecond, whose rows come again: that connects the pages.
    """

    def first_cursor(self, start_us: int) -> int:
        """Return the cursor for everything at or after `start_us`: the millisecond it lies in."""
        return start_us // 1000

    async def fetch(self, cursor: int) -> TradeAnswer:
        """Ask for the trades from `cursor`, in milliseconds, on.

        Raises:
            NotSupported: nothing was answered although there are later trades: the exchange looks only a while ahead.
        """
        limit = self._page or _TIMED_PAGE
        trades, faults, rows = await self._ask(cursor, limit, {})
        if not trades:
            newest, _ = await self.fetch_newest()
            if newest and newest[-1].timestamp_us // 1000 > cursor:
                raise NotSupported(
                    f"its trades cannot be paged by time: none from {cursor} on, but one at {newest[-1].timestamp_us}",
                    exchange=self.exchange,
                    symbol=self.symbol,
                )
            return TradeAnswer(trades, cursor, unreadable=faults)
        following = trades[-1].timestamp_us // 1000
        full = len(rows) >= limit or (following == cursor and len(rows) >= _CROWD)
        return TradeAnswer(trades, following, full, trades[0].timestamp_us // 1000 >= cursor, faults)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        """Return the time of the oldest trade that is served, whether the market or the exchange's memory begins."""
        return await self.facts.began_us(self.symbol, start_us, self._ask_first_us)

    async def _ask_first_us(self) -> int | None:
        trades, _ = await self.fetch_some(EARLIEST_US // 1000, 1)
        return trades[0].timestamp_us if trades else None

    async def fetch_some(self, since_ms: int, limit: int) -> tuple[list[Trade], int]:
        """Ask for the first `limit` trades from `since_ms` on; return them and how many rows came."""
        trades, _, rows = await self._ask(since_ms, limit, {})
        return trades, len(rows)


TradeSource = KrakenTrades | BinanceTrades | TimedTrades


def trades_of(rest: Rest, dialect: Dialect, symbol: str, urgency: Urgency, facts: VenueFacts) -> TradeSource:
    """Return the source of a market's trades."""
    kinds: dict[str, type[TradeSource]] = {"kraken": KrakenTrades, "binance": BinanceTrades, "time": TimedTrades}
    return kinds[dialect.trade_cursor](rest, dialect, symbol, urgency, facts)


def page_of(raw: Any, symbol: str) -> int | None:
    """Return how many candles an exchange answers at most, as far as ccxt knows."""
    limit = raw.feature_value(symbol, "fetchOHLCV", "limit", None) if raw.features else None
    return limit if isinstance(limit, int) and limit > 0 else None
