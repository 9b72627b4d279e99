"""The README's example runs and prints what it says."""

import asyncio
import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


async def test_the_example_prints_what_the_readme_says(missing_database: str) -> None:
    program, output = re.search(r"```python\n(.*?)```.*?```\n(.*?)```", README.read_text(), re.DOTALL).groups()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert printed.decode() == output
