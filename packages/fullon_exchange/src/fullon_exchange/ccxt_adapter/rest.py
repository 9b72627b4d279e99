"""Ask through ccxt: one rate budget, one retry policy, our errors.

The policy is that of `fullon_exchange.http`, as far as ccxt lets it be:

- asked to wait (429, 418, a body that says so): everybody using the budget waits, then the request is repeated;
- 403 and 451, whatever the body: raised at once as `NotServedHere`;
- no usable answer: repeated after a short backoff;
- an answer that ccxt cannot read: repeated once, then `MalformedMessage`;
- a refusal: raised as what it means.

All of it a bounded number of times.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fullon_exchange.backoff import Backoff
from fullon_exchange.budget import RateBudget
from fullon_exchange.ccxt_adapter.failures import translate
from fullon_exchange.ccxt_adapter.library import Question, asking
from fullon_exchange.clock import Clock
from fullon_exchange.errors import MalformedMessage, NotServedHere, RateLimited, TransientExchangeError
from fullon_exchange.interface import Urgency
from fullon_log import get_component_logger

_ATTEMPTS_MAX = 4
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Reply:
    """What ccxt returned, and what it was made of."""

    value: Any
    question: Question


class Rest:
    """Requests to one exchange."""

    def __init__(self, exchange: str, raw: Any, budget: RateBudget, clock: Clock) -> None:
        self.exchange = exchange
        self.raw = raw
        self.budget = budget
        self.clock = clock
        self._log = get_component_logger(f"fullon.exchange.{exchange}.http")

    async def ask(self, call: Callable[[], Awaitable[Any]], *, urgency: Urgency, symbol: str = "") -> Reply:
        """Return the answer to `call()`, asked as often as the policy of the module allows.

        Raises:
            RateLimited: the exchange asked to wait for longer than a minute.
            TransientExchangeError: not answered usably four times in a row.
            UnknownSymbol, NotSupported, RequestRefused: the exchange, or ccxt, says no.
            MalformedMessage: ccxt could not read the answer, twice.
        """
        backoff = Backoff(first_s=0.25, cap_s=4.0)
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._ask(call, urgency, symbol)
            except RateLimited as error:
                self.budget.pause(error.retry_after_s or 1.0 + 2.0**attempt)
                if attempt >= _ATTEMPTS_MAX:
                    raise
                self._log.warning("asked to wait", retry_after_s=error.retry_after_s)
            except NotServedHere:
                raise
            except TransientExchangeError as error:
                if attempt >= _ATTEMPTS_MAX:
                    raise
                self._log.debug("request failed, trying again", attempt=attempt, error=str(error))
                await asyncio.sleep(backoff.next_s())
            except MalformedMessage as error:
                if attempt >= 2:
                    raise
                self._log.warning("answer that ccxt cannot read, asking again", error=str(error))
                await asyncio.sleep(backoff.next_s())

    async def _ask(self, call: Callable[[], Awaitable[Any]], urgency: Urgency, symbol: str) -> Reply:
        if (paused_s := self.budget.paused_s) > _PATIENCE_S:
            raise RateLimited("the exchange asked to wait", exchange=self.exchange, retry_after_s=paused_s)
        with asking(Question(urgency, self.clock)) as question:
            try:
                value = await call()
            except Exception as error:
                raise translate(
                    error, exchange=self.exchange, symbol=symbol, retry_after_s=question.retry_after_s
                ) from error
        return Reply(value, question)
