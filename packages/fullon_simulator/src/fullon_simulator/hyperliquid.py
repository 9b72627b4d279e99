"""Hyperliquid as its clients see it: REST under /info and a WebSocket under /ws.

What was inferred and not read: the newest-first order of the trades sent on subscribing, how a client beyond its
limits is refused, and `Invalid subscription` for an unknown coin (a probe of 2026-09 saw the socket cut instead:
`unknown_coin_cuts`). The real one counts its own silence and not the client's: who pings satisfies both.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from fullon_simulator.clock import SECOND_US, MarketClock
from fullon_simulator.columns import TradeColumns
from fullon_simulator.hyperliquid_rest import HyperliquidRest
from fullon_simulator.hyperliquid_wire import INTERVALS, candle_entries, coins, trade_entries
from fullon_simulator.limits import TokenBucket
from fullon_simulator.listings import Listings
from fullon_simulator.sockets import Connection, Frame
from fullon_simulator.tape import Tape
from fullon_simulator.venue import Feed, Venue

_TRADES_SNAPSHOT = 10
_CONNECTIONS_A_MINUTE = 30
_SUBSCRIPTIONS_MAX = 1_000
_MESSAGES_A_MINUTE = 2_000


class _Channel(NamedTuple):
    kind: str
    symbol: str
    interval: str = ""


_Change = Callable[[Connection, _Channel, str, int], None]
"""Does what a request asks for; the text is the subscription as it is repeated."""


class _Malformed(Exception):
    """A message that is no request."""


class _Client:
    """What one connection has asked for, and when it last sent a message."""

    def __init__(self) -> None:
        self.channels: set[_Channel] = set()
        self.spoke()

    def spoke(self) -> None:
        self.spoke_s = asyncio.get_running_loop().time()

    def silent_s(self) -> float:
        return asyncio.get_running_loop().time() - self.spoke_s


class Hyperliquid(Venue):
    """One Hyperliquid; its limits count all clients together, as those of one address."""

    name = "hyperliquid"

    def __init__(self, tapes: Mapping[str, Tape], clock: MarketClock, *, limited: bool = True) -> None:
        self._coins = coins(tape.spec for tape in tapes.values())
        self._listings = Listings(tapes, clock, lambda spec: (self._coins[spec.symbol],))
        rest = HyperliquidRest(self._listings, self._coins, clock, limited=limited)
        super().__init__(tapes, clock, rest, socket_paths=("/ws",))
        self.connections_max = 10
        """Connections at once; earlier documents say 100."""
        self.silence_max_s = 60.0
        """Real seconds without a text message after which a client is cut, without a close frame."""
        self.unknown_coin_cuts = False
        """True where an unknown coin cuts the connection, with all it carries, and is not answered."""
        self._limited = limited
        self._clients: dict[Connection, _Client] = {}
        self._listeners: dict[_Channel, dict[Connection, None]] = {}
        self._openings = TokenBucket(burst=_CONNECTIONS_A_MINUTE, per_second=_CONNECTIONS_A_MINUTE / 60)
        self._messages = TokenBucket(burst=_MESSAGES_A_MINUTE, per_second=_MESSAGES_A_MINUTE / 60)

    def opened(self, connection: Connection, request: web.Request) -> None:
        """Turn away one connection too many; watch the silence of the others."""
        now_us = self.clock.now_us()
        self._clients[connection] = _Client()
        if self._limited and not (len(self._clients) <= self.connections_max and self._openings.take(now_us)):
            connection.close(1008, "Too many connections")
            return
        self._watch(connection, now_us)

    def left(self, connection: Connection) -> None:
        """Forget a client and what it listened to."""
        for channel in self._clients.pop(connection).channels:
            self._drop(channel, connection)

    def heard(self, connection: Connection, now_us: int) -> None:
        """Count a message; one too many ends the connection."""
        if self._limited and not self._messages.take(now_us):
            connection.close(1008, "Too many messages")

    def received(self, connection: Connection, text: str, now_us: int) -> None:
        """Answer `subscribe`, `unsubscribe` and `ping`."""
        self._clients[connection].spoke()
        try:
            self._obey(connection, _parsed(text), now_us)
        except _Malformed:
            self._refuse(connection, f"Error parsing JSON into valid websocket request: {text}", now_us)

    def _obey(self, connection: Connection, request: dict[str, Any], now_us: int) -> None:
        match request:
            case {"method": "ping"}:
                self.send(connection, Frame('{"channel":"pong"}', "pong"), now_us)
            case {"method": "subscribe", "subscription": dict(wanted)}:
                self._change(connection, self._subscribe, _fields(wanted), now_us)
            case {"method": "unsubscribe", "subscription": dict(wanted)}:
                self._change(connection, self._unsubscribe, _fields(wanted), now_us)
            case _:
                raise _Malformed

    def _change(self, connection: Connection, change: _Change, fields: dict[str, str], now_us: int) -> None:
        echo = json.dumps(fields, separators=(",", ":"))
        tape = self._listings.find(fields["coin"])
        if tape is not None and fields.get("interval", "1m") in INTERVALS:
            change(connection, _Channel(fields["type"], tape.spec.symbol, fields.get("interval", "")), echo, now_us)
        elif self.unknown_coin_cuts:
            connection.abort()
        else:
            self._refuse(connection, f"Invalid subscription {echo}", now_us)

    def _subscribe(self, connection: Connection, channel: _Channel, echo: str, now_us: int) -> None:
        """Acknowledge, repeat the last trades, and send all that happens from then on."""
        channels = self._clients[connection].channels
        if channel in channels:
            self._refuse(connection, f"Already subscribed: {echo}", now_us)
            return
        if self._limited and sum(map(len, self._listeners.values())) >= _SUBSCRIPTIONS_MAX:
            self._refuse(connection, f"Cannot track more than {_SUBSCRIPTIONS_MAX} total subscriptions.", now_us)
            return
        feed = self.follow(channel.symbol, now_us)
        channels.add(channel)
        self._listeners.setdefault(channel, {})[connection] = None
        self.counters.subscriptions += 1
        self._acknowledge(connection, "subscribe", channel, echo, now_us)
        if channel.kind == "trades":
            rows = feed.tape.read(max(0, feed.position - _TRADES_SNAPSHOT), feed.position)
            entries = trade_entries(feed.tape.spec, self._coins[channel.symbol], rows)
            self.send(connection, _frame(channel, f"[{','.join(reversed(entries))}]"), now_us)

    def _unsubscribe(self, connection: Connection, channel: _Channel, echo: str, now_us: int) -> None:
        channels = self._clients[connection].channels
        if channel not in channels:
            self._refuse(connection, f"Already unsubscribed: {echo}", now_us)
            return
        channels.remove(channel)
        self._drop(channel, connection)
        self._acknowledge(connection, "unsubscribe", channel, echo, now_us)

    def _drop(self, channel: _Channel, connection: Connection) -> None:
        self.unfollow(channel.symbol)
        del self._listeners[channel][connection]
        if not self._listeners[channel]:
            del self._listeners[channel]

    def published(self, feed: Feed, rows: TradeColumns, now_us: int) -> None:
        """Send new trades, and the candles they touched, to whoever listens; nothing tells that a candle is closed."""
        spec, coin, trades = feed.tape.spec, self._coins[feed.symbol], _Channel("trades", feed.symbol)
        if trades in self._listeners:
            self._broadcast(trades, f"[{','.join(trade_entries(spec, coin, rows))}]", now_us)
        for interval, timeframe in INTERVALS.items():
            channel = _Channel("candle", feed.symbol, interval)
            if channel in self._listeners:
                touched = feed.tape.fold(timeframe.floor(int(rows.time_us[0])), now_us, timeframe)
                for entry in candle_entries(spec, coin, interval, touched, touched.time_us.tolist(), last_price=0):
                    self._broadcast(channel, entry, now_us)

    def _broadcast(self, channel: _Channel, payload: str, now_us: int) -> None:
        frame = _frame(channel, payload)
        for connection in self._listeners[channel]:
            self.send(connection, frame, now_us)

    def flush(self, now_us: int) -> None:
        """Nothing is gathered: each market has frames of its own."""

    def _watch(self, connection: Connection, now_us: int) -> None:
        """Cut a client that has sent no message for too long, in real time; else look again when it may have."""
        client = self._clients.get(connection)
        if client is None:
            return
        left_s = self.silence_max_s - client.silent_s()
        if left_s <= 0:
            connection.abort()
            return
        self.schedule.at(now_us + int(left_s * self.clock.speed * SECOND_US) + 1, partial(self._watch, connection))

    def _acknowledge(self, connection: Connection, method: str, channel: _Channel, echo: str, now_us: int) -> None:
        data = f'{{"method":"{method}","subscription":{echo}}}'
        text = f'{{"channel":"subscriptionResponse","data":{data}}}'
        self.send(connection, Frame(text, "subscriptionResponse", channel.symbol), now_us)

    def _refuse(self, connection: Connection, error: str, now_us: int) -> None:
        self.send(connection, Frame(json.dumps({"channel": "error", "data": error}), "error"), now_us)


def _frame(channel: _Channel, payload: str) -> Frame:
    return Frame(f'{{"channel":"{channel.kind}","data":{payload}}}', channel.kind, channel.symbol)


def _parsed(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except ValueError:
        raise _Malformed from None
    if not isinstance(request, dict):
        raise _Malformed
    return request


def _fields(wanted: dict[str, Any]) -> dict[str, str]:
    """Return a subscription as the venue repeats it: its own fields in its own order."""
    names = {"trades": ("type", "coin"), "candle": ("type", "interval", "coin")}.get(str(wanted.get("type")))
    if names is None or not all(isinstance(wanted.get(name), str) for name in names):
        raise _Malformed
    return {name: wanted[name] for name in names}
