"""Check docs/operations.md under a real systemd: `make check-systemd`, as root, ten minutes or so.

A Debian made by debootstrap, kept in the cache directory, is booted by systemd-nspawn with the files of this check laid
over it. In it runs every line of "Install under systemd"; then a symbol of a simulated market is added and collected,
the daemon is killed, stopped in its tracks, started beside an operator's servers, upgraded and uninstalled.

It needs debootstrap, systemd-nspawn, and whatever `make install` needs of the network.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from documentation import ROOT, blocks_of

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,sudo,git,make,python3,python3-venv,ca-certificates,procps"
MIRROR = "http://deb.debian.org/debian"
PAGE = "docs/operations.md"
UNIT = "fullon-ohlcv"
SETTINGS = "/etc/fullon-ohlcv/env"
REPOSITORY = "/srv/repository"
HOME = "/root"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NETWORK_VARIABLES = ("PIP_", "UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy")
"""How this machine reaches package indexes is passed on; their names begin like this."""
BOOT_S = 120.0
LINE_S = 1200.0
WELL_S = 240.0
WATCHDOG_S = 300.0
"""WatchdogSec=120, then TimeoutStopSec=30 and RestartSec=5."""


class CheckFailed(Exception):
    """Something is not as the page promises."""


class Machine:
    """The booted Debian."""

    def __init__(self, leader: int, root: Path) -> None:
        self._leader = leader
        self.root = root

    def command(self, line: str) -> list[str]:
        """Return how a shell line is run in there, as root in /root with a login's environment."""
        inside = ["env", "-i", f"PATH={PATH}", f"HOME={HOME}", "TERM=dumb", "LANG=C.UTF-8"]
        shell = ["bash", "-c", f"set -euo pipefail; cd {HOME}; {line}"]
        return ["nsenter", "--target", str(self._leader), "--all", *inside, *shell]

    def run(self, line: str, *, codes: tuple[int, ...] = (0,), timeout_s: float = LINE_S) -> str:
        """Run a shell line to its end and return what it printed.

        Raises:
            CheckFailed: it ended with another code than those.
        """
        done = subprocess.run(
            self.command(line), capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode not in codes:
            raise CheckFailed(f"{line}\n  ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def until(self, holds: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until something holds.

        Raises:
            CheckFailed: it does not in time.
        """
        give_up_s = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > give_up_s:
                log = self.run(f"journalctl -u {UNIT} -n 40 --no-pager; systemctl status {UNIT} || true", codes=(0, 1))
                raise CheckFailed(f"not within {timeout_s:.0f} s: {what}\n{log}")
            time.sleep(1.0)

    def show(self, name: str) -> str:
        """Return a property of the service."""
        return self.run(f"systemctl show {UNIT} --property={name} --value").strip()


def step(machine: Machine, title: str, work: Callable[[Machine], None]) -> None:
    """Do one part of the check and report how long it took."""
    begun_s = time.monotonic()
    work(machine)
    print(f"ok {time.monotonic() - begun_s:6.1f} s  {title}", flush=True)


# the parts ---------------------------------------------------------------------------------------------------


def run_block(machine: Machine, heading: str, **places: str) -> None:
    """Run every line of the first shell block below a heading of the page."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    line_no = text[: text.index(f"## {heading}\n")].count("\n")
    block = next(one for one in blocks_of(PAGE) if one.line > line_no and one.language == "sh")
    directory = HOME
    for line in block.text.splitlines():
        written = line.partition("  #")[0].strip()
        for name, value in places.items():
            written = written.replace(name, value)
        if written.startswith("cd "):
            directory = written.removeprefix("cd ")
        elif written:
            begun_s = time.monotonic()
            machine.run(f"cd {directory}; {written}")
            print(f"   {time.monotonic() - begun_s:6.1f} s  {written}", flush=True)


def install(machine: Machine) -> None:
    run_block(machine, "Install under systemd", REPOSITORY=REPOSITORY)
    if machine.show("ActiveState") != "active":
        raise CheckFailed(f"the service is {machine.show('ActiveState')} after it was installed")


def add_a_symbol(machine: Machine) -> None:
    machine.run("fullon-ohlcv init --yes kraken:BTC/USD --backtest 1")
    machine.run("fullon-ohlcv symbols add kraken:ETH/USD --backtest 1")


def is_well(machine: Machine) -> bool:
    answer: dict[str, Any] = json.loads(machine.run("fullon-ohlcv status --json", codes=(0, 1), timeout_s=60))
    return bool(answer["well"]) and all(one["phase"] == "live" for one in answer["symbols"])


def become_well(machine: Machine) -> None:
    machine.until(lambda: is_well(machine), "status is well and both symbols are live", WELL_S)
    machine.run("fullon-ohlcv gaps")
    machine.run("fullon-ohlcv doctor")
    status = machine.show("StatusText")
    if not status.startswith("collecting 2 symbols"):
        raise CheckFailed(f"systemctl status shows {status!r}")


def ask_as_an_operator(machine: Machine) -> None:
    machine.run("useradd --create-home ada; echo 'ada ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ada")
    machine.run("cd /home/ada; sudo -u ada DB_HOST=/nowhere fullon-ohlcv status")
    machine.run(f"cd {HOME}; DB_HOST=/nowhere fullon-ohlcv status")


def kill_the_daemon(machine: Machine) -> None:
    before = machine.show("MainPID")
    machine.run(f"kill -9 {before}")
    machine.until(lambda: machine.show("MainPID") not in ("0", before), "it is started again after kill -9", 60)
    become_well(machine)


def stop_it_in_its_tracks(machine: Machine) -> None:
    before = machine.show("MainPID")
    begun_s = time.monotonic()
    machine.run(f"kill -STOP {before}")
    machine.until(lambda: machine.show("MainPID") not in ("0", before), "the watchdog restarts it", WATCHDOG_S)
    print(f"          restarted after {time.monotonic() - begun_s:.0f} s", flush=True)
    become_well(machine)


def start_it_beside_an_operator(machine: Machine) -> None:
    """The operator's servers run in another user namespace than the daemon that joins them."""
    machine.run(f"systemctl stop {UNIT}")
    machine.run("fullon-ohlcv status", codes=(1,))
    watching = subprocess.Popen(
        machine.command("fullon-ohlcv status --watch --json"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert watching.stdout is not None
        watching.stdout.readline()
        machine.run(f"systemctl start {UNIT}")
        machine.until(lambda: is_well(machine), "status is well", WELL_S)
    finally:
        machine.run("pkill -TERM -u fullon-ohlcv -f 'status --watch'", codes=(0, 1))
        watching.communicate(timeout=60)
    become_well(machine)
    machine.run(f"systemctl stop {UNIT}")
    if left := machine.run("pgrep -l 'postgres|valkey|redis'", codes=(0, 1)):
        raise CheckFailed(f"servers are left behind:\n{left}")
    machine.run(f"systemctl start {UNIT}")


def upgrade(machine: Machine) -> None:
    before = machine.run("git -C /opt/fullon-ohlcv rev-parse HEAD")
    inside = machine.root / REPOSITORY.lstrip("/")
    _git(inside, "update-ref", "refs/heads/main", _commit(inside, "main"))
    run_block(machine, "Upgrade")
    if machine.run("git -C /opt/fullon-ohlcv rev-parse HEAD") == before:
        raise CheckFailed("the upgrade has changed nothing")
    become_well(machine)


def uninstall(machine: Machine) -> None:
    if "Traceback" in (log := machine.run(f"journalctl -u {UNIT} --no-pager")):
        raise CheckFailed(f"the log has a traceback:\n{log[log.index('Traceback') - 500 :][:3000]}")
    run_block(machine, "Uninstall")
    places = "/opt/fullon-ohlcv /etc/fullon-ohlcv /var/lib/fullon-ohlcv /usr/local/bin/fullon-ohlcv"
    left = f"ls -d {places} 2>/dev/null || true"
    processes = "pgrep -l 'postgres|valkey|redis|fullon' || true"
    if found := machine.run(
        f"{left}; getent passwd {UNIT} || true; systemctl cat {UNIT} 2>/dev/null || true; {processes}"
    ):
        raise CheckFailed(f"the uninstalled service leaves\n{found}")


def check(machine: Machine) -> None:
    """Go through the page."""
    step(machine, "installed", install)
    with simulated_market(machine) as settings:
        machine.run(f"cat >> {SETTINGS} <<'END'\n{settings}END\nsystemctl restart {UNIT}")
        step(machine, "symbols added", add_a_symbol)
        step(machine, "live, and status is well", become_well)
        step(machine, "an operator asks, with other settings in the environment", ask_as_an_operator)
        step(machine, "killed with -9, started again, well", kill_the_daemon)
        step(machine, "stopped in its tracks, restarted by the watchdog, well", stop_it_in_its_tracks)
        step(machine, "started beside an operator's servers, well, and none is left", start_it_beside_an_operator)
        step(machine, "upgraded, well", upgrade)
    step(machine, "uninstalled, and nothing is left", uninstall)


@contextmanager
def simulated_market(machine: Machine) -> Iterator[str]:
    """Have a market on loopback; yield the settings that point the service at it."""
    line = "exec /opt/fullon-ohlcv/.venv/bin/fullon-simulator serve --venue kraken:3"
    market = subprocess.Popen(machine.command(line), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert market.stdout is not None
        environment: dict[str, str] = json.loads(market.stdout.readline())["environment"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = "{}:{}".format(*free.getsockname())
        yield "".join(f"{name}={value}\n" for name, value in {**environment, "OHLCV_HTTP_BIND": address}.items())
    finally:
        # In there: nsenter passes no signal on.
        machine.run("pkill -TERM -f 'fullon-simulator serve'", codes=(0, 1))
        market.communicate(timeout=60)


# the machine -------------------------------------------------------------------------------------------------


def debian(cache: Path) -> Path:
    """Return the directory of a Debian, made once."""
    tree = cache / f"debian-{SUITE}"
    if not tree.exists():
        side = Path(tempfile.mkdtemp(prefix="debian-", dir=cache))
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(side), MIRROR]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        side.chmod(0o755)
        side.rename(tree)
    return tree


@contextmanager
def overlay(tree: Path, cache: Path) -> Iterator[Path]:
    """Yield a directory that shows the tree, and keeps it from what is written."""
    top = Path(tempfile.mkdtemp(prefix="check-", dir=cache))
    upper, work, root = top / "upper", top / "work", top / "root"
    for each in (upper, work, root):
        each.mkdir()
    options = f"lowerdir={tree},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
        shutil.rmtree(top, ignore_errors=True)


def lay_out(root: Path) -> None:
    """Put in what a real machine gets from outside: the repository, and how the network is used."""
    repository = root / REPOSITORY.lstrip("/")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(ROOT), str(repository)], check=True)
    # With what is not committed yet, as far as git knows of it.
    with_changes = _git(ROOT, "stash", "create") or _git(ROOT, "rev-parse", "HEAD")
    _git(repository, "fetch", "--quiet", str(ROOT), with_changes)
    _git(repository, "update-ref", "refs/heads/main", with_changes)
    _git(repository, "symbolic-ref", "HEAD", "refs/heads/main")
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(NETWORK_VARIABLES)}
    (root / "etc/environment").write_text("".join(f"{name}={value}\n" for name, value in passed_on.items()))


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _commit(repository: Path, branch: str) -> str:
    """Return a new commit upon `branch` that changes nothing, the next release."""
    author = ["-c", "user.name=check", "-c", "user.email=check@localhost"]
    return _git(repository, *author, "commit-tree", f"{branch}^{{tree}}", "-p", branch, "-m", "the next release")


def shared_paths() -> Iterator[tuple[Path, str]]:
    """Yield what the machine shares of this one to reach package indexes: certificates, pip's settings and wheels."""
    for name in ("/etc/ssl/certs", "/etc/pip.conf"):
        if Path(name).exists():
            yield Path(name), name
    for name in (".config/pip", ".config/uv", ".cache/pip", ".cache/uv"):
        if (here := Path.home() / name).exists():
            yield here, f"{HOME}/{name}"
    for name, value in os.environ.items():
        if name.startswith(NETWORK_VARIABLES):
            yield from (
                (Path(word), word) for word in shlex.split(value) if word.startswith("/") and Path(word).exists()
            )


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Boot the directory and yield the machine once its systemd has started everything."""
    binds = [f"--bind={here}:{there}" for here, there in dict(shared_paths()).items()]
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", f"--directory={root}", *binds]
    nspawn = subprocess.Popen(
        [*command, f"--machine=fullon-check-{os.getpid()}", "--console=pipe"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
        give_up_s = time.monotonic() + BOOT_S
        while True:
            if nspawn.poll() is not None or time.monotonic() > give_up_s:
                raise CheckFailed("systemd does not boot here")
            if leaders := children.read_text().split():
                machine = Machine(int(leaders[0]), root)
                state = subprocess.run(
                    machine.command("systemctl is-system-running --wait || true"),
                    capture_output=True,
                    text=True,
                    check=False,
                ).stdout.strip()
                if state in ("running", "degraded"):
                    break
            time.sleep(0.2)
        yield machine
    finally:
        nspawn.send_signal(signal.SIGTERM)
        try:
            nspawn.wait(60)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()


def missing() -> str:
    """Return why the check cannot be made here; empty where it can."""
    if os.geteuid() != 0:
        return "it boots a machine, which root alone may do"
    absent = [name for name in ("debootstrap", "systemd-nspawn", "nsenter", "git") if shutil.which(name) is None]
    return f"{', '.join(absent)} not installed (Debian: debootstrap, systemd-container)" if absent else ""


def main() -> int:
    """Make the check; 0 where everything is as the page promises, 1 where not, 2 where it cannot be made."""
    argparse.ArgumentParser(prog="make check-systemd", description=__doc__.splitlines()[0]).parse_args()  # type: ignore[union-attr]
    if why := missing():
        print(f"check-systemd: {why}", file=sys.stderr)
        return 2
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fullon-ohlcv"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            root = stack.enter_context(overlay(debian(cache), cache))
            lay_out(root)
            check(stack.enter_context(booted(root)))
    except CheckFailed as error:
        print(f"check-systemd: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
