"""Tell systemd how it goes: ready, what is being done, still well, stopping. Without systemd nothing is told.

The protocol is one datagram of lines `NAME=value` to the unix socket that `NOTIFY_SOCKET` names.
Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import asyncio
import os
import socket
from collections import Counter

from fullon_log import get_component_logger
from fullon_ohlcv_service.health import Condition, Doing, StuckWatch, find_reasons

STATUS_EVERY_S = 10.0


class ServiceManager:
    """The unix socket of the service manager that started this process."""

    def __init__(self, address: str, watchdog_s: float | None = None) -> None:
        """Build one; `watchdog_s` is after how much silence the process is restarted, None where never."""
        self.watchdog_s = watchdog_s
        # A name that begins with @ is in the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._said = ""
        self._log = get_component_logger("fullon.ohlcv.daemon")

    @classmethod
    def from_env(cls) -> "ServiceManager | None":
        """Read `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`; None where nobody wants to be told."""
        address = os.environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        wanted, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        ours = wanted.isdecimal() and int(wanted) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(wanted) / 1e6 if ours else None)

    def tell(self, **values: object) -> None:
        """Send values; a socket that takes nothing is said once and changes nothing else."""
        message = "\n".join(f"{name}={str(value).replace(chr(10), ' ')}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            if str(error) != self._said:
                self._said = str(error)
                self._log.warning("systemd cannot be told how it goes", why=self._said)
        else:
            self._said = ""


class SystemdReport:
    """Reports one daemon's condition.

    READY once it collects, or waits for what it needs: a database that is away is no failed start. STATUS in words.
    WATCHDOG twice as often as asked for, while a restart would not help; see `StuckWatch`.
    """

    def __init__(self, manager: ServiceManager, condition: Condition) -> None:
        self._manager = manager
        self._condition = condition
        self._watch = StuckWatch(condition)
        watchdog_s = manager.watchdog_s
        self._every_s = STATUS_EVERY_S if watchdog_s is None else min(STATUS_EVERY_S, watchdog_s / 2)

    async def run(self) -> None:
        """Report until cancelled, at once where something has changed; the last word is that it stops."""
        try:
            is_ready = False
            while True:
                self._condition.changed.clear()
                values: dict[str, object] = {"STATUS": describe(self._condition)}
                if self._condition.doing is Doing.STOPPING:
                    values["STOPPING"] = 1
                elif self._condition.doing is not Doing.STARTING and not is_ready:
                    values["READY"] = 1
                    is_ready = True
                if self._manager.watchdog_s is not None and not await self._watch.is_stuck():
                    values["WATCHDOG"] = 1
                self._manager.tell(**values)
                await self._wait()
        finally:
            self._manager.tell(STOPPING=1, STATUS="stopped")

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._every_s):
                await self._condition.changed.wait()
        except TimeoutError:
            pass


def describe(condition: Condition) -> str:
    """Return in one line what a daemon is doing and how it goes."""
    collecting = condition.collecting
    disk = f"; {condition.disk.problem}" if condition.disk is not None and condition.disk.problem else ""
    if condition.doing is not Doing.COLLECTING or collecting is None:
        return condition.sentence + disk
    lines = collecting.runtime.board.lines()
    phases = Counter(line.phase.value for line in lines)
    parts = [f"{count} {phase}" for phase, count in phases.items()]
    sentence = f"collecting {len(lines)} symbols"
    if parts:
        sentence += f": {', '.join(parts)}"
    if stale := [one for one in find_reasons(condition) if one.symbol]:
        sentence += f"; {len(stale)} not fresh, {stale[0].exchange} {stale[0].symbol} first: {stale[0].reason}"
    return sentence + disk
