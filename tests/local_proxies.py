"""Real proxies on this machine, of Debian's packages: tinyproxy (HTTP CONNECT), microsocks (SOCKS5), dante (SOCKS4)."""

import asyncio
import pwd
import shutil
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

NAME, PASSWORD = "collector", "s3cretWord"
START_S = 10.0


@dataclass
class LocalProxy:
    """One that runs, and what it logs."""

    url: str
    """With credentials where it asks for some."""
    port: int
    log: Path

    def tunnels(self, port: int) -> int:
        """Return how many connections to `port` its log tells of."""
        lines = self.log.read_text(errors="replace").splitlines()
        if "tinyproxy" in self.log.name:
            return sum("CONNECT" in line and f":{port} HTTP" in line for line in lines)
        if "danted" in self.log.name:
            return sum("tcp/connect" in line and f".{port}" in line and "pass" in line for line in lines)
        return sum("connected to" in line and line.rstrip().endswith(f":{port}") for line in lines)


@asynccontextmanager
async def tinyproxy(
    directory: Path, *, credentials: bool = False, host: str = "127.0.0.1"
) -> AsyncIterator[LocalProxy]:
    """Run an HTTP proxy."""
    program, port, log = _find("tinyproxy"), _free_port(), directory / "tinyproxy.log"
    auth = f"BasicAuth {NAME} {PASSWORD}\n" if credentials else ""
    configuration = directory / "tinyproxy.conf"
    configuration.write_text(f'Port {port}\nListen {host}\nTimeout 60\nLogLevel Connect\nLogFile "{log}"\n{auth}')
    at = f"{NAME}:{PASSWORD}@" if credentials else ""
    async with _running([program, "-d", "-c", str(configuration)], port, log, host):
        yield LocalProxy(f"http://{at}{host}:{port}", port, log)


@asynccontextmanager
async def microsocks(directory: Path, *, credentials: bool = False) -> AsyncIterator[LocalProxy]:
    """Run a SOCKS5 proxy."""
    program, port, log = _find("microsocks"), _free_port(), directory / "microsocks.log"
    command = [program, "-i", "127.0.0.1", "-p", str(port), *(["-u", NAME, "-P", PASSWORD] if credentials else [])]
    at = f"{NAME}:{PASSWORD}@" if credentials else ""
    async with _running(command, port, log):
        yield LocalProxy(f"socks5://{at}127.0.0.1:{port}", port, log)


@asynccontextmanager
async def dante(directory: Path) -> AsyncIterator[LocalProxy]:
    """Run a SOCKS4 proxy."""
    program, port, log = _find("danted"), _free_port(), directory / "danted.log"
    user = pwd.getpwuid(_user()).pw_name
    configuration = directory / "danted.conf"
    configuration.write_text(
        f"logoutput: stdout\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\n"
        f"clientmethod: none\nsocksmethod: none\nuser.privileged: {user}\nuser.unprivileged: {user}\n"
        "client pass { from: 0/0 to: 0/0 }\nsocks pass { from: 0/0 to: 0/0\n log: connect }\n"
    )
    async with _running([program, "-N", "1", "-f", str(configuration)], port, log):
        yield LocalProxy(f"socks4://127.0.0.1:{port}", port, log)


def _user() -> int:
    return Path("/proc/self").stat().st_uid


def _find(name: str) -> str:
    program = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@asynccontextmanager
async def _running(command: Sequence[str], port: int, log: Path, host: str = "127.0.0.1") -> AsyncIterator[None]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
        try:
            give_up_s = time.monotonic() + START_S
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, port)
                except OSError:
                    if process.returncode is not None or time.monotonic() > give_up_s:
                        pytest.fail(f"{command[0]} does not run: {log.read_text(errors='replace')}")
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    break
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
