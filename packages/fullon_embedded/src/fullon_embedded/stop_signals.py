"""SIGTERM and SIGHUP end a program that holds servers in order, as Ctrl-C does.

By default both kill the process on the spot, and its servers run on without it. A dropped ssh session sends SIGHUP,
usually twice: the kernel's and the shell's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import termios
import threading
from collections.abc import Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stopping_in_order() -> Iterator[None]:
    """Within the block, the first SIGTERM or SIGHUP raises KeyboardInterrupt, and the rest are ignored.

    A signal that is ignored already, as under nohup, stays so. Outside the main thread, which alone gets signals,
    nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_ending = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal is_ending
        if number == signal.SIGHUP:
            leave_dead_terminal()
        if not is_ending:
            is_ending = True
            if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
                raise KeyboardInterrupt  # as in the background of a script, where Ctrl-C means nothing
            # Whatever Ctrl-C means at the moment: an event loop cancels its task first.
            signal.raise_signal(signal.SIGINT)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in not_ignored():
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted_end() -> Iterator[None]:
    """From the end of the block on, ignore SIGTERM and SIGHUP: what follows it is the end already.

    For a block with an event loop, which on closing gives the signals it handled back their deadly defaults.
    """
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def not_ignored() -> list[signal.Signals]:
    """Return those of the stop signals that this process has not been started to ignore."""
    return [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def leave_dead_terminal() -> None:
    """Send output nowhere from now on if its terminal has gone: writing to it would be an error."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
