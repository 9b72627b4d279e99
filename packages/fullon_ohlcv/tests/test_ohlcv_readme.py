"""The example in the README runs as it stands."""

import asyncio
import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


async def test_the_example_runs_and_says_what_it_promises(database: str) -> None:
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", example,
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
    said = out.decode()
    assert "2026-01-05 12:02:00+00:00 100.0 103.0 99.0 104.0 0.5" in said
    assert "WriteResult(inserted=1" in said
    states = re.findall(r"traded|verified_empty|unavailable listed later|unknown", said)
    assert states == [
        "unavailable listed later", "traded", "traded", "verified_empty", "traded", "verified_empty", "unknown",
        "verified_empty", "traded",
    ]  # fmt: skip
