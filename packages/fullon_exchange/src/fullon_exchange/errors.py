"""What can go wrong with an exchange.

    ExchangeError(exchange, symbol, channel)
    ├─ TransientExchangeError                 retryable
    │  ├─ Disconnected(code, reason)          a socket ended
    │  ├─ StaleStream(silent_s)               a socket is open and silent
    │  ├─ RateLimited(retry_after_s)          the exchange asked to wait
    │  └─ ExchangeUnavailable(status)         no answer, 5xx, a page of HTML, a truncated body
    │     └─ NotServedHere                    403 or 451: the exchange does not serve this country or address
    ├─ RequestRefused(code)                   the exchange understood and said no
    ├─ SubscriptionRejected                   the same, of a subscription
    ├─ UnknownExchange(near)                  also a ValueError
    ├─ UnknownSymbol                          not listed
    ├─ NotSupported                           this way to the exchange cannot do it
    ├─ VenueClosed                            the exchange is closed for good
    ├─ PageStuck                              paging history does not advance
    └─ MalformedMessage(kind, excerpt)        a message that cannot be read; live ones are counted and skipped

`retryable` says whether the same call may succeed later; `retry_after_s` is set where the exchange said when.
"""

from collections.abc import Sequence

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)
"""What decoding foreign bytes can raise: bad JSON, text or types, nesting without end, numbers without end."""

_EXCERPT_MAX = 200


class ExchangeError(Exception):
    """Something went wrong with an exchange; the facts are attributes, the sentence is `str()`."""

    retryable = False
    retry_after_s: float | None = None

    def __init__(self, message: str, *, exchange: str = "", symbol: str = "", channel: str = "") -> None:
        super().__init__(message)
        self.exchange = exchange
        self.symbol = symbol
        self.channel = channel

    def __str__(self) -> str:
        where = " ".join(part for part in (self.exchange, self.symbol, self.channel) if part)
        return f"{where}: {self.args[0]}" if where else str(self.args[0])


class TransientExchangeError(ExchangeError):
    """It may work later."""

    retryable = True


class Disconnected(TransientExchangeError):
    """A socket ended; `code` is the WebSocket close code, None where there was none."""

    def __init__(self, reason: str, *, exchange: str = "", code: int | None = None) -> None:
        super().__init__(reason, exchange=exchange)
        self.code = code
        self.reason = reason


class StaleStream(TransientExchangeError):
    """A socket is open but has proved nothing for `silent_s` seconds."""

    def __init__(self, message: str, *, exchange: str = "", silent_s: float) -> None:
        super().__init__(message, exchange=exchange)
        self.silent_s = silent_s


class RateLimited(TransientExchangeError):
    """The exchange asked to wait."""

    def __init__(self, message: str, *, exchange: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, exchange=exchange)
        self.retry_after_s = retry_after_s


class ExchangeUnavailable(TransientExchangeError):
    """No usable answer; `status` is the HTTP status, None where there was no answer at all."""

    def __init__(self, message: str, *, exchange: str = "", status: int | None = None) -> None:
        super().__init__(message, exchange=exchange)
        self.status = status


class NotServedHere(ExchangeUnavailable):
    """The exchange does not serve the country or the address that asks; another way to it may help."""


class RequestRefused(ExchangeError):
    """The exchange understood the request and refuses it; `code` is its own word for why."""

    def __init__(self, message: str, *, exchange: str = "", symbol: str = "", code: str = "") -> None:
        super().__init__(message, exchange=exchange, symbol=symbol)
        self.code = code


class SubscriptionRejected(ExchangeError):
    """The exchange refused a subscription for good."""


class UnknownExchange(ExchangeError, ValueError):
    """No exchange of this name; `near` lists names that look like it."""

    def __init__(self, message: str, *, exchange: str = "", near: Sequence[str] = ()) -> None:
        super().__init__(message, exchange=exchange)
        self.near = tuple(near)


class UnknownSymbol(ExchangeError):
    """The exchange does not list this symbol."""


class NotSupported(ExchangeError):
    """This way to the exchange cannot do what was asked."""


class VenueClosed(ExchangeError):
    """The exchange is closed for good."""


class PageStuck(ExchangeError):
    """Paging through history does not advance; the message carries the cursor and what was answered."""


class MalformedMessage(ExchangeError):
    """A message that cannot be read.

    `kind` is the name it is counted under, `excerpt` its first characters.
    """

    def __init__(
        self, message: str, *, exchange: str = "", kind: str = "malformed", excerpt: bytes | str = b""
    ) -> None:
        super().__init__(message, exchange=exchange)
        self.kind = kind
        self.excerpt = excerpt_of(excerpt)

    def __str__(self) -> str:
        return f"{super().__str__()}: {self.excerpt}" if self.excerpt else super().__str__()


def unexpected(exchange: str, body: bytes, error: Exception | str) -> MalformedMessage:
    """Return the error for an answer whose shape is not the documented one."""
    return MalformedMessage(f"answer of an unexpected shape ({error})", exchange=exchange, excerpt=body)


def excerpt_of(text: bytes | str) -> str:
    """Return the first characters of `text`, printable, for a log line or an error."""
    start = text[:_EXCERPT_MAX]
    if isinstance(start, bytes):
        start = start.decode("utf-8", "backslashreplace")
    return start + ("…" if len(text) > _EXCERPT_MAX else "")
