"""Fixtures of the package's tests; recorded market data is read in place where it exists, never copied."""

import gzip
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

_ROOT = Path(__file__).resolve().parents[3]
RECORDED = _ROOT.parent / "shared" / "data"


@pytest.fixture
def recorded() -> Callable[[str], str]:
    """Read a file of recorded market data; skip where the recordings are not there."""

    def read(name: str) -> str:
        path = RECORDED / name
        if not path.exists():
            pytest.skip(f"no recorded data: {name} is not in ../shared/data beside the repository")
        if path.suffix == ".gz":
            with gzip.open(path, "rt") as stream:
                return stream.read()
        return path.read_text()

    return read


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable of the surroundings point a test elsewhere."""
    for name in list(os.environ):
        if name.startswith("FULLON_") or name.lower() in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Serve every path with one handler on a loopback port; returns the origin, `http://127.0.0.1:<port>`."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> str:
            async def handle(request: web.Request) -> web.StreamResponse:
                return await handler(request)

            app = web.Application()
            app.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}"

        yield start
