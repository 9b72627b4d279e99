"""What can go wrong in the simulated market itself (what it does to its clients is no error of its own).

SimulatorError
├─ PortUnavailable(venue, port)   somebody else listens there
├─ RecordingUnreadable(path)      a recording that cannot be replayed
└─ ControlRefused(origin)         a running market that does not do what it is told
"""

from pathlib import Path


class SimulatorError(Exception):
    """Anything the simulated market cannot do."""


class PortUnavailable(SimulatorError):
    """The loopback port asked for is taken or forbidden."""

    def __init__(self, venue: str, port: int, reason: str) -> None:
        super().__init__(
            f"cannot serve {venue} on port {port} of 127.0.0.1: {reason}; ask for another port or for none"
        )
        self.venue = venue
        self.port = port


class RecordingUnreadable(SimulatorError):
    """A file of recorded trades is not in a form that can be replayed."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot replay {path}: {reason}")
        self.path = path


class ControlRefused(SimulatorError):
    """The control endpoint of a running market refuses, or nothing answers there."""

    def __init__(self, origin: str, reason: str) -> None:
        super().__init__(f"{origin}: {reason}")
        self.origin = origin
