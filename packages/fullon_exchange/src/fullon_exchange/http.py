"""Ask a venue over HTTP: one session for each venue, one budget, one retry policy.

`HttpClient.get` and `post` have one policy, and this is all of it:

- 429 and 418: everybody using the budget waits as long as `Retry-After` says, then the request is repeated;
- 403 and 451, whatever the body: raised at once as `NotServedHere`;
- no answer, a time-out, a body that breaks off, 5xx, a page of HTML in place of JSON: repeated after a short
  backoff;
- an error the venue speaks (in HTTP 200 too, Kraken's way): raised as what it means, or treated like the above;
- a readable answer of the wrong shape: repeated once in case it was a hiccup, then `MalformedMessage`.

All of it a bounded number of times. Whoever wants to try for ever does so outside, calmly.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Protocol, Self, TypeVar

import aiohttp

from fullon_exchange.backoff import Backoff
from fullon_exchange.budget import RateBudget
from fullon_exchange.errors import (
    ExchangeError,
    ExchangeUnavailable,
    MalformedMessage,
    NotServedHere,
    RateLimited,
    RequestRefused,
    TransientExchangeError,
    excerpt_of,
)
from fullon_exchange.interface import Urgency
from fullon_exchange.network import NOT_SERVED, HttpSession, not_served
from fullon_log import get_component_logger

Answer = TypeVar("Answer")

_UNAVAILABLE = frozenset({408, 425})
"""Statuses below 500 that come from what stands before the exchange."""


class HttpDialect(Protocol):
    """What a venue says differently from the others; pure."""

    used_weight_header: str | None
    """The response header that tells how much weight this IP has used; None where there is none."""

    def refusal(self, status: int, body: bytes) -> ExchangeError | None:
        """Return what the error in `body` means; None where it carries none that the venue defines."""


class HttpClient:
    """HTTP to one venue; an async context manager."""

    def __init__(
        self,
        exchange: str,
        base_url: str,
        budget: RateBudget,
        dialect: HttpDialect,
        *,
        timeout_s: float = 15.0,
        attempts_max: int = 4,
        patience_s: float = 60.0,
        body_max: int = 64 * 2**20,
        backoff: Callable[[], Backoff] = lambda: Backoff(first_s=0.25, cap_s=4.0),
    ) -> None:
        self.exchange = exchange
        self.base_url = base_url
        self.budget = budget
        self._dialect = dialect
        self._timeout_s = timeout_s
        self._attempts_max = attempts_max
        self._patience_s = patience_s
        self._body_max = body_max
        self._backoff = backoff
        self._session: HttpSession | None = None
        self._log = get_component_logger(f"fullon.exchange.{exchange}.http")

    async def __aenter__(self) -> Self:
        self._session = HttpSession(
            self.exchange, headers={"User-Agent": "fullon-exchange", "Accept": "application/json"}
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.__aexit__(*exc)
            self._session = None

    async def get(
        self,
        path: str,
        params: Mapping[str, str | int],
        parse: Callable[[bytes], Answer],
        *,
        weight: float = 1.0,
        urgency: Urgency = Urgency.BACKFILL,
    ) -> Answer:
        """Return `parse(body)` of `GET base_url + path?params`, at the cost of `weight`.

        Raises:
            RateLimited: the venue asked to wait for longer than `patience_s`.
            TransientExchangeError: not answered usably `attempts_max` times in a row.
            UnknownSymbol, RequestRefused: the venue says no.
            MalformedMessage: `parse` refused the answer twice.
        """
        ask = partial(self._ask, "GET", path, {"params": dict(params)}, weight, urgency)
        return await self._ask_patiently(path, ask, parse)

    async def post(
        self,
        path: str,
        message: Mapping[str, object],
        parse: Callable[[bytes], Answer],
        *,
        weight: float = 1.0,
        urgency: Urgency = Urgency.BACKFILL,
    ) -> Answer:
        """Return `parse(body)` of `POST base_url + path` with `message` as JSON: a question, like `get`."""
        ask = partial(self._ask, "POST", path, {"json": dict(message)}, weight, urgency)
        return await self._ask_patiently(path, ask, parse)

    async def _ask_patiently(
        self, path: str, ask: Callable[[], Awaitable[bytes]], parse: Callable[[bytes], Answer]
    ) -> Answer:
        """Ask until there is an answer that can be read; the policy of the module."""
        backoff = self._backoff()
        attempt = 0
        while True:
            attempt += 1
            try:
                return parse(await ask())
            except RateLimited as error:
                self.budget.pause(error.retry_after_s or 1.0 + 2.0**attempt)
                if attempt >= self._attempts_max:
                    raise
                self._log.warning("asked to wait", path=path, retry_after_s=error.retry_after_s)
            except NotServedHere:
                raise
            except TransientExchangeError as error:
                if attempt >= self._attempts_max:
                    raise
                self._log.debug("request failed, trying again", path=path, attempt=attempt, error=str(error))
                await asyncio.sleep(backoff.next_s())
            except MalformedMessage as error:
                if attempt >= 2:
                    raise
                self._log.warning("answer of an unexpected shape, asking again", path=path, error=str(error))
                await asyncio.sleep(backoff.next_s())

    async def _ask(self, method: str, path: str, question: dict[str, Any], weight: float, urgency: Urgency) -> bytes:
        """Return the body of one successful answer, or raise what its failure means."""
        if self._session is None:
            raise RuntimeError(f"{self.exchange}: enter the exchange (`async with`) before asking it")
        if (paused_s := self.budget.paused_s) > self._patience_s:
            raise RateLimited("the exchange asked to wait", exchange=self.exchange, retry_after_s=paused_s)
        await self.budget.acquire(weight, urgency)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.request(method, self.base_url + path, allow_redirects=False, **question) as response,
            ):
                body = await self._read(response)
        except TimeoutError as error:
            raise self._unavailable(f"no answer to {path} within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._unavailable(f"no answer to {path}: {error or type(error).__name__}") from error
        self._observe(response.headers)
        self._check(path, response.status, response.headers, body)
        return body

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._body_max:
                raise self._unavailable(f"answered more than {self._body_max} bytes", response.status)
        return bytes(body)

    def _observe(self, headers: Mapping[str, str]) -> None:
        used = headers.get(self._dialect.used_weight_header or "", "")
        if used.isdecimal():
            self.budget.observe_used(float(used))

    def _check(self, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise what an unsuccessful answer means."""
        if status in (418, 429):
            raise RateLimited(
                f"HTTP {status} to {path}",
                exchange=self.exchange,
                retry_after_s=parse_retry_after(headers.get("Retry-After", "")),
            )
        if status in NOT_SERVED:
            raise not_served(self.exchange, status, path, body)
        readable = body.lstrip()[:1] in (b"{", b"[")
        if readable and (refusal := self._dialect.refusal(status, body)) is not None:
            raise refusal
        if status >= 500 or status in _UNAVAILABLE or 300 <= status < 400:
            raise self._unavailable(f"HTTP {status} to {path}: {excerpt_of(body)}", status)
        if status != 200:
            raise RequestRefused(
                f"HTTP {status} to {path}: {excerpt_of(body)}", exchange=self.exchange, code=str(status)
            )
        if not readable or body.rstrip()[-1:] not in (b"}", b"]"):
            raise self._unavailable(f"answered {path} with something else than JSON: {excerpt_of(body)}", status)

    def _unavailable(self, message: str, status: int | None = None) -> ExchangeUnavailable:
        return ExchangeUnavailable(message, exchange=self.exchange, status=status)


def parse_retry_after(value: str) -> float | None:
    """Return the seconds a `Retry-After` header asks for, given as a number or as a date; None if unreadable."""
    if value.strip().isdecimal():
        return float(value)
    try:
        moment: datetime = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
