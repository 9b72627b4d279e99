"""What a shell completes: the symbols and exchanges that are collected, where that can be told at once."""

import asyncio
import os
from collections import Counter
from collections.abc import MutableMapping, Sequence
from contextvars import ContextVar

import typer

from fullon_ohlcv_service.commands.environment import choose_environment, split_name

PATIENCE_S = 2.0
_typed_before: ContextVar[str] = ContextVar("typed_before", default="")
"""What stands before the word that bash completes, where it has cut a name at a colon."""


def join_cut_names(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put together in `COMP_WORDS` what bash cuts at colons: it completes `BT` of `kraken:BT`."""
    if "COMP_CWORD" not in environment:
        return
    words: list[str] = []
    place = int(environment["COMP_CWORD"])
    typed = environment.get("COMP_WORDS", "").split()
    for word in [*typed[:place], *(typed[place : place + 1] or [""])]:
        if words and (word == ":" or words[-1].endswith(":")):
            words[-1] += word
        else:
            words.append(word)
    before, colon, last = words.pop().rpartition(":")
    _typed_before.set(before + colon)
    environment["COMP_WORDS"] = " ".join([*words, last])
    environment["COMP_CWORD"] = str(len(words))


def complete_symbol(context: typer.Context, incomplete: str) -> list[str]:
    """Return `BTC/USD`, and `kraken:BTC/USD` where several exchanges have it or an exchange has been typed."""
    before = _typed_before.get()
    says_exchange = split_name(before + incomplete)[0] is not None
    collected = _collected(context)
    counts = Counter(symbol for _, symbol in collected)
    names = [f"{exchange}:{one}" if says_exchange or counts[one] > 1 else one for exchange, one in collected]
    return [name.removeprefix(before) for name in names if name.startswith(before)]


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """Return what a log can be of: symbols and exchanges."""
    return [*complete_symbol(context, incomplete), *complete_exchange(context)]


def complete_exchange(context: typer.Context) -> list[str]:
    """Return the exchanges of which something is collected."""
    return sorted({exchange for exchange, _ in _collected(context)})


def _collected(context: typer.Context) -> Sequence[tuple[str, str]]:
    """Return exchange and symbol of what the database names; nothing where it does not answer at once.

    Embedded servers that do not run are not started for this.
    """
    from fullon_ohlcv_service.commands.session import (  # noqa: PLC0415 - most commands are not completed
        KNOWN_ERRORS,
        be_quiet,
        database_runs,
        servers,
    )

    said = context.find_root().params
    be_quiet()
    try:
        choose_environment(env_file=said["env_file"], data_dir=said["data_dir"], demo=said["demo"])
        if not database_runs():
            return []
        with servers(), asyncio.Runner() as runner:
            return runner.run(_ask())
    except KNOWN_ERRORS:
        return []


async def _ask() -> Sequence[tuple[str, str]]:
    from fullon_ohlcv_service.config.database_config import load_wanted_symbols  # noqa: PLC0415
    from fullon_ohlcv_service.config.settings import OhlcvServiceConfig  # noqa: PLC0415 - most commands do not need it

    async with asyncio.timeout(PATIENCE_S):
        return sorted((one.exchange, one.symbol) for one in await load_wanted_symbols(OhlcvServiceConfig.from_env()))
