"""The command line as people use it: a process with arguments, what it prints, and its exit code."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

PATIENCE_S = 60.0
COMMAND = (sys.executable, "-m", "fullon_ohlcv_service.cli")


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one line of a refusal."""
        assert self.code == 2, f"{self.code}: {self.out}{self.err}"
        assert "Traceback" not in self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("fullon-ohlcv: ")
        return lines[0]


async def run_cli(*arguments: str, **environment: str) -> Done:
    """Run one command to its end, beside whatever else this event loop serves."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environment,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(process.returncode or 0, out.decode(), err.decode())
