"""A first address that never answers (broken IPv6) costs a quarter of a second: REST, WebSocket, and a proxy's too."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from local_proxies import microsocks
from odd_exchanges import OddExchange, kraken
from odd_exchanges.kraken import use

from fullon_exchange.clock import Clock

NAME = "exchange.test"
HOLE, GOOD = "127.0.0.2", "127.0.0.1"
FAST_S = 9.0
"""Below the 10 s that a WebSocket is given to connect; the address is tried for a minute and more."""


@contextmanager
def black_hole(port: int) -> Iterator[None]:
    """Let connections to this port of `HOLE` hang: its queue of unaccepted ones is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind((HOLE, port))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((HOLE, port))
        yield


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `NAME` have two addresses, the first of which leads nowhere."""
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in (NAME, NAME.encode()):
            return known(host, port, *args, **options)
        return [*known(HOLE, port, *args, **options), *known(GOOD, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("via", ["native", "ccxt"])
async def test_the_next_address_of_an_exchange_is_tried_at_once(
    via: Any, two_addresses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with OddExchange("kraken", kraken.answers(clock), stream=kraken.stream(clock)) as odd:
        with black_hole(odd.port):
            monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", f"http://{NAME}:{odd.port}")
            await use(via)
            assert len(odd.sockets) == 1


async def test_the_next_address_of_a_proxy_is_tried_at_once(
    two_addresses: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with (
        OddExchange("kraken", kraken.answers(clock), stream=kraken.stream(clock)) as odd,
        microsocks(tmp_path) as proxy,
    ):
        with black_hole(proxy.port):
            monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", odd.origin)
            monkeypatch.setenv("FULLON_KRAKEN_PROXY", f"socks5://{NAME}:{proxy.port}")
            begun = time.monotonic()
            await use("native")
            assert time.monotonic() - begun < FAST_S
        assert proxy.tunnels(odd.port) == len(odd.clients) > 1
