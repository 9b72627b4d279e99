"""Connect to an exchange: directly or through a proxy, by the address that answers first.

The proxy for an address is, in this order,

1. `FULLON_<EXCHANGE>_PROXY`, for every address of that exchange; `direct` there means none;
2. `HTTPS_PROXY` (https and wss) or `HTTP_PROXY` (http and ws), else `ALL_PROXY`, unless `NO_PROXY` lists the host or it
   is this machine.

Their lower-case names count too, and first. Every connection through an HTTP proxy is a CONNECT tunnel. The proxy looks
up the exchange's name itself, so a machine without DNS of its own can collect. Where a name has several addresses the
next one is tried after `HAPPY_EYEBALLS_S` while the first has not answered (RFC 8305): broken IPv6 costs a quarter of a
second.
"""

import asyncio
import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs
import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy as SocksProxy

from fullon_exchange.errors import NotServedHere, excerpt_of
from fullon_exchange.origin import variable_of

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
_PORTS = {ProxyType.HTTP: 80, ProxyType.SOCKS4: 1080, ProxyType.SOCKS5: 1080}
_GENERAL = {"https": "https_proxy", "wss": "https_proxy", "http": "http_proxy", "ws": "http_proxy"}
_ALLOWED = (
    "http://host:port, socks5://host:port or socks4://host:port, with name:password@ before the host where it asks"
)
_DIRECT = "direct"


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the variable that names it; its credentials are in no text about it."""

    variable: str
    scheme: str
    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port} ({self.variable})"


def proxy_variable(exchange: str) -> str:
    """Return the name of the variable that names the proxy of `exchange`: `FULLON_KRAKEN_PROXY`."""
    return variable_of(exchange, "PROXY")


def proxy_of(exchange: str, url: str) -> Proxy | None:
    """Return the proxy through which `exchange` is asked at `url`; None where it is asked directly.

    The environment is read at every call.

    Raises:
        ValueError: the variable does not parse; the sentence says what is allowed, without the value.
    """
    variable = proxy_variable(exchange)
    if value := os.environ.get(variable, "").strip():
        return None if value.lower() == _DIRECT else _parse(variable, value, or_direct=True)
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_this_machine(host):
        return None
    for name in (_GENERAL.get(parts.scheme, ""), "all_proxy"):
        variable, value = _read(name)
        if value:
            excluded = _read("no_proxy")[1]
            return None if _is_excluded(host, parts.port, excluded) else _parse(variable, value)
    return None


def check_proxies() -> None:
    """Refuse now what would otherwise be met when an exchange is connected.

    Raises:
        ValueError: a variable does not parse; the sentence names it and says what is allowed.
    """
    for name in ("https_proxy", "http_proxy", "all_proxy"):
        variable, value = _read(name)
        if value:
            _parse(variable, value)
    for variable, value in sorted(os.environ.items()):
        if variable.startswith("FULLON_") and variable.endswith("_PROXY") and value.strip():
            proxy_of(variable.removeprefix("FULLON_").removesuffix("_PROXY"), "https://exchange.invalid")


def describe(exchange: str, urls: Iterable[str]) -> str:
    """Return in words which way each of `urls` is reached: `REST direct, WebSocket through socks5://…`."""
    ways: dict[str, list[str]] = {}
    for url in urls:
        proxy = proxy_of(exchange, url)
        way = f"through {proxy}" if proxy else "direct"
        if proxy and proxy.username:
            way += " with a name and a password"
        kind = "WebSocket" if urlsplit(url).scheme in ("ws", "wss") else "REST"
        kinds = ways.setdefault(way, [])
        if kind not in kinds:
            kinds.append(kind)
    return ", ".join(f"{' and '.join(kinds)} {way}" for way, kinds in ways.items())


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


def _read(name: str) -> tuple[str, str]:
    """Return a general variable's name, as it is spelt here, and its value."""
    for variable in (name, name.upper()):
        if value := os.environ.get(variable, "").strip():
            return variable, value
    return name.upper(), ""


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_excluded(host: str, port: int | None, excluded: str) -> bool:
    """Tell whether NO_PROXY lists a host: `*`, a name, the end of one, host:port, an address or a network."""
    for entry in excluded.lower().replace(",", " ").split():
        name = entry.lstrip("*").lstrip(".")
        if entry == "*" or host == name or host.endswith(f".{name}") or f"{host}:{port}" == name:
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            continue
    return False


def _parse(variable: str, value: str, *, or_direct: bool = False) -> Proxy:
    also = f", or {_DIRECT}" if or_direct else ""
    # The value may hold a password: it is not shown.
    refusal = ValueError(f"{variable} names no proxy that can be used; allowed is {_ALLOWED}{also}")
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        kind = _TYPES.get(parts.scheme.lower())
        port = parts.port or (_PORTS[kind] if kind else 0)
        if kind is None or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise refusal
    except ValueError:
        raise refusal from None
    return Proxy(
        variable,
        parts.scheme.lower(),
        parts.hostname,
        port,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )
