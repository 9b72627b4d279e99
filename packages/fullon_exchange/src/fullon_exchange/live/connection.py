"""One socket, from its handshake to its end.

`Connection.serve` is one loop around deadlines: it sends what brings the venue to the wanted subscriptions, pings
for proof of life, and ends with the reason why the socket is of no more use. Frames are read in picows' callback,
without a task switch; when the buffer of events is full the socket is not read at all.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping

from picows import WSCloseCode, WSError, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from fullon_exchange.errors import Disconnected, ExchangeUnavailable, MalformedMessage, StaleStream
from fullon_exchange.live.intake import Intake, Surroundings
from fullon_exchange.live.proof import Proof
from fullon_exchange.live.subscriptions import Subscriptions
from fullon_exchange.network import NOT_SERVED, connect, not_served
from fullon_exchange.wire import Key, Pong, Wire

_TEXT = WSMsgType.TEXT
_TICK_MIN_S = 0.005
_TICK_MAX_S = 1.0
_CLOSE_TIMEOUT_S = 1.0
_FRAME_MAX = 16 * 2**20
_AGE_SHARE_MIN = 0.9
"""Sockets are renewed between this share of their age and all of it, so that many do not change at once."""


class Connection(WSListener):
    """One WebSocket connection and what it carries; used once."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        wanted: dict[Key, str],
        around: Surroundings,
        *,
        holds: Mapping[Key, float],
        on_news: Callable[[], None],
    ) -> None:
        """`wanted` (key → the venue's name) may change meanwhile; what the venue refuses is taken out of it.

        Keys in `holds` are asked for after all others, and not before so many seconds have passed. `on_news` is called
        when something has been acknowledged, refused or proved, and when the venue says farewell.
        """
        super().__init__()
        self.name = name
        self.opened = False
        self.replaced = False
        self.renew_at = math.inf
        """When it is to be replaced, in monotonic seconds."""
        self.renew_reason = "it has reached its age"
        self._on_news = on_news
        self._wire = wire
        self._wanted = wanted
        self._holds = holds
        self._around = around
        self._clock = around.clock
        self._buffer = around.buffer
        self._subscriptions = Subscriptions(
            ack_timeout_s=around.limits.ack_timeout_s, keys_per_order=around.limits.streams_per_message
        )
        limits = around.limits
        self._proof = Proof(
            speed=around.clock.speed, grace_s=limits.grace_s, cadence_s=limits.cadence_s, ping_s=limits.ping_s
        )
        self._tick_max_s = min(_TICK_MAX_S, limits.ack_timeout_s / 2, limits.silence_max_s / 2)
        self._names: dict[Key, str] = {}
        self._intake = Intake(
            name,
            wire,
            wanted=wanted,
            names=self._names,
            subscriptions=self._subscriptions,
            proof=self._proof,
            around=around,
            changed=self._take_news,
            farewell=self._take_farewell,
        )
        self._transport: WSTransport | None = None
        self._wake = asyncio.Event()
        self._closed = False
        self._ended: str | None = None
        self._close_code: int | None = None
        self._fragments = bytearray()
        self._opened_at = 0.0
        self._send_at = 0.0
        self._ping_was_last = True

    async def open(self) -> None:
        """Connect.

        Raises:
            ExchangeUnavailable: no connection within the time allowed.
        """
        limits = self._around.limits
        try:
            async with asyncio.timeout(limits.connect_timeout_s):
                await ws_connect(
                    lambda: self,
                    self._around.url,
                    websocket_handshake_timeout=limits.connect_timeout_s,
                    enable_auto_pong=False,
                    max_frame_size=_FRAME_MAX,
                    logger_name=self._around.exchange,
                    socket_factory=lambda address: connect(self._around.exchange, address.url),
                )
        except (OSError, TimeoutError, WSError) as error:
            raise self._not_connected(error) from error
        if self._transport is None:
            # picows returns as if all were well when the server hangs up before it has answered.
            raise ExchangeUnavailable(f"no WebSocket at {self._around.url}: it hung up", exchange=self._around.exchange)
        self.opened = True
        self._opened_at = self._intake.frame_at = time.monotonic()
        if self._around.age_s is not None:
            share = random.uniform(_AGE_SHARE_MIN, 1.0)  # noqa: S311 - chance spreads the load, it keeps no secret
            self.renew_at = self._opened_at + share * self._around.age_s / self._clock.speed
        if self._buffer.full:
            self.pause()

    def _not_connected(self, error: Exception) -> ExchangeUnavailable:
        exchange, url = self._around.exchange, self._around.url
        if isinstance(error, WSHandshakeError) and error.response is not None:
            status = int(error.response.status)
            if status in NOT_SERVED:
                return not_served(exchange, status, url, error.raw_body or b"")
        return ExchangeUnavailable(f"no WebSocket at {url}: {str(error) or type(error).__name__}", exchange=exchange)

    async def serve(self) -> None:
        """Carry what is wanted until the socket is of no more use.

        Returns only by raising.

        Raises:
            Disconnected: the venue, the network or `end` ended it, or nothing is left to carry.
            StaleStream: it is silent, lags, or does not acknowledge.
        """
        while True:
            self._wake.clear()
            self._require_life()
            try:
                async with asyncio.timeout(self._send_due()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Close the socket; at most a second, safe to call at any time and again."""
        self._closed = True
        transport = self._transport
        if transport is None:
            return
        if not transport.is_disconnected:
            transport.send_close()
        transport.disconnect(graceful=False)
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await transport.wait_disconnected()
        except TimeoutError:
            self._around.faults.count("defect", f"{self.name} did not close within {_CLOSE_TIMEOUT_S:g} s")
        except Exception as error:  # noqa: BLE001 -- picows raises here whatever ended the socket; it has been told
            self._ended = self._ended or str(error)

    def refresh(self) -> None:
        """Look at the wanted subscriptions again: they have changed."""
        self._wake.set()

    def end(self, reason: str) -> None:
        """Give this connection up; `serve` raises."""
        self._ended = self._ended or reason
        self._wake.set()

    def give_way(self, reason: str) -> None:
        """End: another connection carries what this one carried."""
        self.replaced = self._ended is None
        self.end(reason)

    def succeeds(self, old: "Connection") -> bool:
        """Tell whether `old` may go: this one carries all of it, and both have proved the moment when that was so."""
        return (
            self.opened
            and self._ended is None
            and all(self.carries(key) for key in self._wanted if old.carries(key))
            and min(old.watermark_us, self.watermark_us) >= self._intake.subscribed_us
        )

    def pause(self) -> None:
        """Stop reading."""
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        """Read again; the silence meanwhile was ours."""
        now = time.monotonic()
        self._intake.frame_at = now
        self._intake.lagging_since = None
        self._proof.forgive(now)
        self._subscriptions.forgive(now)
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()

    @property
    def ended(self) -> str | None:
        """Why it has ended or is about to; None while it serves."""
        return self._ended

    @property
    def watermark_us(self) -> int:
        """Up to when it has proved what it carries; 0 before the first proof."""
        return self._proof.watermark_us

    @property
    def data_seen(self) -> bool:
        """Whether any record has arrived."""
        return self._intake.data_seen

    def knows(self, key: Key) -> bool:
        """Tell whether the venue has been asked for `key` on this connection."""
        return self._subscriptions.knows(key)

    def carries(self, key: Key) -> bool:
        """Tell whether the venue has acknowledged `key` on this connection."""
        return self._subscriptions.carries(key)

    @property
    def carries_any(self) -> bool:
        """Whether the venue has acknowledged anything on this connection."""
        return self._subscriptions.active

    @property
    def unanswered(self) -> list[Key]:
        """The subscriptions asked for that the venue has not acknowledged."""
        return self._subscriptions.unanswered

    @property
    def leaving(self) -> list[Key]:
        """The subscriptions given up whose end the venue has not acknowledged."""
        return self._subscriptions.leaving

    def _take_news(self) -> None:
        self._wake.set()
        self._on_news()

    def _take_farewell(self, reason: str) -> None:
        self.renew_at = min(self.renew_at, time.monotonic())
        self.renew_reason = reason
        self._on_news()

    # --- what is due ------------------------------------------------------------------------------------------

    def _require_life(self) -> None:
        limits, exchange, now = self._around.limits, self._around.exchange, time.monotonic()
        if self._ended is not None:
            raise Disconnected(self._ended, exchange=exchange, code=self._close_code)
        if not self._wanted and self._subscriptions.idle:
            raise Disconnected("nothing left to carry", exchange=exchange)
        if self._buffer.full:
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
        if unanswered_s > limits.silence_max_s:
            raise StaleStream(f"no answer to a ping for {unanswered_s:.1f} s", exchange=exchange, silent_s=unanswered_s)
        lagging_since = self._intake.lagging_since
        if lagging_since is not None and now - lagging_since > limits.lag_patience_s:
            lag_s = self._proof.lag_us() / 1_000_000
            raise StaleStream(f"trades arrive {lag_s:.1f} s late", exchange=exchange, silent_s=lag_s)

    def _send_due(self) -> float:
        """Send at most one message, pings and subscriptions in turn; return after how many seconds to look again."""
        now = time.monotonic()
        if now < self._send_at:
            return self._send_at - now
        if not self._buffer.full:
            senders = (
                (self._send_order, self._send_ping) if self._ping_was_last else (self._send_ping, self._send_order)
            )
            if senders[0](now) or senders[1](now):
                self._send_at = now + 1.0 / self._around.limits.messages_per_s
                return self._send_at - now
        now_us = self._clock.now_us()
        ping_s = (self._proof.next_ping_us(now_us) - now_us) / 1_000_000 / self._clock.speed
        return min(max(ping_s, _TICK_MIN_S), self._tick_max_s)

    def _send_ping(self, now: float) -> bool:
        now_us = self._clock.now_us()
        if now_us < self._proof.next_ping_us(now_us) or self._transport is None:
            return False
        ping_id = self._proof.start_ping(now_us, now)
        message = self._wire.ping(ping_id)
        if message is None:
            self._transport.send_ping(str(ping_id).encode())
        else:
            self._transport.send(WSMsgType.TEXT, message)
        self._ping_was_last = True
        return True

    def _send_order(self, now: float) -> bool:
        waited_s = now - self._opened_at
        askable = [key for key in self._wanted if waited_s >= self._holds.get(key, 0.0)]
        order = self._subscriptions.next_order(askable, now, last=self._holds)
        if order is None or self._transport is None:
            return False
        if order.subscribe:
            self._names.update({key: self._wanted[key] for key in order.keys})
        names = {self._names[key]: key[1] for key in order.keys}
        speak = self._wire.subscribe if order.subscribe else self._wire.unsubscribe
        self._transport.send(WSMsgType.TEXT, speak(order.keys[0][0], names))
        self._ping_was_last = False
        return True

    # --- what arrives -----------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Note the transport; called by picows. An opening that was cancelled can still come to this."""
        self._transport = transport
        if self._closed:
            transport.disconnect(graceful=False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Read one frame; called by picows for each, in order."""
        intake = self._intake
        if not intake.read_us:
            intake.begin_read()
        try:
            if frame.msg_type is _TEXT and frame.fin:
                intake.take_text(frame.get_payload_as_bytes())
            else:
                self._take_other(transport, frame)
        except MalformedMessage as error:
            self._around.faults.count(error.kind, str(error))
        except Exception as error:
            # A defect of ours must not leave a socket that looks alive: what the frame said is lost, so the
            # connection ends and its time since the last watermark is repaired.
            self._around.faults.count("defect", f"{type(error).__name__}: {error}")
            self.end(f"a frame could not be processed: {type(error).__name__}: {error}")
            intake.end_read()
            raise
        if frame.last_in_buffer:
            intake.end_read()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Note the end; called by picows."""
        self._intake.end_read()
        self.end("the connection was lost")

    def _take_close(self, transport: WSTransport) -> None:
        """Answer the venue's close, as the protocol wants it, and end."""
        received = transport.close_handshake.recv
        if received is not None:
            self._close_code = int(received.code.value if isinstance(received.code, WSCloseCode) else received.code)
            self.end(f"closed by the venue: {self._close_code} {received.reason or ''}".rstrip())
        if not transport.is_close_frame_sent:
            transport.send_close()
        transport.disconnect()

    def _take_other(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a control frame, or one part of a fragmented message.

        Pings are answered here and not by picows, which would keep them, and with them the mark of the last frame
        of a read, to itself.
        """
        payload = frame.get_payload_as_bytes()
        if frame.msg_type is WSMsgType.PING:
            transport.send_pong(payload)
        elif frame.msg_type is WSMsgType.CLOSE:
            self._take_close(transport)
        elif frame.msg_type is WSMsgType.PONG:
            if payload.isdigit():
                self._intake.take_message(Pong(int(payload)))
        elif frame.msg_type is WSMsgType.BINARY:
            raise MalformedMessage("binary frame", exchange=self._around.exchange, kind="binary", excerpt=payload)
        elif frame.msg_type in (_TEXT, WSMsgType.CONTINUATION):
            if frame.msg_type is _TEXT:
                self._fragments.clear()
            self._fragments += payload
            if len(self._fragments) > _FRAME_MAX:
                self.end(f"a fragmented message of more than {_FRAME_MAX} bytes")
                self._fragments.clear()
            elif frame.fin:
                message, self._fragments = bytes(self._fragments), bytearray()
                self._intake.take_text(message)
