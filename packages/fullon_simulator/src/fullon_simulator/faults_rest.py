"""Faults of REST answers: refused, mangled, slow, or of the wrong page."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from aiohttp import web

from fullon_simulator.clock import SECOND_US
from fullon_simulator.faults import OnChannel, Sometimes, edited_page, rewritten
from fullon_simulator.faults_dialect import About
from fullon_simulator.faults_message import Message
from fullon_simulator.faults_parameters import choice, number, whole

_POLL_S = 0.02
_NEWEST = "newest"


@dataclass(kw_only=True)
class _OnRequests(Sometimes):
    """A fault of the answers to some requests."""

    channel: str | None = choice(
        None,
        "only requests for this",
        of=(None, "trades", "candles", "listings"),
        drawn=(None, None, "trades", "candles"),
    )
    _over: asyncio.Event = field(init=False, default_factory=asyncio.Event, repr=False, compare=False)

    async def strikes_request(self, request: web.Request) -> bool:
        """Tell whether it strikes, and count it."""
        about = await self.scene.dialect.about(request)
        return self.channel in (None, about.channel) and self.strikes(about.symbol)

    def waits(self, request: web.Request) -> bool:
        """Tell whether the fault lasts and the client is still there."""
        return not self._over.is_set() and request.transport is not None and not request.transport.is_closing()

    def end(self) -> None:
        """Let those go that are held."""
        self._over.set()


@dataclass(kw_only=True)
class Status(_OnRequests):
    """Answers with an HTTP error, with or without Retry-After."""

    kind = "status"
    status: int = whole(503, "the error", low=400, high=599, drawn=(418, 429, 429, 500, 502, 503, 504))
    retry_after_s: int | None = whole(
        None, "what Retry-After says", low=0, high=86_400, optional=True, drawn=(None, None, 1, 10)
    )

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Answer in the venue's stead."""
        if not await self.strikes_request(request):
            return request
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        text = f"<html><body><h1>{self.status}</h1></body></html>"
        return web.Response(status=self.status, text=text, content_type="text/html", headers=headers)


@dataclass(kw_only=True)
class Refusal(_OnRequests):
    """Refuses requests in the venue's own words."""

    kind = "refusal"
    reason: str | None = choice("unavailable", "why", of=("unavailable", "too_many_requests"))

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Refuse in the venue's stead."""
        if not await self.strikes_request(request):
            return request
        return self.scene.dialect.refusal(self.reason or "")


@dataclass(kw_only=True)
class Html(_OnRequests):
    """Answers 200 with a page of HTML."""

    kind = "html"

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Answer in the venue's stead."""
        if not await self.strikes_request(request):
            return request
        text = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"
        return web.Response(text=text, content_type="text/html")


@dataclass(kw_only=True)
class HangAnswers(_OnRequests):
    """Does not answer while it lasts."""

    kind = "hang_answers"

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Wait for the end of the fault or of the client."""
        if await self.strikes_request(request):
            while self.waits(request):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), _POLL_S)
        return request


@dataclass(kw_only=True)
class ResetAnswers(_OnRequests):
    """Cuts the connection instead of answering."""

    kind = "reset_answers"

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Cut."""
        if not await self.strikes_request(request):
            return request
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)


@dataclass(kw_only=True)
class HalfBody(_OnRequests):
    """Ends the connection in the middle of the body."""

    kind = "half_body"
    sent: float = number(0.5, "which part of the body is sent", low=0.0, high=0.99, drawn=(0.01, 0.99))

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Promise the whole and send a part."""
        if not isinstance(response, web.Response) or not await self.strikes_request(request):
            return response
        body = _body(response)
        begun = _head(response, len(body))
        with suppress(ConnectionError):  # the client may be quicker
            await begun.prepare(request)
            await begun.write(body[: int(self.sent * len(body))])
        if request.transport is not None:
            request.transport.close()
        return begun


@dataclass(kw_only=True)
class SlowBody(_OnRequests):
    """Sends the body at so many bytes a second of real time."""

    kind = "slow_body"
    bytes_per_s: int = whole(100, "how many", low=1, high=10**9, drawn=(10, 1_000, 100_000))

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Send it piece by piece; where the fault ends before, the rest at once."""
        if not isinstance(response, web.Response) or not await self.strikes_request(request):
            return response
        body = _body(response)
        begun = _head(response, len(body))
        with suppress(ConnectionError):  # the client may give up
            await begun.prepare(request)
            await self._drip(request, begun, body)
        return begun

    async def _drip(self, request: web.Request, begun: web.StreamResponse, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        since, sent = loop.time(), 0
        while sent < len(body) and self.waits(request):
            await asyncio.sleep(max(_POLL_S, 1 / self.bytes_per_s))
            due = int((loop.time() - since) * self.bytes_per_s)
            await begun.write(body[sent:due])
            sent = max(sent, due)
        await begun.write(body[sent:])


def _body(response: web.Response) -> bytes:
    return (response.text or "").encode()


def _head(response: web.Response, length: int) -> web.StreamResponse:
    """Return the head of an answer that has a body of `length` bytes."""
    kept = {name: value for name, value in response.headers.items() if name != "Content-Length"}
    head = web.StreamResponse(status=response.status, headers=kept)
    head.content_length = length
    return head


@dataclass(kw_only=True)
class _OnPages(OnChannel):
    """A fault of the pages of trades and candles."""

    async def page_of(self, request: web.Request) -> About | None:
        """Return what page is asked for, where it is of the fault's market and channel."""
        about = await self.scene.dialect.about(request)
        if about.channel not in ("trades", "candles") or self.channel not in (None, about.channel):
            return None
        return about if self.symbol in (None, about.symbol) else None


@dataclass(kw_only=True)
class ShortPages(_OnPages):
    """Answers fewer rows than asked for, from where the page begins."""

    kind = "short_pages"
    rows: int = whole(50, "how many at most", low=1, high=5_000, drawn=(5, 50, 200, 500))

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Ask the venue for fewer, so that its cursor says where the next page begins."""
        limit = self.scene.dialect.limit
        about = await self.page_of(request)
        if not limit or about is None or not self.strikes(about.symbol):
            return request
        wanted = request.query.get(limit, "")
        return self.scene.dialect.without(request, **{limit: str(min(self.rows, int(wanted or self.rows)))})

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Cut the page where the venue takes no such wish."""
        return await edited_page(self, request, response, self._cut)

    def _cut(self, page: Message) -> None:
        if len(page.rows) > self.rows and self.strikes(page.symbol(page.rows[0])):
            del page.rows[self.rows :]


@dataclass(kw_only=True)
class IgnoreSince(_OnPages):
    """Passes over where a page is to begin and answers the newest one."""

    kind = "ignore_since"

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Ask the venue for the newest page."""
        about = await self.page_of(request)
        if about is None or not about.cursor.strip() or not self.strikes(about.symbol):
            return request
        request.match_info[_NEWEST] = "yes"
        return await self.scene.dialect.newest(request)

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Turn the page where the venue gives the newest rows first."""
        if _NEWEST not in request.match_info or not self.scene.dialect.turned(request):
            return response
        return await edited_page(self, request, response, lambda page: page.rows.reverse())


@dataclass(kw_only=True)
class BoundedWindow(_OnPages):
    """Answers only the candles of a window from where a page is to begin, so none where nothing is in it."""

    kind = "bounded_window"
    channel: str | None = choice("candles", "only this channel", of=("candles",))
    candles: int = whole(300, "how many candles long the window is", low=1, high=10**6, drawn=(3, 30, 300))

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Cut what opens after the window."""
        about = await self.page_of(request)
        start_us = None if about is None else about.start_us()
        if start_us is None:
            return response
        return await edited_page(self, request, response, partial(self._cut, start_us))

    def _cut(self, start_us: int, page: Message) -> None:
        kept = [row for row in page.rows if not page.shape.reads(row) or self._is_within(start_us, page, row)]
        if len(kept) < len(page.rows) and self.strikes(page.symbol(page.rows[0])):
            page.rows[:] = kept

    def _is_within(self, start_us: int, page: Message, row: Any) -> bool:
        open_us = page.open_us(row)
        step_us = page.timeframe.next(open_us) - open_us if page.timeframe else 0
        return open_us < start_us + self.candles * step_us


@dataclass(kw_only=True)
class TooOld(_OnPages):
    """Refuses pages of candles that are to begin too long ago."""

    kind = "too_old"
    channel: str | None = choice("candles", "only this channel", of=("candles",))
    minutes: int = whole(10_000, "how long ago a page may begin", low=1, high=10**9, drawn=(3, 30, 300))

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Refuse in the venue's stead."""
        about = await self.page_of(request)
        start_us = None if about is None else about.start_us()
        if about is None or start_us is None or self.now_us() - start_us <= self.minutes * 60 * SECOND_US:
            return request
        return self.scene.dialect.refusal("too_old") if self.strikes(about.symbol) else request


@dataclass(kw_only=True)
class StuckPages(_OnPages):
    """Answers every page with the first one that was asked for, so that nobody gets on."""

    kind = "stuck_pages"
    PAGES_MAX: ClassVar[int] = 1_000
    _first: dict[tuple[str, ...], tuple[str, str]] = field(init=False, default_factory=dict, repr=False, compare=False)

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Answer the first page again."""
        about = await self.page_of(request)
        if about is None or not about.cursor.strip() or not isinstance(response, web.Response):
            return response
        place = (request.path, about.symbol, about.interval)
        if place not in self._first:
            if len(self._first) < self.PAGES_MAX:
                self._first[place] = (about.cursor, response.text or "")
            return response
        cursor, text = self._first[place]
        return rewritten(response, text) if cursor != about.cursor and self.strikes(about.symbol) else response
