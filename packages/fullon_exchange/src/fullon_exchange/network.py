"""Connect to an exchange: directly or through a proxy (`proxies.py`), by the address that answers first.

Every connection through an HTTP proxy is a CONNECT tunnel. The proxy looks up the exchange's name itself, so a machine
without DNS of its own can collect. Where a name has several addresses the next one is tried after `HAPPY_EYEBALLS_S`
while the first has not answered (RFC 8305): broken IPv6 costs a quarter of a second.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Self, cast
from urllib.parse import urlsplit

import aiohappyeyeballs
import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy as SocksProxy

from fullon_exchange.errors import NotServedHere, excerpt_of
from fullon_exchange.proxies import Proxy, proxy_of, proxy_variable

NOT_SERVED = frozenset({403, 451})
"""HTTP statuses of an exchange, or of what stands before it, that does not serve an address; whatever the body says."""
HAPPY_EYEBALLS_S = 0.25
"""How long an address may take to answer before the next one is tried beside it (RFC 8305, section 8)."""

_TYPES = {
    "http": ProxyType.HTTP,
    "socks4": ProxyType.SOCKS4,
    "socks4a": ProxyType.SOCKS4,
    "socks5": ProxyType.SOCKS5,
    "socks5h": ProxyType.SOCKS5,
}


async def connect(exchange: str, url: str) -> socket.socket:
    """Return a socket that is connected to the host of `url`, through the proxy there is for it.

    Raises:
        OSError: no connection; the sentence names the proxy where there is one.
        ValueError: the proxy's variable does not parse.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
    proxy = proxy_of(exchange, url)
    if proxy is None:
        return await _dial(parts.hostname or "", port)
    return await _tunnel(proxy, parts.hostname or "", port)


def not_served(exchange: str, status: int, where: str, body: bytes | str = b"") -> NotServedHere:
    """Return the error for one of `NOT_SERVED`."""
    said = f" ({excerpt})" if (excerpt := " ".join(excerpt_of(body).split())) else ""
    return NotServedHere(
        f"not served from here: HTTP {status} to {where}{said}; {proxy_variable(exchange)} can name a proxy for it",
        exchange=exchange,
        status=status,
    )


class HttpSession:
    """HTTP and WebSocket to one exchange, each address by its own way; an async context manager.

    It has one session of aiohttp for each way, and of its members those that are needed here.
    """

    def __init__(self, exchange: str, *, headers: Mapping[str, str] | None = None) -> None:
        """`headers` are sent with every request."""
        self.headers = dict(headers or {})
        self._exchange = exchange
        self._sessions: dict[Proxy | None, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    def request(self, method: str, url: Any, **options: Any) -> Any:
        """Ask; see `aiohttp.ClientSession.request`."""
        return self._session(url).request(method, url, **options)

    def get(self, url: Any, **options: Any) -> Any:
        """Ask; see `aiohttp.ClientSession.get`."""
        return self.request("GET", url, **options)

    def post(self, url: Any, **options: Any) -> Any:
        """Ask; see `aiohttp.ClientSession.post`."""
        return self.request("POST", url, **options)

    def ws_connect(self, url: Any, **options: Any) -> Any:
        """Open a WebSocket; see `aiohttp.ClientSession.ws_connect`."""
        return self._session(url).ws_connect(url, **options)

    def _session(self, url: Any) -> aiohttp.ClientSession:
        proxy = proxy_of(self._exchange, str(url))
        if proxy not in self._sessions:
            connector = (
                aiohttp.TCPConnector(limit=16, happy_eyeballs_delay=HAPPY_EYEBALLS_S)
                if proxy is None
                else _TunnelConnector(proxy, limit=16)
            )
            self._sessions[proxy] = aiohttp.ClientSession(connector=connector, headers=self.headers)
        return self._sessions[proxy]


class _Unresolved(AbstractResolver):
    """Leaves a name as it is: the proxy looks it up."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Hold nothing."""


class _TunnelConnector(aiohttp.TCPConnector):
    """Connections of aiohttp, each through a tunnel of a proxy.

    aiohttp itself speaks to no SOCKS proxy, and asks an HTTP proxy for a WebSocket without TLS in a way that few of
    them understand. The two methods of `TCPConnector` used here are not public; `test_proxies.py` holds them.
    """

    def __init__(self, proxy: Proxy, **options: Any) -> None:
        super().__init__(resolver=_Unresolved(), **options)
        self._proxy = proxy

    async def _wrap_create_connection(self, *args: Any, addr_infos: Any, timeout: Any, **options: Any) -> Any:
        host, port = addr_infos[0][4][:2]
        async with asyncio.timeout(timeout.sock_connect):
            connected = await _tunnel(self._proxy, host, port)
        return await self._wrap_existing_connection(*args, timeout=timeout, sock=connected, **options)


class _Dialer:
    """Connects to the proxy itself, where python-socks expects another proxy to do so (`forward`)."""

    async def connect(self, dest_host: str, dest_port: int, timeout: float | None = None) -> socket.socket:
        return await _dial(dest_host, dest_port)


async def _dial(host: str, port: int) -> socket.socket:
    """Connect to the first address of `host` that answers."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not found:
        raise OSError(f"{host} has no address")
    return await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_S, interleave=1)


async def _tunnel(proxy: Proxy, host: str, port: int) -> socket.socket:
    """Connect to `host` through `proxy`, which looks up the name."""
    through = SocksProxy(
        _TYPES[proxy.scheme],
        proxy.host,
        proxy.port,
        proxy.username or None,
        proxy.password or None,
        rdns=True,
        forward=cast(SocksProxy, _Dialer()),
    )
    try:
        return await through.connect(host, port)
    except ProxyError as error:
        raise ConnectionError(f"the proxy {proxy} refuses: {error}") from error
    except OSError as error:
        raise ConnectionError(f"the proxy {proxy} cannot be reached: {error}") from error
