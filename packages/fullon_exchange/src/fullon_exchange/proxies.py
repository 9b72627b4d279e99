"""Which proxy an exchange is reached through, from the environment.

The proxy for an address is, in this order,

1. `FULLON_<EXCHANGE>_PROXY`, for every address of that exchange; `direct` there means none;
2. `HTTPS_PROXY` (https and wss) or `HTTP_PROXY` (http and ws), else `ALL_PROXY`, unless `NO_PROXY` lists the host or it
   is this machine.

Their lower-case names count too, and first.
"""

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from fullon_exchange.origin import variable_of

_PORTS = {"http": 80, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
"""The port of a proxy that names none, by scheme."""
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
        default_port = _PORTS.get(parts.scheme.lower())
        port = parts.port or default_port
        if (
            port is None
            or default_port is None
            or not parts.hostname
            or parts.path not in ("", "/")
            or parts.query
            or parts.fragment
        ):
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
