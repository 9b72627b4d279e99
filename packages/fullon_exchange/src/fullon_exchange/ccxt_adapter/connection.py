"""One socket on which ccxt speaks, from its handshake to its end.

ccxt gives the address, the messages and the reading of frames. The socket, what was acknowledged, proof of life and
the reason of the end are ours, with the deadlines of the native sessions. Proof of life is a numbered WebSocket ping
whose pong comes back behind everything sent before it; what the exchange itself wants to hear to keep a socket open is
ccxt's `ping_loop`, which proves nothing here.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import aiohttp

from fullon_exchange.ccxt_adapter.conventions import TradeIds
from fullon_exchange.ccxt_adapter.dialects import Dialect
from fullon_exchange.ccxt_adapter.failures import translate
from fullon_exchange.ccxt_adapter.library import Ask, Question, Socket, asking, capture, reading
from fullon_exchange.ccxt_adapter.reception import Reception
from fullon_exchange.ccxt_adapter.streams import Seen, Streams
from fullon_exchange.errors import (
    Disconnected,
    ExchangeError,
    ExchangeUnavailable,
    MalformedMessage,
    StaleStream,
    TransientExchangeError,
    excerpt_of,
)
from fullon_exchange.interface import Urgency
from fullon_exchange.live.intake import Intake, Surroundings
from fullon_exchange.live.proof import Proof
from fullon_exchange.live.subscriptions import Subscriptions
from fullon_exchange.network import NOT_SERVED, not_served
from fullon_exchange.origin import resolve
from fullon_exchange.records import Channel
from fullon_exchange.wire import Acknowledged, Farewell, Key, Pong, Refused, Wire

_TICK_MIN_S = 0.005
_TICK_MAX_S = 1.0
_CLOSE_TIMEOUT_S = 1.0
_FRAME_MAX = 16 * 2**20
_NO_DATA = (
    aiohttp.WSMsgType.CLOSE,
    aiohttp.WSMsgType.CLOSING,
    aiohttp.WSMsgType.CLOSED,
    aiohttp.WSMsgType.ERROR,
)


def place_of(url: str) -> str:
    """Return the part of an address that stays the same from connection to connection: all but tokens."""
    return url.partition("?")[0] if "token=" in url else url


async def ask_for(raw: Any, dialect: Dialect, keys: Sequence[Key], around: Surroundings) -> Ask:
    """Return what subscribes `keys`, which are of one channel.

    Raises:
        ExchangeError: ccxt cannot, or cannot now.
    """
    channel = keys[0][0]
    params = dict(dialect.trade_params) if channel == "trades" else {}
    with asking(Question(Urgency.LIVE, around.clock)) as question:
        try:
            return await capture(raw, channel, [symbol for _, symbol in keys], params)
        except Exception as error:
            raise translate(error, exchange=around.exchange, retry_after_s=question.retry_after_s) from error


class _Reader:
    """What `Intake` wants of a wire, where ccxt reads the frames."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def parse(self, frame: bytes | memoryview, latest_us: int) -> Farewell:
        raise MalformedMessage("frames are read by ccxt", excerpt=bytes(frame))

    def forget(self, channel: Channel, names: Iterable[str]) -> None:
        for name in names:
            self._streams.forget((channel, name))


class Connection:
    """One WebSocket connection and what it carries, trades or candles and not both; used once."""

    def __init__(
        self,
        name: str,
        url: str,
        wanted: dict[Key, str],
        around: Surroundings,
        *,
        raw: Any,
        dialect: Dialect,
        seen: Seen,
        ids: TradeIds,
        spurn: Callable[[Key, str], None],
        on_unanswered: Callable[[list[Key]], None],
        bulk: bool,
    ) -> None:
        """`wanted` may change meanwhile; what the exchange refuses is taken out of it.

        `on_unanswered` takes the subscriptions that an untested exchange has sent no data of in time. `spurn` is told
        of a market whose stream is not to be used, and why; `bulk` says whether several markets fit into one message.
        """
        self.name = name
        self.opened = False
        self._url = url
        self._wanted = wanted
        self._around = replace(around, limits=dialect.sockets)
        self._raw = raw
        self._dialect = dialect
        self._on_unanswered = on_unanswered
        limits = self._around.limits
        self._subscriptions = Subscriptions(
            ack_timeout_s=limits.ack_timeout_s, keys_per_order=limits.streams_per_message if bulk else 1
        )
        self._proof = Proof(
            speed=around.clock.speed, grace_s=limits.grace_s, cadence_s=limits.cadence_s, ping_s=limits.ping_s
        )
        self._tick_max_s = min(_TICK_MAX_S, limits.ack_timeout_s / 2, limits.silence_max_s / 2)
        self._streams = Streams(raw, dialect, seen)
        self._names: dict[Key, str] = {}
        self._intake = Intake(
            name,
            cast(Wire, _Reader(self._streams)),
            wanted=wanted,
            names=self._names,
            subscriptions=self._subscriptions,
            proof=self._proof,
            around=self._around,
            changed=self.refresh,
            farewell=self.end,
        )
        self._reception = Reception(
            self._around,
            dialect,
            subscriptions=self._subscriptions,
            streams=self._streams,
            intake=self._intake,
            ids=ids,
            spurn=spurn,
            end=self.end,
            start=self._start,
        )
        self._socket: Socket | None = None
        self._wake = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: asyncio.TaskGroup | None = None
        self._ended: str | None = None
        self._close_code: int | None = None
        self._opened_at = 0.0
        self._send_at = 0.0
        self._ping_was_last = True
        self._pong_seen = False

    async def run(self) -> None:
        """Connect, and carry what is wanted until the socket is of no more use.

        Returns only by raising.

        Raises:
            ExchangeUnavailable: no connection within the time allowed.
            Disconnected: the venue or the network ended it, or it has reached its age.
            StaleStream: it is silent, lags, or does not acknowledge.
        """
        socket = await self._open()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._read(socket))
                tasks.create_task(self._keep_alive(socket))
                await self._serve(socket)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            self._tasks = None

    async def close(self) -> None:
        """Close the socket; at most a second, safe to call at any time and again."""
        self._ended = self._ended or "closed by us"
        socket, self._socket = self._socket, None
        if socket is None:
            return
        socket.host = None
        for key in self._names:
            self._streams.forget(key)
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await socket.connection.close()
        except (TimeoutError, aiohttp.ClientError, OSError):
            self._around.faults.count("close", f"{self.name} did not close within {_CLOSE_TIMEOUT_S:g} s")

    def refresh(self) -> None:
        """Look at the wanted subscriptions again: they have changed."""
        self._wake.set()

    def end(self, reason: str) -> None:
        """Give this connection up; `run` raises."""
        self._ended = self._ended or reason
        self._wake.set()

    def pause(self) -> None:
        """Stop reading."""
        self._flowing.clear()

    def resume(self) -> None:
        """Read again; the silence meanwhile was ours."""
        now = time.monotonic()
        self._intake.frame_at = now
        self._intake.lagging_since = None
        self._proof.forgive(now)
        self._subscriptions.forgive(now)
        self._flowing.set()

    @property
    def data_seen(self) -> bool:
        """Whether any record has arrived."""
        return self._intake.data_seen

    def carries(self, key: Key) -> bool:
        """Tell whether the venue has been asked for `key` on this connection."""
        return self._subscriptions.knows(key)

    @property
    def carries_any(self) -> bool:
        """Whether the exchange has acknowledged anything on this connection."""
        return self._subscriptions.active

    @property
    def leaving(self) -> list[Key]:
        """The subscriptions given up whose end the venue has not acknowledged."""
        return self._subscriptions.leaving

    # --- the socket -------------------------------------------------------------------------------------------

    async def _open(self) -> Socket:
        limits, exchange = self._around.limits, self._around.exchange
        url = resolve(exchange, self._url)
        socket: Socket = self._raw.new_socket(self._url, self._reception)
        options = socket.options
        try:
            async with asyncio.timeout(limits.connect_timeout_s):
                socket.connection = await self._raw.session.ws_connect(
                    url,
                    autoping=False,
                    autoclose=False,
                    headers=options.get("headers"),
                    compress=options.get("compress", 15),
                    max_msg_size=_FRAME_MAX,
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if isinstance(error, aiohttp.WSServerHandshakeError) and error.status in NOT_SERVED:
                raise not_served(exchange, error.status, url) from error
            reason = str(error) or type(error).__name__
            raise ExchangeUnavailable(f"no WebSocket at {url}: {reason}", exchange=exchange) from error
        self._socket = socket
        self.opened = True
        self._opened_at = self._intake.frame_at = time.monotonic()
        if self._around.buffer.full:
            self.pause()
        return socket

    async def _keep_alive(self, socket: Socket) -> None:
        """Say what the exchange wants to hear; ccxt knows what and how often."""
        try:
            await socket.ping_loop()
        except Exception as error:  # noqa: BLE001 -- whatever ccxt fails with here, the socket is of no more use
            self.end(f"keeping alive failed: {type(error).__name__}: {error}")

    async def _read(self, socket: Socket) -> None:
        """Read until the socket ends."""
        with reading(socket):
            while self._ended is None:
                await self._flowing.wait()
                message = await socket.connection.receive()
                if message.type in _NO_DATA:
                    self._take_end(socket, message)
                    return
                self._intake.begin_read()
                if message.type is aiohttp.WSMsgType.PING:
                    await self._answer_ping(socket, message.data)
                elif message.type is aiohttp.WSMsgType.PONG:
                    self._take_pong(socket, message)
                else:
                    self._take_frame(socket, message)
                self._intake.end_read()

    async def _answer_ping(self, socket: Socket, payload: bytes) -> None:
        try:
            await socket.connection.pong(payload)
        except (ConnectionError, aiohttp.ClientError) as error:
            self.end(f"a ping could not be answered: {error}")

    def _take_pong(self, socket: Socket, message: aiohttp.WSMessage) -> None:
        socket.handle_message(message)  # ccxt's own keep-alive waits for it too
        payload = bytes(message.data or b"")
        if payload.isdigit():
            self._pong_seen = True
            self._intake.take_message(Pong(int(payload)))

    def _take_end(self, socket: Socket, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.CLOSE:
            self._close_code = message.data
            self.end(f"closed by the venue: {message.data} {message.extra or ''}".rstrip())
        error = socket.connection.exception()
        self.end(f"the connection was lost{f': {error}' if error else ''}")

    def _take_frame(self, socket: Socket, message: aiohttp.WSMessage) -> None:
        """Read one frame; whatever ccxt fails with, the socket is read on or ends, but is never silently deaf."""
        self._reception.decoded = False
        try:
            socket.handle_message(message)
        except Exception as error:  # noqa: BLE001 -- the trap: one such frame would end ccxt's own loop without a word
            reason = f"{type(error).__name__}: {error}"
            if not self._reception.decoded:
                self._around.faults.count("garbage", f"{reason}: {excerpt_of(message.data)}")
                return
            self._around.faults.count("unknown", f"{reason}: {excerpt_of(message.data)}")
            if self._subscriptions.active:
                # What it said is lost, and nobody knows of which market: the time since the last watermark is repaired.
                self.end(f"ccxt could not read a frame: {reason}")

    # --- what is due ------------------------------------------------------------------------------------------

    async def _serve(self, socket: Socket) -> None:
        while True:
            self._wake.clear()
            self._require_life()
            self._report_unanswered()
            try:
                async with asyncio.timeout(await self._send_due(socket)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _require_life(self) -> None:
        limits, exchange, now = self._around.limits, self._around.exchange, time.monotonic()
        if self._ended is not None:
            raise Disconnected(self._ended, exchange=exchange, code=self._close_code)
        if not self._wanted and self._subscriptions.idle:
            raise Disconnected("nothing left to carry", exchange=exchange)
        age_s = (now - self._opened_at) * self._around.clock.speed
        if limits.age_max_s is not None and age_s > limits.age_max_s:
            raise Disconnected("renewed before the venue cuts it", exchange=exchange)
        if self._around.buffer.full:
            return
        if late := self._subscriptions.overdue(now):
            channel, symbol = late[0]
            raise StaleStream(
                f"no acknowledgement of {len(late)} subscriptions, for instance {symbol} {channel}",
                exchange=exchange,
                silent_s=limits.ack_timeout_s,
            )
        for key in self._subscriptions.drop_overdue_leaving(now):
            self._intake.leave(key)
        silent_s = now - self._intake.frame_at
        if silent_s > limits.silence_max_s:
            raise StaleStream(f"no frame for {silent_s:.1f} s", exchange=exchange, silent_s=silent_s)
        unanswered_s = self._proof.unanswered_s(now)
        if self._pong_seen and unanswered_s > limits.silence_max_s:
            raise StaleStream(f"no answer to a ping for {unanswered_s:.1f} s", exchange=exchange, silent_s=unanswered_s)
        lagging_since = self._intake.lagging_since
        if lagging_since is not None and now - lagging_since > limits.lag_patience_s:
            lag_s = self._proof.lag_us() / 1_000_000
            raise StaleStream(f"trades arrive {lag_s:.1f} s late", exchange=exchange, silent_s=lag_s)

    def _report_unanswered(self) -> None:
        """Report the subscriptions of an untested exchange that no data have come of in time."""
        if self._dialect.tested or self._around.buffer.full:
            return
        patience_s = self._dialect.ack_patience_s / self._around.clock.speed
        if late := self._subscriptions.unanswered_for(patience_s, time.monotonic()):
            self._on_unanswered(late)

    async def _send_due(self, socket: Socket) -> float:
        """Send at most one message, pings and subscriptions in turn; return after how many seconds to look again."""
        now = time.monotonic()
        if now < self._send_at:
            return self._send_at - now
        if not self._around.buffer.full:
            senders = (
                (self._send_order, self._send_ping) if self._ping_was_last else (self._send_ping, self._send_order)
            )
            for send in senders:
                if await send(socket, now):
                    self._send_at = now + 1.0 / self._around.limits.messages_per_s
                    return max(0.0, self._send_at - time.monotonic())
        clock, now_us = self._around.clock, self._around.clock.now_us()
        ping_s = (self._proof.next_ping_us(now_us) - now_us) / 1_000_000 / clock.speed
        return min(max(ping_s, _TICK_MIN_S), self._tick_max_s)

    async def _send_ping(self, socket: Socket, now: float) -> bool:
        now_us = self._around.clock.now_us()
        if now_us < self._proof.next_ping_us(now_us):
            return False
        ping_id = self._proof.start_ping(now_us, now)
        try:
            async with asyncio.timeout(self._around.limits.silence_max_s):
                await socket.connection.ping(str(ping_id).encode())
        except (ConnectionError, aiohttp.ClientError, TimeoutError) as error:
            self.end(f"a ping could not be sent: {error}")
        self._ping_was_last = True
        return True

    async def _send_order(self, socket: Socket, now: float) -> bool:
        order = self._subscriptions.next_order(self._wanted, now)
        if order is None:
            return False
        self._ping_was_last = False
        if not order.subscribe:
            await self._take_back(socket, order.keys)
            return True
        self._names.update({key: key[1] for key in order.keys})
        try:
            with reading(socket):
                ask = await ask_for(self._raw, self._dialect, order.keys, self._around)
        except TransientExchangeError as error:
            self.end(f"subscribing failed: {error}")
            return True
        except ExchangeError as error:
            self._intake.take_message(Refused(order.keys, str(error), final=True))
            return True
        if place_of(ask.url) == place_of(self._url):
            await self._subscribe(socket, order.keys, ask)
        else:
            self._intake.take_message(Refused(order.keys, f"belongs to another address, {ask.url}", final=True))
        return True

    async def _subscribe(self, socket: Socket, keys: tuple[Key, ...], ask: Ask) -> None:
        self._reception.note_asked(keys, ask)
        for name in ask.subscribe_hashes:
            socket.subscriptions[name] = ask.subscription or True
        await self._send(socket, ask.message)

    async def _take_back(self, socket: Socket, keys: tuple[Key, ...]) -> None:
        """Unsubscribe, where that is understood; elsewhere ignore from now on what still comes."""
        farewell = None
        if self._dialect.tested:
            with reading(socket):
                ask = await ask_for(self._raw, self._dialect, keys, self._around)
            farewell = self._dialect.farewell(ask.message)
        if farewell is None:
            self._intake.take_message(Acknowledged(keys, subscribed=False))
            return
        self._reception.note_taken_back(keys, farewell)
        await self._send(socket, farewell)

    async def _send(self, socket: Socket, message: Any) -> None:
        if message is None:
            return
        try:
            async with asyncio.timeout(self._around.limits.silence_max_s):
                await socket.send(message)
        except TimeoutError:
            self.end("a message could not be sent")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what a frame takes, for as long as the socket lasts."""
        if self._tasks is None or self._ended is not None:
            work.close()
            return
        self._tasks.create_task(work)
