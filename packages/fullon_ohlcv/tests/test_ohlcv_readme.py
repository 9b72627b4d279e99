"""The examples in the README run as they stand."""

import asyncio
import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def example(heading: str) -> str:
    text = README.read_text(encoding="utf-8")
    [program, *_] = re.findall(r"```python\n(.*?)```", text[text.index(heading) :], re.DOTALL)
    return program


async def output(program: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", program,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_the_example_runs_and_says_what_it_promises(database: str) -> None:
    said = await output(example("# fullon_ohlcv"))
    assert "2026-01-05 12:02:00+00:00 100.0 103.0 99.0 104.0 0.5" in said
    assert "WriteResult(inserted=1" in said
    states = re.findall(r"traded|verified_empty|unavailable listed later|unknown", said)
    assert states == [
        "unavailable listed later", "traded", "traded", "verified_empty", "traded", "verified_empty", "unknown",
        "verified_empty", "traded",
    ]  # fmt: skip


async def test_the_example_of_frames_fills_what_is_verified_empty_and_nothing_else(database: str) -> None:
    said = await output(example("## Frames"))
    assert re.findall(r"(\d\d):00\+00:00 .* (True|False)\n", said) == [
        ("00", "False"), ("01", "True"), ("02", "True"), ("03", "False"), ("04", "True"),
    ]  # fmt: skip
    assert "datetime[μs, UTC]" in said
    assert re.findall(r"(traded|verified_empty|unknown) ", said) == [
        "traded", "verified_empty", "verified_empty", "traded", "verified_empty", "unknown", "unknown",
    ]  # fmt: skip
