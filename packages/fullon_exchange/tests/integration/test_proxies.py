"""Every exchange is reached through the proxy that the environment names: REST and WebSocket, native and by ccxt."""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from local_proxies import PASSWORD, LocalProxy, dante, microsocks, tinyproxy
from odd_exchanges import OddExchange, kraken
from odd_exchanges.kraken import use

from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock
from fullon_exchange.errors import ExchangeUnavailable
from fullon_exchange.proxies import describe, proxy_of

Start = Callable[[Path], AbstractAsyncContextManager[LocalProxy]]
STARTS: dict[str, Start] = {
    "http": tinyproxy,
    "http with credentials": lambda directory: tinyproxy(directory, credentials=True),
    "socks5": microsocks,
    "socks5 with credentials": lambda directory: microsocks(directory, credentials=True),
    "socks4": dante,
}


@pytest.fixture
async def exchange_server() -> AsyncIterator[OddExchange]:
    clock = Clock()
    async with OddExchange("kraken", kraken.answers(clock), stream=kraken.stream(clock)) as odd:
        yield odd


@pytest.mark.parametrize("via", ["native", "ccxt"])
@pytest.mark.parametrize("kind", STARTS)
async def test_rest_and_websocket_go_through_the_exchanges_own_proxy(
    kind: str, via: Any, exchange_server: OddExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", exchange_server.origin)
    async with STARTS[kind](tmp_path) as proxy:
        monkeypatch.setenv("FULLON_KRAKEN_PROXY", proxy.url)
        await use(via)
        assert proxy.tunnels(exchange_server.port) == len(exchange_server.clients) > 0
    assert exchange_server.asked
    assert len(exchange_server.sockets) == 1


@pytest.mark.parametrize("via", ["native", "ccxt"])
async def test_the_general_variables_lead_every_exchange_through_a_proxy_and_no_proxy_past_it(
    via: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    # 0.0.0.0 leads to this machine, and is not one of the names of it that never go through a proxy.
    async with (
        OddExchange("kraken", kraken.answers(clock), stream=kraken.stream(clock), host="0.0.0.0") as odd,
        tinyproxy(tmp_path) as http,
        microsocks(tmp_path) as socks,
    ):
        monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", odd.origin)
        monkeypatch.setenv("ALL_PROXY", socks.url)
        await use(via)
        by_socks = len(odd.clients)
        assert socks.tunnels(odd.port) == by_socks > 0
        monkeypatch.setenv("HTTP_PROXY", http.url)
        await use(via)
        by_http = len(odd.clients) - by_socks
        assert http.tunnels(odd.port) == by_http > 0
        monkeypatch.setenv("NO_PROXY", "example.org,0.0.0.0")
        await use(via)
        assert len(odd.clients) > by_socks + by_http
        assert (socks.tunnels(odd.port), http.tunnels(odd.port)) == (by_socks, by_http)


@pytest.mark.parametrize("kind", ["http with credentials", "socks5 with credentials"])
@pytest.mark.parametrize("via", ["native", "ccxt"])
async def test_a_proxy_that_refuses_is_named_in_one_sentence_without_the_password(
    kind: str, via: Any, exchange_server: OddExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", exchange_server.origin)
    async with STARTS[kind](tmp_path) as proxy:
        wrong = proxy.url.replace(PASSWORD, "wr0ng")
        monkeypatch.setenv("FULLON_KRAKEN_PROXY", wrong)
        async with open_exchange("kraken", via=via) as exchange:
            with pytest.raises(ExchangeUnavailable) as refused:
                await exchange.fetch_listings()
    sentence = str(refused.value)
    assert f"127.0.0.1:{proxy.port} (FULLON_KRAKEN_PROXY) refuses: " in sentence
    assert "wr0ng" not in sentence
    assert "\n" not in sentence


async def test_a_proxy_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FULLON_KRAKEN_PROXY", f"socks5://127.0.0.1:{taken.getsockname()[1]}")
        async with open_exchange("kraken") as exchange:
            with pytest.raises(ExchangeUnavailable, match=r"the proxy socks5://127\.0\.0\.1:\d+ .* cannot be reached"):
                await exchange.fetch_time()


async def test_the_proxy_looks_up_the_name_of_the_exchange(
    exchange_server: OddExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", f"http://localhost:{exchange_server.port}")
    async with microsocks(tmp_path) as proxy:
        monkeypatch.setenv("FULLON_KRAKEN_PROXY", proxy.url)
        await use("native")
        assert f"connected to localhost:{exchange_server.port}" in proxy.log.read_text()


@pytest.mark.parametrize(("kind", "via"), [("http", "native"), ("socks5 with credentials", "ccxt")])
async def test_tls_goes_through_the_tunnel_to_the_exchange_itself(
    kind: str, via: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process: which certificates are trusted is settled when aiohttp is imported."""
    certificate, key = await self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    clock = Clock()
    async with AsyncExitStack() as stack:
        odd = await stack.enter_async_context(
            OddExchange("kraken", kraken.answers(clock), stream=kraken.stream(clock), tls=context)
        )
        proxy = await stack.enter_async_context(STARTS[kind](tmp_path))
        environment = os.environ | {
            "FULLON_KRAKEN_ORIGIN": f"https://localhost:{odd.port}",
            "FULLON_KRAKEN_PROXY": proxy.url,
            "SSL_CERT_FILE": str(certificate),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        program = f"import asyncio; from odd_exchanges.kraken import use; asyncio.run(use({via!r}))"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env=environment, stderr=asyncio.subprocess.PIPE
        )
        _, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()[-3000:]
        assert proxy.tunnels(odd.port) == len(odd.clients) > 0
    assert len(odd.sockets) == 1


async def self_signed(directory: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    return certificate, key


# --- which proxy it is ------------------------------------------------------------------------------------------

KRAKEN = "https://api.kraken.com/0/public/Time"


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, KRAKEN, None),
        ({"HTTPS_PROXY": "http://p:1"}, KRAKEN, "http://p:1 (HTTPS_PROXY)"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://p:1"}, KRAKEN, "http://low:1 (https_proxy)"),
        ({"HTTPS_PROXY": "p:3128"}, "wss://ws.kraken.com/v2", "http://p:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://p"}, KRAKEN, "http://p:80 (HTTPS_PROXY)"),
        ({"HTTP_PROXY": "http://p:1"}, KRAKEN, None),
        ({"HTTP_PROXY": "http://p:1"}, "ws://10.0.0.1/ws", "http://p:1 (HTTP_PROXY)"),
        ({"ALL_PROXY": "socks5h://p:1"}, KRAKEN, "socks5h://p:1 (ALL_PROXY)"),
        ({"ALL_PROXY": "socks5://[::1]"}, KRAKEN, "socks5://[::1]:1080 (ALL_PROXY)"),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://p:1"}, KRAKEN, "http://p:1 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "kraken.com"}, KRAKEN, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".kraken.com, x"}, KRAKEN, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, KRAKEN, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "raken.com"}, KRAKEN, "http://p:1 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3/x", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://127.0.0.1:9101/", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://localhost:9101/", None),
        (
            {"HTTPS_PROXY": "http://p:1", "FULLON_KRAKEN_PROXY": "http://q:1"},
            KRAKEN,
            "http://q:1 (FULLON_KRAKEN_PROXY)",
        ),
        ({"FULLON_KRAKEN_PROXY": "socks5://q:1", "NO_PROXY": "*"}, KRAKEN, "socks5://q:1 (FULLON_KRAKEN_PROXY)"),
        ({"HTTPS_PROXY": "http://p:1", "FULLON_KRAKEN_PROXY": "direct"}, KRAKEN, None),
        ({"FULLON_BINANCE_PROXY": "socks5://q:1"}, KRAKEN, None),
    ],
)
def test_which_proxy_an_address_is_reached_through(
    environment: dict[str, str], url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_of("kraken", url)
    assert (str(found) if found else None) == expected


def test_the_ways_are_described_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [KRAKEN, "wss://ws.kraken.com/v2"]
    assert describe("kraken", urls) == "REST and WebSocket direct"
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hidden@p:1")
    monkeypatch.setenv("NO_PROXY", "ws.kraken.com")
    sentence = describe("kraken", urls)
    assert sentence == "REST through http://p:1 (HTTPS_PROXY) with a name and a password, WebSocket direct"
    monkeypatch.setenv("HTTPS_PROXY", "http://me:h%40dden@p:1")
    proxy = proxy_of("kraken", KRAKEN)
    assert proxy is not None
    assert (proxy.username, proxy.password) == ("me", "h@dden")
    assert "dden" not in repr(proxy)


@pytest.mark.parametrize(
    "value",
    ["ftp://me:hidden@p:1", "https://me:hidden@p:1", "http://me:hidden@:1", "http://me:hidden@p:x", "socks5://"],
)
def test_what_names_no_proxy_is_refused_without_being_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLON_KRAKEN_PROXY", value)
    with pytest.raises(ValueError, match=r"^FULLON_KRAKEN_PROXY names no proxy .*; allowed is ") as refused:
        proxy_of("kraken", KRAKEN)
    assert "hidden" not in str(refused.value)
