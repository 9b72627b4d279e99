"""What a supervisor says of the parts that fail."""

import pytest
from support import eventually

from fullon_ohlcv_service import supervisor
from fullon_ohlcv_service.supervisor import Supervisor


async def test_a_failure_is_named_until_the_part_has_been_healthy_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "DELAY_FIRST_S", 0.1)
    monkeypatch.setattr(supervisor, "HEALTHY_S", 0.2)
    starts = 0

    async def work(key: str) -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise OSError("not yet")
        await eventually(lambda: False, "nothing; it is cancelled")

    async with Supervisor("fullon.test", work) as running:
        await running.want(["part"])
        await eventually(lambda: running.failures == {"part": "not yet"}, "the failure is named")
        await eventually(lambda: not running.failures, "it is not named any more")
    assert starts == 2
