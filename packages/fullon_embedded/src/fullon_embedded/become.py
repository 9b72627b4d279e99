"""Become a user PostgreSQL accepts, then execute a command. A script of its own, run by root only.

    python -I -S become.py namespace DIRECTORY COMMAND…      map root to an ordinary id in a user namespace
    python -I -S become.py user:UID:GID DIRECTORY COMMAND…   change to that user, still reaching all files

PostgreSQL refuses to run with effective user id 0. In a user namespace the process is still root to the file
system, so nothing has to be created, chowned or opened up. Where namespaces are denied (common in
containers) the user is really changed; the ambient capability CAP_DAC_OVERRIDE then lets the server reach a
data directory and programs below a 0700 home, so that only the cluster itself has to be chowned and
everything around it stays private.

Exits with 125 and a sentence if it cannot become that user or DIRECTORY cannot be reached afterwards, with
126 if only the program of COMMAND cannot.
It imports nothing of this package, so that it starts fast and works isolated.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522

# Any id but 0 will do: it exists only inside the namespace.
NAMESPACE_ID = 1000

EXIT_REFUSED = 125
EXIT_PROGRAM_HIDDEN = 126


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def enter_namespace() -> None:
    """Map the caller (root) to an ordinary user and group in a new user namespace."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWUSER), "unshare")
    # The kernel wants setgroups switched off before an unprivileged gid_map is accepted.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NAMESPACE_ID} {outer_uid} 1"),
        ("gid_map", f"{NAMESPACE_ID} {outer_gid} 1"),
    ):
        Path("/proc/self", name).write_text(text)


def change_user(uid: int, gid: int) -> None:
    """Drop to `uid`, keeping only CAP_DAC_OVERRIDE, across exec too."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities")
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    mask = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable of capabilities 0–31, then of 32–63
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    _check(libc.capset(header, sets), "capset")
    _check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0), "ambient capability")


def main(arguments: list[str]) -> int:
    """Become the user named by the first argument and execute the rest; returns only on failure."""
    identity, directory, *command = arguments
    try:
        if identity == "namespace":
            enter_namespace()
        else:
            _, uid, gid = identity.split(":")
            change_user(int(uid), int(gid))
        os.scandir(directory).close()
        # Like PostgreSQL itself, access() goes by the user alone and disregards capabilities.
        if not os.access(command[0], os.R_OK | os.X_OK):
            return EXIT_PROGRAM_HIDDEN
        os.execv(command[0], command)  # noqa: S606 - the arguments are the launcher's own, no shell
    except OSError as error:
        sys.stderr.write(f"{identity}: {error}\n")
        return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
