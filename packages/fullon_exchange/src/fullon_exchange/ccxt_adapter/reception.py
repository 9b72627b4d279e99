"""What ccxt has read on one connection, taken at its word where it has shown that it may be.

Trades and candles of a tested exchange are handed on as they come, its answers are understood. Of an untested one the
first data of a market stand for the acknowledgement of its subscription, candles that open in the future refuse it, and
trades are held back until their ids have been compared with those of REST.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from fullon_exchange.ccxt_adapter.conventions import TradeIds
from fullon_exchange.ccxt_adapter.dialects import Dialect, Sent
from fullon_exchange.ccxt_adapter.failures import translate
from fullon_exchange.ccxt_adapter.library import Ask
from fullon_exchange.ccxt_adapter.streams import Streams
from fullon_exchange.errors import ExchangeError, TransientExchangeError
from fullon_exchange.live.intake import Intake, Surroundings
from fullon_exchange.live.subscriptions import Subscriptions
from fullon_exchange.wire import Acknowledged, CandlesFrame, Key, Refused, TradesFrame

_SENT_MAX = 1000
_FUTURE_MAX_US = 60_000_000
_BEGUN_MAX_US = 5_000_000
"""A candle that opens later than this after now is stamped with its end."""
_HELD_BACK_MAX = 200
_COMPARE_EVERY_S = 10.0


class Reception:
    """The host of one socket, as `fullon_exchange.ccxt_adapter.library.SocketHost`."""

    def __init__(
        self,
        around: Surroundings,
        dialect: Dialect,
        *,
        subscriptions: Subscriptions,
        streams: Streams,
        intake: Intake,
        ids: TradeIds,
        spurn: Callable[[Key, str], None],
        end: Callable[[str], None],
        start: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`spurn` is told of a market whose stream is not to be used, and why."""
        self.decoded = False
        """Whether the frame being read has turned out to be a message."""
        self.end = end
        self.start = start
        self._around = around
        self._dialect = dialect
        self._subscriptions = subscriptions
        self._streams = streams
        self._intake = intake
        self._ids = ids
        self._spurn = spurn
        self._sent: deque[Sent] = deque(maxlen=_SENT_MAX)
        self._asked_us: dict[Key, int] = {}
        self._by_hash: dict[str, tuple[Key, ...]] = {}
        self._streamed: dict[Key, dict[str, int]] = {}
        """Trades that are held back: id → timestamp."""

    def note_asked(self, keys: tuple[Key, ...], ask: Ask) -> None:
        """Note a subscription that is about to be sent."""
        asked_us = self._around.server_time.earliest_us(self._around.clock.now_us())
        for key in keys:
            self._streams.forget(key)
            self._asked_us[key] = asked_us
        self._by_hash.update(dict.fromkeys((*ask.hashes, *ask.subscribe_hashes, *_ids_in(ask.message)), keys))
        self._sent.appendleft(Sent(keys, ask.message, subscribe=True))

    def note_taken_back(self, keys: tuple[Key, ...], message: Any) -> None:
        """Note an unsubscription that is about to be sent."""
        self._sent.appendleft(Sent(keys, message, subscribe=False))

    def take_answer(self, message: Any) -> bool:
        """Take an answer to a subscription; False where the message is none."""
        self.decoded = isinstance(message, (dict, list)) and bool(message)
        answer = self._dialect.answer(message, self._sent)
        if answer is None:
            return False
        self._intake.take_message(answer)
        return True

    def parts_of(self, message: Any) -> Sequence[Any]:
        """Return a message as messages that ccxt reads rightly."""
        return self._dialect.parts(message)

    def take_rows(self, result: Any, message_hash: str) -> None:
        """Take what ccxt hands to its watchers."""
        now_us = self._around.clock.now_us()
        latest_us = self._around.server_time.latest_us(now_us)
        for key, frame in self._streams.read(result, latest_us + _FUTURE_MAX_US):
            if not self._subscriptions.knows(key) or key in self._subscriptions.leaving:
                if key not in self._asked_us:
                    self._around.faults.count("unsubscribed", f"{key[1]} {key[0]}")
                continue
            if isinstance(frame, TradesFrame) and not self._ids.agree:
                self._hold_back(key, frame)
                continue
            if not self._dialect.tested and not self._believe(key, frame, latest_us):
                continue
            if isinstance(frame, CandlesFrame):
                self._intake.take_message(frame)
                continue
            asked_us = self._asked_us.get(key, 0)
            past = [trade for trade in frame.records if trade.timestamp_us < asked_us]
            if past:
                self._intake.take_message(TradesFrame(past, snapshot=True))
            present = [trade for trade in frame.records if trade.timestamp_us >= asked_us]
            if present or frame.faults:
                self._intake.take_message(TradesFrame(present, frame.faults))

    def _hold_back(self, key: Key, frame: TradesFrame) -> None:
        """Keep the ids of trades for a comparison; nothing of the market is told before it."""
        if self._ids.agree is False:
            self._spurn(key, "the stream tells other trade ids than REST")
            return
        comparing = bool(self._streamed)
        streamed = self._streamed.setdefault(key, {})
        streamed.update({trade.trade_id: trade.timestamp_us for trade in frame.records})
        while len(streamed) > _HELD_BACK_MAX:
            del streamed[next(iter(streamed))]
        if not comparing:
            self.start(self._compare())

    async def _compare(self) -> None:
        """Compare the ids of what is streamed with those that REST tells, until there is an answer."""
        while self._ids.agree is None:
            await self._around.clock.sleep(_COMPARE_EVERY_S)
            for key, streamed in list(self._streamed.items()):
                try:
                    await self._ids.compare(key[1], streamed)
                except ExchangeError as error:
                    self._around.faults.count("compare", str(error))
        self._streamed.clear()

    def _believe(self, key: Key, frame: TradesFrame | CandlesFrame, latest_us: int) -> bool:
        """Take the first data of a market for the acknowledgement of its subscription, if they are what they seem."""
        if isinstance(frame, CandlesFrame) and any(
            candle.timestamp_us > latest_us + _BEGUN_MAX_US for candle in frame.records
        ):
            self._intake.take_message(Refused([key], "candles are stamped with their end", final=True))
            return False
        self._intake.take_message(Acknowledged([key], subscribed=True))
        return True

    def take_refusal(self, error: Any, message_hash: str | None) -> None:
        """Take an error meant for the watchers of `message_hash`, or for all of them."""
        sentence = str(error) or type(error).__name__
        meant = error if isinstance(error, Exception) else ExchangeError(sentence)
        if isinstance(translate(meant, exchange=self._around.exchange), TransientExchangeError):
            self.end(sentence)
            return
        keys = self._by_hash.get(str(message_hash)) if message_hash is not None else None
        if keys is None:
            self._around.faults.count("refused", sentence)
            return
        self._intake.take_message(Refused(keys, sentence, final=True))


def _ids_in(message: Any) -> Iterable[str]:
    """Return the numbers of a request, under which ccxt refuses what it cannot tell otherwise."""
    if not isinstance(message, dict):
        return ()
    return [str(message[name]) for name in ("id", "req_id", "reqid", "reqId", "request_id") if name in message]
