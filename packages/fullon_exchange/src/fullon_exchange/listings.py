"""The list of an exchange's markets: each row is read by itself, and a name never silently changes its market.

A market is identified by what the exchange itself calls it (`Listing.market_id`). Two markets that would have one
unified symbol are both listed: the first keeps the plain name, the other has its id added (`HYPE/USDC#@250`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Annotated, TypeVar

import msgspec

from fullon_exchange.errors import UNREADABLE, excerpt_of
from fullon_exchange.interface import Listing
from fullon_log import get_component_logger

NAMESAKE_MARK = "#"
_NAMED_MAX = 5

Row = TypeVar("Row")
Name = Annotated[str, msgspec.Meta(min_length=1)]
"""A name in a row of the list, without which the row is malformed."""


class Listings(dict[str, Listing]):
    """Markets by unified symbol, and what was odd about the list that they were read from."""

    def __init__(self, listings: Iterable[Listing] = ()) -> None:
        super().__init__()
        self.malformed: list[str] = []
        """Rows that could not be read, whole: the id of a market may stand anywhere in them."""
        self.namesakes: list[str] = []
        """Names of markets whose plain name another market has."""
        for listing in listings:
            self.offer(listing)

    def offer(self, listing: Listing) -> None:
        """List a market; of two with one name the first keeps it, unless only the other is still traded."""
        holder = self.get(listing.symbol)
        if holder is None:
            self[listing.symbol] = listing
        elif holder.market_id != listing.market_id:
            if holder.delisted and not listing.delisted:
                self[listing.symbol], listing = listing, holder
            self.name_apart(listing)

    def name_apart(self, listing: Listing) -> None:
        """List a market under its name and id."""
        name = namesake(listing.symbol, listing.market_id)
        self[name] = replace(listing, symbol=name)
        self.namesakes.append(name)

    def read(self, raw: bytes, decode: Callable[[bytes], Row], name: str = "") -> Row | None:
        """Return a row of the list as `decode` reads it; None where it cannot be read, which is counted."""
        try:
            return decode(raw)
        except UNREADABLE as error:
            row = bytes(raw).decode("utf-8", "backslashreplace")
            self.malformed.append(f"{name} ({error}) {row}".strip())
            return None


class Pins:
    """Which market each collected symbol means; kept from the first use on, or from what was stored of it."""

    def __init__(self, exchange: str) -> None:
        self.ids: dict[str, str] = {}
        """By pinned symbol: the id of its market."""
        self._log = get_component_logger(f"fullon.exchange.{exchange}.listings")
        self._logged: dict[str, set[str]] = {}
        self.renamed: dict[str, str] = {}
        """By pinned symbol: why nothing is listed under it, where its name has come to mean another market."""
        self.unreadable: set[str] = set()
        """Pinned symbols that nothing is listed under because the rows of their markets cannot be read."""

    def pin(self, ids: Mapping[str, str]) -> None:
        """Let these symbols mean these markets; a symbol that is pinned already keeps its market."""
        self.ids = {symbol: market_id for symbol, market_id in ids.items() if market_id} | self.ids

    def apply(self, listings: Listings, before: Mapping[str, Listing]) -> None:
        """Let every pinned symbol mean its market in a new list, or none, and report once what is odd about the list.

        A pinned market whose row could not be read this time stays as it was `before`.
        """
        self.renamed, self.unreadable = {}, set()
        for symbol, market_id in self.ids.items():
            holder = listings.get(symbol)
            if holder is not None and holder.market_id == market_id:
                continue
            own = _find(listings, symbol, market_id)
            is_malformed = own is None and any(f'"{market_id}"' in row for row in listings.malformed)
            if is_malformed:
                own = before.get(symbol)
            if holder is not None:
                del listings[symbol]
                listings.name_apart(holder)
            if own is not None:
                listings.pop(namesake(symbol, market_id), None)
                listings[symbol] = replace(own, symbol=symbol)
            elif is_malformed:
                self.unreadable.add(symbol)
            elif why := _renamed(listings, symbol, market_id, holder or _namesake_of(listings, symbol)):
                self.renamed[symbol] = why
        self._report(listings)

    def _report(self, listings: Listings) -> None:
        self._report_news("markets that cannot be read are left out", [excerpt_of(row) for row in listings.malformed])
        self._report_news("markets that share a name are listed with their id", listings.namesakes)
        self._report_news("a name means another market now and is refused", list(self.renamed.values()))

    def _report_news(self, what: str, found: list[str]) -> None:
        logged, self._logged[what] = self._logged.get(what, set()), set(found)
        news = [one for one in found if one not in logged]
        if news:
            self._log.warning(what, count=len(found), new="; ".join(news[:_NAMED_MAX]))


def namesake(symbol: str, market_id: str) -> str:
    """Return the name of a market whose plain name another market has."""
    return f"{symbol}{NAMESAKE_MARK}{market_id}"


def _renamed(listings: Listings, symbol: str, market_id: str, other: Listing | None) -> str:
    """Return how names have moved since a symbol was pinned; empty where its market is only not listed any more."""
    kind = symbol.partition(":")[2]  # ids of a spot market and of its perpetual may be the same
    same_kind = (
        name for name, one in listings.items() if one.market_id == market_id and name.partition(":")[2] == kind
    )
    now = next(same_kind, None)
    if other is None:
        return f"the market {market_id} is listed as {now} now" if now else ""
    where = f"is listed as {now} now" if now else "is not listed any more"
    return f"{symbol} now means the market {other.market_id}; collected is {market_id}, which {where}"


def _namesake_of(listings: Listings, symbol: str) -> Listing | None:
    return next((one for name, one in listings.items() if name.startswith(f"{symbol}{NAMESAKE_MARK}")), None)


def _find(listings: Listings, symbol: str, market_id: str) -> Listing | None:
    """Return the market of a name and an id: the plain name, the name with the id, or the reverse."""
    plain = symbol.removesuffix(f"{NAMESAKE_MARK}{market_id}")
    found = (listings.get(name) for name in (plain, namesake(plain, market_id)))
    return next((one for one in found if one is not None and one.market_id == market_id), None)
