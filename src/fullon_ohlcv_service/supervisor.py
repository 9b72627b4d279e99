"""One task per wanted key: start the missing, stop the surplus, restart the failed."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Hashable
from types import TracebackType
from typing import Generic, Self, TypeVar

from fullon_log import get_component_logger

Key = TypeVar("Key", bound=Hashable)

DELAY_FIRST_S = 1.0
DELAY_MAX_S = 60.0
HEALTHY_S = 60.0
"""A task that lived this long starts its back-off anew."""


class Supervisor(Generic[Key]):
    """Keeps `work(key)` running for every wanted key.

    `work` runs until it is cancelled; work that returns is done and is not started again.
    A failing task never takes its siblings down: the failure is said once per change of its sentence and the task is
    started again after a capped, fully jittered back-off. Enter it to start; leaving it cancels every task.
    """

    def __init__(self, name: str, work: Callable[[Key], Awaitable[None]]) -> None:
        self._work = work
        self._log = get_component_logger(name)
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._wanting = asyncio.Lock()
        self.failures: dict[Key, str] = {}
        """By key: the sentence of the last failure, until the task has been healthy for a minute."""

    async def __aenter__(self) -> Self:
        self._tasks.clear()
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        group, self._group = self._group, None
        for task in self._tasks.values():
            task.cancel()
        if group is not None:
            # The tasks raise nothing: what failed is the body, and it leaves as it is, in no group.
            if isinstance(error, asyncio.CancelledError):
                await group.__aexit__(kind, error, traceback)
            else:
                await group.__aexit__(None, None, None)

    async def want(self, keys: Collection[Key]) -> None:
        """Make the running keys exactly `keys`; returns once the surplus has ended.

        Before it is entered, and once it is being left, nothing is started.
        """
        async with self._wanting:
            surplus = [self._tasks.pop(key) for key in list(self._tasks) if key not in keys]
            for task in surplus:
                task.cancel()
            if surplus:
                await asyncio.wait(surplus)
            for key in keys:
                if key not in self._tasks and self._group is not None:
                    self._tasks[key] = self._group.create_task(self._keep_running(key), name=f"{key}")

    async def finished(self, timeout_s: float) -> bool:
        """Wait until the work of every key has returned; False where some has not within `timeout_s`."""
        if not self._tasks:
            return True
        _, pending = await asyncio.wait(self._tasks.values(), timeout=timeout_s)
        return not pending

    async def _keep_running(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        delay_s = DELAY_FIRST_S
        while True:
            started_s = loop.time()
            try:
                await self._watched_work(key)
            except Exception as raised:  # noqa: BLE001 - the supervisor's: whatever failed, the siblings go on
                error = cause_of(raised)
                if loop.time() - started_s > HEALTHY_S:
                    delay_s = DELAY_FIRST_S
                self._say(key, error)
                asked_s: float | None = getattr(error, "retry_after_s", None)
                await asyncio.sleep(asked_s or random.uniform(0.1, delay_s))  # noqa: S311 - jitter
                delay_s = min(DELAY_MAX_S, delay_s * 2)
            else:
                self.failures.pop(key, None)
                return

    async def _watched_work(self, key: Key) -> None:
        healthy = asyncio.get_running_loop().call_later(HEALTHY_S, self.failures.pop, key, None)
        try:
            await self._work(key)
        finally:
            healthy.cancel()

    def _say(self, key: Key, error: Exception) -> None:
        sentence = str(error) or type(error).__name__
        if self.failures.get(key) != sentence:
            # An error of ours is a whole sentence; where anything else was raised the traceback says more.
            log = self._log.error if getattr(error, "kind", "") == "defect" else self._log.warning
            log("interrupted, will try again", what=key, why=sentence, exc_info=not hasattr(error, "retryable"))
        self.failures[key] = sentence


def cause_of(error: Exception) -> Exception:
    """Return what a task group failed of: its only error, at whatever depth, or the first that is not retryable."""
    while isinstance(error, ExceptionGroup):
        unexpected = [one for one in error.exceptions if not getattr(one, "retryable", False)]
        error = (unexpected or error.exceptions)[0]
    return error
