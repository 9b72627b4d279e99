"""What an untested exchange must prove before its history is believed.

Asked once for each exchange (and timeframe), on a busy market:

- candles are stamped with their open time: none opens in the future, and where public trades enclose a whole minute
  they fold to the candle of that minute and not to the next one;
- `since` is honoured, oldest first: asked far back, the answer begins there. If not, only the newest rows are served,
  and the pager is told so;
- trades can be paged by time: asked from the middle of the newest ones on, the next few come, and only they;
- streamed trades carry the ids that REST tells (`TradeIds`): with two ids, each would be stored twice.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from fullon_exchange.answers import CandleAnswer
from fullon_exchange.ccxt_adapter.history import Candles, TimedTrades
from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_exchange.errors import ExchangeError, ExchangeUnavailable, NotSupported, RequestRefused
from fullon_exchange.records import Candle, Trade
from fullon_exchange.timeframes import SECOND_US
from fullon_log import get_component_logger

_FAR = 6000
"""Candles back from the newest ones: further than any exchange's page."""
_FUTURE_MAX_US = 5 * SECOND_US
_TRADES_MIN = 10
_SOME = 3

_BUSY = ("BTC/USDT", "BTC/USD", "BTC/USDC", "BTC/EUR", "BTC/USDT:USDT", "BTC/USD:USD", "BTC/USDC:USDC", "ETH/BTC")


def busy_market(symbols: Mapping[str, object], asked: str) -> str:
    """Return the market that the conventions are checked on: a busy one where there is one."""
    return next((symbol for symbol in _BUSY if symbol in symbols), asked)


def shift_of(candles: Sequence[Candle], trades: Sequence[Trade]) -> int | None:
    """Return by how many minutes 1m candles are stamped late: 0 as it should be, 1 at their end; None where open.

    Only minutes count that the trades enclose.
    """
    by_time = {candle.timestamp_us: candle for candle in candles}
    minutes: dict[int, list[Trade]] = {}
    for trade in trades:
        minutes.setdefault(floor_minute_us(trade.timestamp_us), []).append(trade)
    enclosed = sorted(minutes)[1:-1]
    agreeing = [0, 0]
    for minute_us in enclosed:
        for shift in (0, 1):
            candle = by_time.get(minute_us + shift * MINUTE_US)
            agreeing[shift] += candle is not None and _is_fold(candle, minutes[minute_us])
    if agreeing[0] == agreeing[1]:
        return None
    return 0 if agreeing[0] > agreeing[1] else 1


def _is_fold(candle: Candle, trades: Sequence[Trade]) -> bool:
    prices = [trade.price for trade in trades]
    return (candle.high, candle.low, candle.close) == (max(prices), min(prices), prices[-1])


class Conventions:
    """What one untested exchange has shown; learned on first use."""

    def __init__(self, exchange: str, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._windows: dict[str, int | None] = {}
        self._stamped: dict[str, str] = {}
        self._trades_by_time: bool | None = None
        self._log = get_component_logger(f"fullon.exchange.{exchange}.conventions")

    async def check_candles(self, reference: Candles, trades: TimedTrades | None) -> int | None:
        """Return how many of the newest candles are served; None where all of them.

        Raises:
            NotSupported: the candles are not what this package understands by candles; the sentence says why.
            MalformedMessage: no candle can be read.
            ExchangeUnavailable: nothing can be told now.
        """
        name = reference.timeframe.name
        if refusal := self._stamped.get(name):
            raise NotSupported(refusal, exchange=self._exchange, symbol=reference.symbol)
        if name not in self._windows:
            newest = await reference.fetch_newest()
            if refusal := await self._why_not(newest.rows, reference, trades):
                self._stamped[name] = refusal
                raise NotSupported(refusal, exchange=self._exchange, symbol=reference.symbol)
            self._windows[name] = window = await self._window(reference, newest.rows)
            self._log.info(
                "untested exchange: its candles have been checked",
                on=reference.symbol,
                timeframe=name,
                served="all" if window is None else f"the newest {window}",
            )
        return self._windows[name]

    async def _why_not(self, rows: Sequence[Candle], reference: Candles, trades: TimedTrades | None) -> str:
        """Return what is wrong with the candles; empty where nothing shows."""
        name = reference.timeframe.name
        if not rows:
            raise ExchangeUnavailable(f"answers no candles of {name} for {reference.symbol}", exchange=self._exchange)
        if max(row.timestamp_us for row in rows) > self._clock.now_us() + _FUTURE_MAX_US:
            return f"its candles of {name} open in the future: they are stamped with their end"
        if trades is None or reference.timeframe.step_us != MINUTE_US:
            return ""
        try:
            newest_trades, _ = await trades.fetch_newest()
        except ExchangeError as error:
            self._log.info("candles cannot be compared with trades", why=str(error))
            return ""
        if shift_of(rows, newest_trades) == 1:
            return f"its candles of {name} are stamped with their end: trades fold to the candle before"
        return ""

    async def _window(self, reference: Candles, newest: Sequence[Candle]) -> int | None:
        """Return how many of the newest candles are served; None where a start further back is honoured.

        An empty answer says nothing: the market may be younger than that, and a bounded window empty. So it is asked
        nearer, down to the window before the newest candles.
        """
        first_us = min(row.timestamp_us for row in newest)
        step_us = reference.timeframe.step_us or MINUTE_US
        back = _FAR
        while back >= 1:
            asked_us = reference.timeframe.floor_us(first_us - back * step_us)
            try:
                answer = await reference.ask(asked_us, asked_us + len(newest) * step_us)
            except RequestRefused:
                answer = CandleAnswer(())
            if answer.rows:
                begins_us = min(row.timestamp_us for row in answer.rows)
                return None if asked_us <= begins_us < (asked_us + first_us) // 2 else len(newest)
            back //= 4
        return len(newest)

    async def check_trades(self, reference: TimedTrades) -> bool:
        """Tell whether trades can be paged by time.

        Raises:
            ExchangeUnavailable: nothing can be told now.
        """
        if self._trades_by_time is None:
            newest, _ = await reference.fetch_newest()
            starts = [
                index
                for index in range(1, len(newest))
                if newest[index - 1].timestamp_us // 1000 < newest[index].timestamp_us // 1000
            ]
            if len(starts) < _TRADES_MIN:
                raise ExchangeUnavailable(
                    f"too few trades to tell whether they can be paged by time: {len(newest)} of {reference.symbol}",
                    exchange=self._exchange,
                )
            middle = starts[len(starts) // 2]
            some, rows = await reference.fetch_some(newest[middle].timestamp_us // 1000, _SOME)
            told = [trade.trade_id for trade in some]
            expected = [trade.trade_id for trade in newest[middle : middle + _SOME]]
            self._trades_by_time = 0 < rows <= _SOME and told == expected[: len(told)]
            self._log.info(
                "untested exchange: its trades have been checked",
                on=reference.symbol,
                paged_by_time=self._trades_by_time,
            )
        return self._trades_by_time


class TradeIds:
    """Whether an exchange streams the ids that it tells over REST; compared once for each session."""

    def __init__(self, fetch_newest: Callable[[str], Awaitable[list[Trade]]] | None) -> None:
        """Take `fetch_newest`, which asks for the newest trades; None where there is nothing to compare."""
        self.agree: bool | None = True if fetch_newest is None else None
        self._fetch_newest = fetch_newest

    async def compare(self, symbol: str, streamed: Mapping[str, int]) -> None:
        """Look for streamed trades (id → timestamp) among the newest ones; `agree` stays None where none must be there.

        Raises:
            ExchangeError: REST does not tell now.
        """
        if self._fetch_newest is None or self.agree is not None:
            return
        newest = await self._fetch_newest(symbol)
        if not newest:
            return
        told = {trade.trade_id for trade in newest}
        begin_us, end_us = newest[0].timestamp_us, newest[-1].timestamp_us
        expected = [trade_id for trade_id, time_us in streamed.items() if begin_us < time_us < end_us]
        if len(expected) >= _SOME:
            self.agree = sum(trade_id in told for trade_id in expected) > len(expected) / 2
