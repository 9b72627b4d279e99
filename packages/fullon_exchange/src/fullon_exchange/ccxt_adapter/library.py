"""One object of ccxt, opened up.

ccxt asks over its own session through its own throttle, connects sockets behind its caller's back, cuts answers to
what was asked, and keeps what it reads from a frame in caches for whoever watches in time. A class mixed into the
exchange's own changes that:

- every request goes through our rate budget, to where `FULLON_<EXCHANGE>_ORIGIN` points;
- an answer that is no JSON, or empty where something belongs, is a failure and not "no rows";
- the rows of an answer are seen before ccxt cuts them to `since` and `limit`, so that an ignored `since` shows;
- a `watch…` method ends where it would subscribe, and tells what it would have sent where (`capture`);
- one market that cannot be read does not take the others with it, and of two with one symbol both are kept;
- what a frame says is handed on while it is read (`Socket`), so that no cache can overflow or be read too late.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import ccxt.pro
from ccxt.async_support.base.exchange import BaseExchange
from ccxt.async_support.base.ws.client import Client
from ccxt.async_support.base.ws.future import Future

from fullon_exchange.budget import RateBudget
from fullon_exchange.ccxt_adapter.market_rows import kept_answers, read_rows
from fullon_exchange.clock import Clock
from fullon_exchange.errors import excerpt_of
from fullon_exchange.http import parse_retry_after
from fullon_exchange.interface import Urgency
from fullon_exchange.listings import namesake
from fullon_exchange.network import NOT_SERVED, HttpSession, not_served
from fullon_exchange.origin import resolve
from fullon_exchange.records import Channel

_TIMEOUT_MS = 15_000
_CANDLES_KEPT = 4
"""Candles that ccxt keeps of each market: the running one and those that a late update may still touch."""


@dataclass
class Question:
    """One request for rows, and what its answer held before ccxt cut it."""

    urgency: Urgency
    clock: Clock
    rows: list[Any] | None = None
    """Every row of the answer, oldest first; None where ccxt does not read it row by row."""
    unreadable: list[tuple[int, str]] = field(default_factory=list)
    """For each row that ccxt could not read: how many readable rows come before it, and an excerpt."""
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Ask:
    """What subscribes some markets: where to, and the message; None where the address says it all."""

    url: str
    message: Any
    hashes: tuple[str, ...]
    """Under which ccxt would hand the answer to its watchers, or a refusal."""
    subscribe_hashes: tuple[str, ...]
    subscription: Any


class SocketHost(Protocol):
    """Whoever owns a socket and takes what is read from it."""

    def take_answer(self, message: Any) -> bool:
        """Take an answer to a subscription; False where the message is none."""

    def parts_of(self, message: Any) -> Sequence[Any]:
        """Return a message as messages that ccxt reads rightly."""

    def take_rows(self, result: Any, message_hash: str) -> None:
        """Take what ccxt hands to the watchers of `message_hash`."""

    def take_refusal(self, error: Any, message_hash: str | None) -> None:
        """Take an error meant for those watchers, or for all of them."""

    def end(self, reason: str) -> None:
        """Give the socket up."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what an answer takes, for as long as the socket lasts."""


class _Captured(BaseException):
    """Ends a `watch…` method where it would subscribe; no `except Exception` of ccxt's stands in its way."""

    def __init__(self, ask: Ask) -> None:
        super().__init__("captured")
        self.ask = ask


_question: ContextVar[Question | None] = ContextVar("ccxt_question", default=None)
_cost: ContextVar[float | None] = ContextVar("ccxt_cost", default=None)
"""What a request costs that is only paid for where its answer has not been kept."""
_socket: ContextVar["Socket | None"] = ContextVar("ccxt_socket", default=None)


class Socket(Client):  # type: ignore[misc]  # ccxt declares no types
    """ccxt's view of one of our connections: it may send, and tells what it has read."""

    host: SocketHost | None = None

    def resolve(self, result: Any, message_hash: str) -> Any:
        """Hand on what a frame said; there are no watchers."""
        if self.host is not None:
            self.host.take_rows(result, message_hash)
        return result

    def reject(self, result: Any, message_hash: str | None = None) -> Any:
        """Hand on a refusal, which ccxt would keep for a watcher that may never come."""
        if self.host is not None:
            self.host.take_refusal(result, message_hash)
        return result

    def on_error(self, error: Any) -> None:
        """End: ccxt has found the socket dead."""
        if self.host is not None:
            self.host.end(str(error) or type(error).__name__)

    def on_close(self, code: Any) -> None:
        """End: ccxt has closed the socket."""
        self.on_error(f"closed: {code}")

    def reset(self, error: Any) -> None:
        """End: ccxt wants to start anew."""
        self.on_error(error)

    async def close(self, code: int = 1000) -> None:
        """End; the owner closes."""
        self.on_close(code)

    async def send(self, message: Any) -> None:
        """Send; a socket that is gone has been told of already."""
        try:
            await super().send(message)
        except (ConnectionError, aiohttp.ClientError) as error:
            self.on_error(error)


class Opened(BaseExchange):  # type: ignore[misc]  # ccxt declares no types
    """Mixed into an exchange of ccxt; see the module."""

    budget: RateBudget | None = None
    exact_numbers = False
    """True where numbers with a fraction are kept as the text they came as."""
    contract_volumes = False
    """True where volumes of inverse contracts are read in contracts, as they are streamed."""
    malformed: Sequence[str] = ()
    """The rows that could not be read in the newest list of markets, as text."""
    namesakes: Sequence[str] = ()
    """Markets of that list whose symbol another market has."""
    pinned: Mapping[str, str] = {}
    """By symbol: the id of the market that has it; the first of the list where a symbol is missing."""

    # --- markets

    async def load_markets_helper(self, reload: bool = False, params: Any = None) -> Any:
        """Read the lists of currencies and markets, and count anew what is wrong with them."""
        self.malformed, self.namesakes = (), ()
        return await super().load_markets_helper(reload, params or {})

    async def fetch_currencies(self, params: Any = None) -> Any:
        """Read the list of currencies without the rows that cannot be read."""
        currencies, malformed = await read_rows(lambda: super(Opened, self).fetch_currencies(params or {}))
        self.malformed = (*self.malformed, *malformed)
        return currencies

    async def fetch_markets(self, params: Any = None) -> Any:
        """Read the list of markets without the rows that cannot be read."""
        markets, malformed = await read_rows(lambda: super(Opened, self).fetch_markets(params or {}))
        self.malformed = (*self.malformed, *malformed)
        return markets

    def parse_market(self, market: Any) -> Any:
        """Read one market; one without a name where that is not possible, which `set_markets` counts."""
        try:
            return super().parse_market(market) or {"info": market}
        except Exception:  # noqa: BLE001 -- whatever one market breaks, the others are listed
            return {"info": market}

    def set_markets(self, markets: Any, currencies: Any = None) -> Any:
        """Keep the markets that have a name; of several with one symbol all but one are named apart by their ids."""
        kept: dict[str, Any] = {}
        holders = dict(self.pinned)
        for market in self.to_array(markets):
            names: list[Any] = [(market or {}).get(name) for name in ("id", "symbol", "base", "quote")]
            if not all(isinstance(name, str) and name for name in names):
                if market and market.get("info"):
                    self.malformed = (*self.malformed, json.dumps(market["info"], default=str))
                continue
            market_id, symbol = names[:2]
            apart = namesake(symbol, market_id)
            if holders.setdefault(symbol, market_id) != market_id or apart in self.pinned:
                symbol = apart
                self.namesakes = (*self.namesakes, symbol)
            kept.setdefault(symbol, {**market, "symbol": symbol})
        return super().set_markets(list(kept.values()), currencies)

    # --- requests

    def on_json_response(self, response_body: str) -> Any:
        """Read JSON."""
        if self.exact_numbers:
            return json.loads(response_body, parse_float=str)
        return super().on_json_response(response_body)

    async def throttle(self, cost: float | None = None) -> None:
        """Wait for the shared budget instead of ccxt's own."""
        answers = kept_answers.get()
        if answers is not None and answers.is_replayed:
            _cost.set(cost)
        else:
            await self._pay(cost)

    async def _pay(self, cost: float | None) -> None:
        question = _question.get()
        if self.budget is not None:
            await self.budget.acquire(float(cost or 1.0), question.urgency if question else Urgency.LIVE)

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Ask where the environment points, or take the answer that was kept of a list of markets."""
        answers = kept_answers.get()
        if answers is None:
            return await super().fetch(resolve(self.id, url), method, headers, body)
        is_paid = not answers.is_replayed

        async def ask() -> Any:
            if not is_paid:
                await self._pay(_cost.get())
            return await super(Opened, self).fetch(resolve(self.id, url), method, headers, body)

        return await answers.ask((method, url, str(body or "")), ask)

    def milliseconds(self) -> int:
        """Return the exchange's time while asking; what keeps sockets alive runs on ours."""
        question = _question.get()
        return int(super().milliseconds()) if question is None else question.clock.now_us() // 1000

    def handle_errors(  # noqa: PLR0917 -- ccxt's own signature
        self,
        code: Any,
        reason: Any,
        url: Any,
        method: Any,
        headers: Any,
        body: Any,
        response: Any,
        request_headers: Any,
        request_body: Any,
    ) -> Any:
        """Refuse what ccxt would take for "no rows": a page of HTML, a broken or an empty body."""
        question = _question.get()
        if question is not None and headers and "Retry-After" in headers:
            question.retry_after_s = parse_retry_after(headers["Retry-After"])
        if code in NOT_SERVED:
            raise not_served(self.id, code, str(url).partition("?")[0], body or "")
        handled = super().handle_errors(
            code, reason, url, method, headers, body, response, request_headers, request_body
        )
        if question is not None and code == 200 and (response is None or response == {}):
            excerpt = excerpt_of(body or "")
            raise ccxt.ExchangeNotAvailable(f"{self.id} answered with something else than JSON: {excerpt}")
        return handled

    def parse_ohlcvs(  # noqa: PLR0917 -- ccxt's own signature
        self,
        ohlcvs: Any,
        market: Any = None,
        timeframe: str = "1m",
        since: Any = None,
        limit: Any = None,
        tail: Any = False,
    ) -> Any:
        """Show all candles of an answer before they are cut."""
        question = _question.get()
        if question is None:
            return super().parse_ohlcvs(ohlcvs, market, timeframe, since, limit, tail)
        try:
            rows = super().parse_ohlcvs(ohlcvs, market, timeframe)
        except Exception:  # noqa: BLE001 -- whatever one row breaks, its neighbours are read one by one
            rows = self._singly(question, ohlcvs, lambda raw: self.parse_ohlcv(raw, market), lambda row: row[0])
        question.rows = [list(row) for row in rows]
        return self.filter_by_since_limit(rows, since, limit, 0, tail)

    def parse_ohlcv(self, ohlcv: Any, market: Any = None) -> Any:
        """Read one candle."""
        if self.contract_volumes and market is not None:
            market = {**market, "inverse": False}
        return super().parse_ohlcv(ohlcv, market)

    def parse_trades(
        self, trades: Any, market: Any = None, since: Any = None, limit: Any = None, params: Any = None
    ) -> Any:
        """Show all trades of an answer before they are cut."""
        question, params = _question.get(), params or {}
        if question is None:
            return super().parse_trades(trades, market, since, limit, params)
        try:
            rows = super().parse_trades(trades, market, None, None, params)
        except Exception:  # noqa: BLE001 -- whatever one row breaks, its neighbours are read one by one
            rows = self._singly(
                question, trades, lambda raw: self.parse_trade(raw, market), lambda row: row["timestamp"]
            )
        question.rows = list(rows)
        return self.filter_by_since_limit(rows, since, limit)

    def _singly(
        self, question: Question, raw_rows: Any, parse: Callable[[Any], Any], time_of: Callable[[Any], Any]
    ) -> list[Any]:
        """Read row by row what could not be read at once."""
        parsed: list[tuple[Any, str]] = []
        for raw in self.to_array(raw_rows):
            try:
                row = parse(raw)
                parsed.append((row, "") if time_of(row) is not None else (None, excerpt_of(str(raw))))
            except Exception:  # noqa: BLE001 -- any error of ccxt's says the same: this row cannot be read
                parsed.append((None, excerpt_of(str(raw))))
        times = [time_of(row) for row, excerpt in parsed if not excerpt]
        if times and times[0] > times[-1]:
            parsed.reverse()
        rows: list[Any] = []
        for row, excerpt in parsed:
            if excerpt:
                question.unreadable.append((len(rows), excerpt))
            else:
                rows.append(row)
        return rows

    # --- sockets

    def new_socket(self, url: str, host: SocketHost | None = None) -> Socket:
        """Return a socket with the options that ccxt gives to one of this address."""
        client = super().client(url)
        del self.clients[url]
        client.__class__ = Socket
        client.host = host
        socket: Socket = client
        return socket

    def client(self, url: str) -> Socket:
        """Return the socket that is being subscribed on or read, or an empty one."""
        socket = _socket.get()
        return socket if socket is not None and socket.url == url else self.new_socket(url)

    def watch(
        self, url: str, message_hash: str, message: Any = None, subscribe_hash: Any = None, subscription: Any = None
    ) -> Any:
        """Tell what would be sent."""
        raise _Captured(Ask(url, message, (message_hash,), (subscribe_hash,), subscription))

    def watch_multiple(
        self,
        url: str,
        message_hashes: Sequence[str],
        message: Any = None,
        subscribe_hashes: Sequence[str] | None = None,
        subscription: Any = None,
    ) -> Any:
        """Tell what would be sent."""
        raise _Captured(Ask(url, message, tuple(message_hashes), tuple(subscribe_hashes or ()), subscription))

    def handle_message(self, client: Socket, message: Any) -> None:
        """Read one decoded message."""
        host = client.host
        if host is None or host.take_answer(message):
            return
        for part in host.parts_of(message):
            super().handle_message(client, part)

    def spawn(self, method: Callable[..., Any], *args: Any) -> Any:
        """Run what an answer takes (a pong, mostly) in the group of the socket that is being read."""
        socket = _socket.get()
        if socket is None:
            return super().spawn(method, *args)  # part of a request, which waits for it
        future, host = Future(), socket.host
        if host is None:
            return future

        async def run() -> None:
            try:
                future.resolve(await method(*args))
            except Exception as error:  # noqa: BLE001 -- whatever ccxt's answer to a frame fails with, the socket ends
                future.cancel()
                host.end(f"{type(error).__name__}: {error}")

        host.start(run())
        return future


def create(name: str) -> Any:
    """Return ccxt's object for an exchange, opened up; it neither connects nor asks before `entered`."""
    module = ccxt.pro if name in ccxt.pro.exchanges else ccxt.async_support
    kind = type(name, (Opened, getattr(module, name)), {})
    raw = kind({"enableRateLimit": True, "timeout": _TIMEOUT_MS})
    raw.own_session = False
    raw.timeout_on_exit = 0
    # Frames are taken as they are read: trades without a bound (a frame has one), candles the newest alone.
    raw.options |= {"tradesLimit": 0, "OHLCVLimit": _CANDLES_KEPT}
    return raw


def addresses(raw: Any) -> list[str]:
    """Return the addresses among ccxt's settings: a tree of texts, some of which have a place for the host's name."""
    found: list[str] = []
    left = [raw.urls.get("api")]
    while left:
        one = left.pop(0)
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, str) and "://" in one:
            found.append(raw.implode_hostname(one))
    return found


@asynccontextmanager
async def entered(raw: Any, budget: RateBudget) -> AsyncIterator[None]:
    """Give `raw` a session of its own, and take it back."""
    async with HttpSession(raw.id) as session:
        raw.asyncio_loop = asyncio.get_running_loop()
        raw.session, raw.ssl_context, raw.budget = session, False, budget
        raw.closed_by_user, raw.markets_loading = False, None
        try:
            yield
        finally:
            await raw.close()


@contextmanager
def asking(question: Question) -> Iterator[Question]:
    """Let what ccxt asks inside be `question`."""
    token = _question.set(question)
    try:
        yield question
    finally:
        _question.reset(token)


@contextmanager
def reading(socket: Socket) -> Iterator[None]:
    """Let what ccxt does inside be about `socket`."""
    token = _socket.set(socket)
    try:
        yield
    finally:
        _socket.reset(token)


async def capture(raw: Any, channel: Channel, symbols: Sequence[str], params: dict[str, Any]) -> Ask:
    """Return what would subscribe these markets; several only where ccxt can ask for several at once.

    Raises:
        Exception: whatever ccxt says against it.
    """
    try:
        if channel == "trades":
            if len(symbols) > 1:
                await raw.watch_trades_for_symbols(list(symbols), params=dict(params))
            else:
                await raw.watch_trades(symbols[0], params=dict(params))
        else:
            timeframe = channel.removeprefix("candles")
            if len(symbols) > 1:
                await raw.watch_ohlcv_for_symbols([[symbol, timeframe] for symbol in symbols])
            else:
                await raw.watch_ohlcv(symbols[0], timeframe)
    except _Captured as captured:
        return captured.ask
    raise ccxt.NotSupported(f"{raw.id} subscribes {channel} in a way of its own")
