"""What a fault must know of a venue's wire: which frames carry what, how subscriptions are asked for and refused."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from aiohttp import web

from fullon_simulator.clock import SECOND_US
from fullon_simulator.faults_message import UNREADABLE, Message, read, write
from fullon_simulator.sockets import Connection, Frame
from fullon_simulator.spec import SymbolSpec

DATA = ("trades", "candles", "ticker")
"""The channels that carry data; the rest are heartbeats and answers."""


class Topic(NamedTuple):
    """One subscription: its channel and symbol, and how its venue puts it (JSON)."""

    channel: str
    symbol: str
    wire: str


class Order(NamedTuple):
    """A client's message that subscribes or unsubscribes."""

    subscribes: bool
    topics: tuple[Topic, ...]


class About(NamedTuple):
    """What a REST request is about; the symbol is empty where it is about none or all."""

    channel: str
    """`trades`, `candles`, `listings`, or nothing of the kind."""
    symbol: str = ""
    interval: str = ""
    """The timeframe of candles, as the venue calls it."""
    cursor: str = ""
    """Where the page is to begin, as the client asks."""

    def start_us(self) -> int | None:
        """Return when a page of candles is to begin, told in ISO, seconds or milliseconds; None where it is not."""
        text = self.cursor.partition(" ")[0]
        if not text:
            return None
        try:
            if not text.isdecimal():
                return round(datetime.fromisoformat(text).timestamp() * SECOND_US)
        except ValueError:
            return None
        return int(text) * (1000 if len(text) > len("4102444800") else SECOND_US)


class Dialect(ABC):
    """One venue's way of saying things."""

    channels: ClassVar[Mapping[str, str]]
    """From the channel of a `Frame` to `trades`, `candles` or `ticker`; what is not named is no data."""
    data_prefix: ClassVar[str] = "{"
    """How a frame of data begins, where answers have the same channel."""
    limit: ClassVar[str] = ""
    """The query's parameter that says how many rows are wanted."""
    malformed: ClassVar[Sequence[str]]
    """Frames that look like data and are none."""
    forgets_delisted: ClassVar[bool] = True
    """False where a delisted market stays among the venue's markets, marked."""

    def __init__(self, specs: Iterable[SymbolSpec]) -> None:
        self.symbols: dict[str, str] = {name: spec.symbol for spec in specs for name in self.names(spec)}

    @abstractmethod
    def names(self, spec: SymbolSpec) -> Sequence[str]:
        """Return the venue's names of a market."""

    # --- frames

    def channel(self, frame: Frame) -> str:
        """Return `trades`, `candles` or `ticker` for data, else nothing."""
        return self.channels.get(frame.channel, "") if frame.text.startswith(self.data_prefix) else ""

    def is_heartbeat(self, frame: Frame) -> bool:
        """Tell whether a frame proves nothing but life."""
        return frame.channel in ("heartbeat", "pong")

    @abstractmethod
    def acknowledges(self, frame: Frame) -> bool:
        """Tell whether a frame acknowledges a subscription."""

    def message(self, frame: Frame) -> Message | None:
        """Take a frame of trades or candles apart; None for any other, and for what another fault has spoiled."""
        if self.channel(frame) not in ("trades", "candles"):
            return None
        try:
            return self.rows_of(read(frame.text))
        except UNREADABLE:
            return None

    @abstractmethod
    def rows_of(self, body: Any) -> Message | None:
        """Take the parsed frame of trades or candles apart."""

    def farewell(self, now_us: int) -> str | None:
        """Return what the venue says before it cuts an old connection; None where it says nothing."""
        return None

    # --- subscriptions

    @abstractmethod
    def order(self, text: str) -> Order | None:
        """Read a client's message; None where it is no subscription."""

    @abstractmethod
    def only(self, text: str, topics: Sequence[Topic]) -> str:
        """Return the order `text` for some of its topics."""

    @abstractmethod
    def refusals(self, text: str, topics: Sequence[Topic], now_us: int) -> list[str]:
        """Return what the venue says where it refuses these topics of the order `text`."""

    refuses_all: ClassVar[bool] = False
    """True where one bad topic refuses the whole order."""

    @abstractmethod
    def unsubscription(self, topic: Topic) -> str:
        """Return the order that ends a subscription."""

    # --- REST

    @abstractmethod
    async def about(self, request: web.Request) -> About:
        """Tell what a request is about."""

    def page(self, request: web.Request, about: About, text: str) -> Message | None:
        """Take an answer of trades or candles apart; None where it is an error, or spoiled by another fault."""
        if about.channel not in ("trades", "candles"):
            return None
        try:
            return self.rows_answered(request, about, read(text))
        except UNREADABLE:
            return None

    @abstractmethod
    def rows_answered(self, request: web.Request, about: About, body: Any) -> Message | None:
        """Take the parsed answer of trades or candles apart; None where it is an error."""

    @abstractmethod
    async def newest(self, request: web.Request) -> web.Request:
        """Return the request without the time or id that it starts from."""

    def turned(self, request: web.Request) -> bool:
        """Tell whether the answer to what `newest` returned has its rows the wrong way round."""
        return False

    @abstractmethod
    def refusal(self, reason: str) -> web.Response:
        """Return how the venue says `too_many_requests`, `unavailable` or `too_old` in its own words."""

    @abstractmethod
    def mark(self, text: str, symbol: str, state: str) -> str:
        """Return the list of markets `text` with one of them `halted` or `delisted`."""

    def relist(self, text: str, symbol: str, how: str) -> str:
        """Return the list of markets `text` with one of them listed in another way.

        `how` is `malformed`, `renamed` (its id stays), or where another market of its name stands: `before` it, `after`
        it or `instead` of it.
        """
        body = read(text)
        found: list[tuple[str, Any]] = []
        for market_id, row in self.listed(body):
            if self.symbols.get(market_id) != symbol:
                found.append((market_id, row))
            elif how in ("malformed", "renamed"):
                found.append(
                    (market_id, self.malformed_row(row) if how == "malformed" else self.renamed_row(body, row))
                )
            else:
                own, other = (market_id, row), self.namesake_row(body, market_id, row)
                found += {"before": [other, own], "after": [own, other], "instead": [other]}[how]
        self.put_listed(body, found)
        return write(body)

    @abstractmethod
    def listed(self, body: Any) -> list[tuple[str, Any]]:
        """Return the markets of a list with their ids; none of what is no list."""

    @abstractmethod
    def put_listed(self, body: Any, found: Sequence[tuple[str, Any]]) -> None:
        """Make these the markets of a list."""

    @abstractmethod
    def malformed_row(self, row: Any) -> Any:
        """Return a market that cannot be read."""

    @abstractmethod
    def renamed_row(self, body: Any, row: Any) -> Any:
        """Return a market under another name."""

    @abstractmethod
    def namesake_row(self, body: Any, market_id: str, row: Any) -> tuple[str, Any]:
        """Return another market of the same name, and its id."""

    def without(self, request: web.Request, *names: str, **instead: str) -> web.Request:
        """Return the request without some parameters of its query, and with others."""
        query = [(name, value) for name, value in request.query.items() if name not in (*names, *instead)]
        return request.clone(rel_url=request.rel_url.with_query([*query, *instead.items()]))


class Subscriptions:
    """What every connection has asked for and not given up."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._topics: dict[Connection, dict[Topic, None]] = {}

    def opened(self, connection: Connection, alive: Iterable[Connection]) -> None:
        """Begin with a new connection, and forget those that are gone."""
        kept = set(alive)
        self._topics = {each: topics for each, topics in self._topics.items() if each in kept}
        self._topics[connection] = {}

    def heard(self, connection: Connection, text: str) -> None:
        """Note what a client asks for."""
        order = self._dialect.order(text)
        if order is None:
            return
        topics = self._topics.setdefault(connection, {})
        for topic in order.topics:
            if order.subscribes:
                topics[topic] = None
            else:
                topics.pop(topic, None)

    def of(self, connection: Connection) -> list[Topic]:
        """Return what a connection has asked for, in that order."""
        return list(self._topics.get(connection, ()))
