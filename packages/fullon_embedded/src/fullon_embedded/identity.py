"""As whom PostgreSQL runs: the caller, or for root a user it accepts."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fullon_embedded.become import EXIT_PROGRAM_HIDDEN
from fullon_embedded.binaries import PostgresPrograms, copy_for_other_users
from fullon_embedded.errors import RootRefused

BECOME = Path(__file__).with_name("become.py")


@dataclass(frozen=True, slots=True)
class Identity:
    """`prefix` goes before a command; the cluster must belong to `uid`:`gid`."""

    prefix: tuple[str, ...]
    uid: int
    gid: int


def choose_identity(
    programs: PostgresPrograms, data_dir: Path, *, ways: Sequence[str] | None = None
) -> tuple[Identity, PostgresPrograms]:
    """Return the identity under which PostgreSQL runs and reaches `data_dir`, and the programs it then uses.

    An ordinary user is itself. Root tries a user namespace, then the user postgres or nobody; each way is
    probed by running ``postgres --version`` through it. Programs hidden from that user (below a 0700 home)
    are copied. `ways` narrows the choice (see ``root_ways``).

    Raises:
        RootRefused: no way works; the sentence has the reasons.
    """
    if os.geteuid() != 0:
        return Identity((), os.geteuid(), os.getegid()), programs
    reasons = []
    for way in ways if ways is not None else root_ways():
        identity = Identity((sys.executable, "-I", "-S", str(BECOME), way, str(data_dir)), *_owner(way))
        usable = programs
        probe = _probe(identity, usable)
        if probe.returncode == EXIT_PROGRAM_HIDDEN:
            try:
                usable = copy_for_other_users(programs)
            except OSError as error:
                reasons.append(f"{way}: {error}")
                continue
            probe = _probe(identity, usable)
        if probe.returncode == 0:
            return identity, usable
        reasons.append(probe.stderr.strip() or f"{way}: exit code {probe.returncode}")
    raise RootRefused(
        f"PostgreSQL does not run as root, and no other identity works for {data_dir} "
        f"({'; '.join(reasons)}): run as an ordinary user, or set DB_HOST to a server of yours.",
        path=data_dir,
    )


def root_ways() -> list[str]:
    """Return the identities root can try, best first, as ``become.py`` names them."""
    ways = ["namespace"]
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        ways.append(f"user:{user.pw_uid}:{user.pw_gid}")
    return ways


def give(directory: Path, identity: Identity) -> None:
    """Make `directory` and all below belong to `identity`; nothing happens where it already does."""
    if directory.stat().st_uid == identity.uid:
        return
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            os.lchown(Path(parent, name), identity.uid, identity.gid)
    # The top comes last: it tells whether the work below is done.
    os.lchown(directory, identity.uid, identity.gid)


def _probe(identity: Identity, programs: PostgresPrograms) -> subprocess.CompletedProcess[str]:
    command = (*identity.prefix, str(programs.postgres), "--version")
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - no shell


def _owner(way: str) -> tuple[int, int]:
    if way == "namespace":
        return os.geteuid(), os.getegid()
    _, uid, gid = way.split(":")
    return int(uid), int(gid)
