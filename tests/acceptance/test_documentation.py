"""All commands in README and docs are run, or say why they cannot be."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from documentation import PAGES, ROOT, Block, blocks_of, commands_outside_of_blocks, problems, problems_of_spans

from fullon_cache import watch_closed
from fullon_orm.database import create_database_url
from fullon_simulator import SimulatedMarket

BLOCK_S = 60.0
PAGE_S = 200.0
PRELUDE = """\
set -euo pipefail
# Exit code 1 of the command line says that something needs a look; that is no failure of the command.
fullon-ohlcv() { local code=0; command fullon-ohlcv "$@" || code=$?; [ "$code" -le 1 ]; }
"""
RUN_PAGES = [page for page in PAGES if any(block.is_run for block in blocks_of(page))]


def test_every_command_stands_in_a_block_of_a_known_language() -> None:
    assert [(page, line) for page in PAGES for line in commands_outside_of_blocks(page)] == []
    languages = {block.language for page in PAGES for block in blocks_of(page)}
    assert languages <= {"sh", "python", "sql", "text", "json", "yaml", "ini", "toml", "promql", ""}


def test_what_is_not_run_has_its_reason_and_would_be_understood() -> None:
    paths = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("packages/*/tests/**/*.py")]
    tests = {name for path in paths for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
    found = [what for page in PAGES for block in blocks_of(page) for what in problems(block, tests)]
    assert found + [what for page in PAGES for what in problems_of_spans(page)] == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("make tset", "tset"),
        ("fullon-ohlcv statsu", "statsu"),
        ("sudo -u ada /opt/bin/fullon-ohlcv --demo coverage --prr 2h", "--prr"),
        ("fullon-ohlcv symbols ad kraken:BTC/USD", "ad"),
        ("if true; then echo", "syntax error"),
    ],
)
def test_a_command_that_could_not_work_is_found(text: str, named: str) -> None:
    [problem] = problems(Block("a page", 1, "sh", text + "\n", "not run: it is an example here"), set())
    assert named in problem


def test_every_link_of_a_page_leads_somewhere() -> None:
    pages = [*PAGES, "ARCHITECTURE.md", "CHANGELOG.md", "CLAUDE.md"]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8"))
        if not link.startswith(("https://", "#"))
    ]
    assert links
    assert [one for one in links if not (ROOT / one[0]).parent.joinpath(one[1].partition("#")[0]).exists()] == []


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A place that looks like the repository, to be littered."""
    for entry in ROOT.iterdir():
        if entry.name not in (".env", ".git", ".venv"):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


class Shell:
    """Runs the blocks of a page, one after the other, in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "LOG_FILE_PATH"},
            "HOME": str(directory / "home"),
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        }

    async def run(self, block: Block) -> None:
        """Run a block to its end; it must succeed."""
        if block.language == "sql":
            await self._query(block)
            return
        process = await self._start(block)
        try:
            async with asyncio.timeout(BLOCK_S):
                said, _ = await process.communicate()
        finally:
            _kill(process, signal.SIGKILL)
        assert process.returncode == 0, f"{block.name} ended with {process.returncode}:\n{said.decode()[-3000:]}"

    @asynccontextmanager
    async def running(self, block: Block) -> AsyncIterator[None]:
        """Have a block run until the end; it must say something, and stop when it is told to."""
        process = await self._start(block)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PAGE_S):
                assert await process.stdout.readline(), f"{block.name} has ended without a word"
                async with asyncio.TaskGroup() as group:
                    reading = group.create_task(_drop(process.stdout))
                    if "fullon-ohlcv run" in block.text:
                        await _first_candle()
                    yield
                    assert process.returncode is None, f"{block.name} has ended by itself"
                    _kill(process, signal.SIGTERM)
                    await reading
                    assert await process.wait() in (0, -signal.SIGTERM, 128 + signal.SIGTERM), block.name
        finally:
            _kill(process, signal.SIGKILL)

    async def _start(self, block: Block) -> asyncio.subprocess.Process:
        program = ["bash", "-c", PRELUDE + block.text] if block.language == "sh" else [sys.executable, "-c", block.text]
        return await asyncio.create_subprocess_exec(
            *program,
            cwd=self._directory,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    async def _query(self, block: Block) -> None:
        url = create_database_url(os.environ["DB_OHLCV_NAME"]).replace("+asyncpg", "")
        connection = await asyncpg.connect(url, timeout=20)
        try:
            for query in filter(str.strip, block.text.split(";")):
                await connection.fetch(query, timeout=20)
        finally:
            await connection.close()


def _kill(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to the process and to all that it has started."""
    if process.returncode is None:
        os.killpg(process.pid, number)


async def _first_candle() -> None:
    """Wait until the daemon has something to show."""
    async with asyncio.timeout(BLOCK_S), watch_closed("kraken", ["BTC/USD"]) as candles:
        async for candle in candles:
            if candle.state == "traded":
                return


async def _drop(stream: asyncio.StreamReader) -> None:
    while await stream.read(65_536):
        pass


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", RUN_PAGES)
async def test_the_commands_of_a_page_run(page: str, market: SimulatedMarket, directory: Path) -> None:
    shell = Shell(directory)
    async with AsyncExitStack() as stack:
        for block in (one for one in blocks_of(page) if one.is_run):
            if block.runs_until_stopped:
                await stack.enter_async_context(shell.running(block))
            else:
                await shell.run(block)
