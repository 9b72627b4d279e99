"""Read a list of markets of which ccxt cannot read every row.

Most exchanges of ccxt read their list in one loop, so that one malformed row takes all others with it. The answers of
the exchange are kept while the list is read. Where reading fails it is repeated on these answers, without the rows that
break it, which are found by halving: nothing is requested twice.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

BROKEN_MAX = 20
"""Rows that are left out of one list; with more of them the list has another form than ccxt knows."""
_DEPTH_MAX = 5

Request = tuple[str, str, str]
Place = tuple[int, Any]
"""A row: the identity of the list or dict that holds it, and its index or key."""


class KeptAnswers:
    """What the exchange answered while a list was read, and which rows of it are hidden."""

    def __init__(self) -> None:
        self.is_replayed = False
        """True once answers are taken from here, and only what is missing is requested."""
        self.is_complete = True
        """False where a request failed: then the list is not what broke."""
        self._answers: dict[Request, Any] = {}
        self._hidden: frozenset[Place] = frozenset()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def ask(self, request: Request, fetch: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer to a request, without its hidden rows."""
        if not self.is_replayed or request not in self._answers:
            self._in_flight += 1
            self._idle.clear()
            try:
                self._answers[request] = await fetch()
            except BaseException:
                self.is_complete = False
                raise
            finally:
                self._in_flight -= 1
                if not self._in_flight:
                    self._idle.set()
        return _without(self._answers[request], self._hidden)

    async def find_readable(self, read: Callable[[], Awaitable[Any]]) -> list[str] | None:
        """Hide the rows that cannot be read and return their text; None where that does not help."""
        await self._idle.wait()  # for what is requested beside the answer that broke
        self.is_replayed = True
        blocks = [block for answer in self._answers.values() for block in _blocks(answer)]
        places = [[(id(block), key) for key, _ in _items(block)] for block in blocks]
        hidden = {place for block in places for place in block}
        if not hidden or not await self._reads(read, hidden):
            return None
        broken: list[Place] = []
        for block in places:
            hidden.difference_update(block)
            if not await self._reads(read, hidden):
                broken += await self._broken_of(read, block, hidden.union(block), BROKEN_MAX - len(broken))
                hidden.update(broken)
        if len(broken) > BROKEN_MAX or not await self._reads(read, hidden):
            return None
        rows = {(id(block), key): (block, key, row) for block in blocks for key, row in _items(block)}
        return [_text(*rows[place]) for place in broken]

    async def _broken_of(
        self, read: Callable[[], Awaitable[Any]], rows: list[Place], hidden: set[Place], broken_max: int
    ) -> list[Place]:
        """Return which of `rows` cannot be read, one more than `broken_max` at most; `hidden` holds all of them."""
        if len(rows) == 1:
            return rows
        broken: list[Place] = []
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            if len(broken) <= broken_max and not await self._reads(read, hidden.difference(half)):
                broken += await self._broken_of(read, half, hidden, broken_max - len(broken))
        return broken

    async def _reads(self, read: Callable[[], Awaitable[Any]], hidden: set[Place]) -> bool:
        """Tell whether the list can be read without the hidden rows."""
        self._hidden = frozenset(hidden)
        await asyncio.sleep(0)  # a long list takes a while: let others run between two tries
        try:
            await read()
        except Exception:  # noqa: BLE001 -- whatever a row breaks, it breaks
            return False
        return True


kept_answers: ContextVar[KeptAnswers | None] = ContextVar("ccxt_kept_answers", default=None)


async def read_rows(read: Callable[[], Awaitable[Any]]) -> tuple[Any, list[str]]:
    """Return what `read` makes of the exchange's answers, and the text of the rows that had to be left out.

    Raises:
        Exception: whatever `read` raises where it is not for some rows.
    """
    if kept_answers.get() is not None:
        return await read(), []
    answers = KeptAnswers()
    token = kept_answers.set(answers)
    try:
        try:
            return await read(), []
        except Exception:
            left_out = await answers.find_readable(read) if answers.is_complete else None
            if left_out is None:
                raise
        return await read(), left_out
    finally:
        kept_answers.reset(token)


def _items(block: Any) -> Iterator[tuple[Any, Any]]:
    return iter(block.items()) if isinstance(block, dict) else enumerate(block)


def _blocks(answer: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the lists and dicts whose elements are rows: objects, most of them."""
    if not isinstance(answer, dict | list) or depth == _DEPTH_MAX:
        return
    objects = sum(isinstance(one, dict) for _, one in _items(answer))
    if objects > len(answer) / 2 and (isinstance(answer, list) or objects > 1):
        yield answer
    else:
        for _, one in _items(answer):
            yield from _blocks(one, depth + 1)


def _without(answer: Any, hidden: frozenset[Place], depth: int = 0) -> Any:
    if not hidden or not isinstance(answer, dict | list) or depth == _DEPTH_MAX:
        return answer
    left = [(key, _without(one, hidden, depth + 1)) for key, one in _items(answer) if (id(answer), key) not in hidden]
    return dict(left) if isinstance(answer, dict) else [one for _, one in left]


def _text(block: Any, key: Any, row: Any) -> str:
    text = json.dumps(row, default=str)
    return f'"{key}" {text}' if isinstance(block, dict) else text
