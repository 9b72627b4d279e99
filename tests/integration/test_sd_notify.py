"""What a daemon tells systemd, received on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support import eventually, running_daemon

from fullon_ohlcv_service import health
from fullon_ohlcv_service.sd_notify import ServiceManager
from fullon_simulator import SimulatedMarket


class Systemd:
    """The receiving end: every message so far, oldest first, as lines."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver
        self._messages: list[list[str]] = []

    @property
    def messages(self) -> list[list[str]]:
        while True:
            try:
                self._messages.append(self._receiver.recv(65_536).decode().splitlines())
            except BlockingIOError:
                return self._messages

    def heard(self, line: str) -> bool:
        return any(line in message for message in self.messages)

    def newest(self, count: int) -> list[bool]:
        """Whether each of the newest messages says that all is well; none where there are fewer."""
        messages = self.messages
        return ["WATCHDOG=1" in message for message in messages[-count:]] if len(messages) >= count else []


@pytest.fixture
def speed() -> float:
    """A minute lasts a second."""
    return 60.0


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    path = tmp_path / "notify"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(str(path))
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield Systemd(receiver)


async def test_it_is_ready_while_the_database_is_away_and_says_what_it_waits_for(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    monkeypatch.setenv("DB_PORT", "1")
    async with running_daemon():
        await eventually(lambda: systemd.heard("READY=1"), "a start that has not failed")
        assert any(line.startswith("STATUS=waiting: ") for message in systemd.messages for line in message)
        await eventually(lambda: systemd.newest(3) == [True] * 3, "it is well")


async def test_the_watchdog_is_left_to_bark_while_exchanges_answer_and_nothing_is_fresh_but_not_while_they_are_down(
    seeded: SimulatedMarket, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {"STALE_S": 150.0, "STUCK_S": 60.0, "PROBE_EVERY_S": 0.2, "PROBE_S": 1.0}.items():
        monkeypatch.setattr(health, name, seconds)
    monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "0.5")
    async with running_daemon() as daemon:
        await eventually(lambda: systemd.heard("STATUS=collecting 4 symbols: 4 live"), "four symbols live")
        await eventually(lambda: systemd.newest(3) == [True] * 3, "it is well again and again")
        seeded.faults.begin("refuse_sockets")
        seeded.faults.begin("drop")
        for channel in ("trades", "candles"):
            seeded.faults.begin("status", channel=channel)
        await eventually(lambda: systemd.newest(3) == [False] * 3, "no longer said to be well")
        assert len(health.find_reasons(daemon._condition)) == 4
        seeded.faults.begin("down")
        await eventually(lambda: systemd.newest(3) == [True] * 3, "a restart would not help")
        assert len(health.find_reasons(daemon._condition)) == 4
    messages = systemd.messages
    [ready] = [number for number, message in enumerate(messages) if "READY=1" in message]
    first_stop = next(number for number, message in enumerate(messages) if "STOPPING=1" in message)
    assert ready < first_stop
    assert messages[-1] == ["STOPPING=1", "STATUS=stopped"]
    assert all(line.partition("=")[1] for message in messages for line in message)


def test_a_socket_of_the_abstract_namespace_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"fullon-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(f"\0{name}")
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        manager = ServiceManager.from_env()
        assert manager is not None
        manager.tell(STATUS="two\nlines", READY=1)
        assert receiver.recv(1000) == b"STATUS=two lines\nREADY=1"


def test_a_watchdog_of_another_process_or_none_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert ServiceManager.from_env() is None
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    for wanted, pid, watchdog_s in (("", "", None), ("3000000", "1", None), ("0", "", None), ("3000000", "", 3.0)):
        monkeypatch.setenv("WATCHDOG_USEC", wanted)
        monkeypatch.setenv("WATCHDOG_PID", pid)
        manager = ServiceManager.from_env()
        assert manager is not None
        assert manager.watchdog_s == watchdog_s
        manager.tell(READY=1)  # a socket that is not there changes nothing
