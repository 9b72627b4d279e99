"""Embedded servers from a shell: ``python -m fullon_embedded [--data-dir D] env|psql|status|stop``."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fullon_embedded.binaries import find_psql
from fullon_embedded.errors import EmbeddedError
from fullon_embedded.servers import EmbeddedServers, default_data_dir
from fullon_embedded.stop_signals import stopping_in_order

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_NOT_RUNNING = 3
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fullon_embedded",
        description="The private PostgreSQL and Redis of a data directory.",
    )
    parser.add_argument(
        "--data-dir", type=Path, default=None, help="default: FULLON_DATA_DIR, else ~/.local/share/fullon"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="env|psql|status|stop")
    commands.add_parser("env", help='start the servers and print how: eval "$(python -m fullon_embedded env)"')
    commands.add_parser("status", help="say what runs; exit code 3 if something does not")
    commands.add_parser("stop", help="stop servers that a killed program left running")
    commands.add_parser("psql", help="open psql with the options given, starting PostgreSQL for as long as it is open")
    chosen, options = parser.parse_known_args(arguments)
    if options and chosen.command != "psql":
        parser.error(f"unknown arguments: {' '.join(options)}")
    servers = EmbeddedServers(chosen.data_dir or default_data_dir(), report=_report)
    try:
        with stopping_in_order():
            match chosen.command:
                case "env":
                    return _env(servers)
                case "status":
                    return _status(servers)
                case "stop":
                    servers.stop()
                    return EXIT_OK
                case _:
                    return _psql(servers.data_dir, options)
    except EmbeddedError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _report(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _env(servers: EmbeddedServers) -> int:
    servers.start()
    servers.close(keep_running=True)
    for name, value in servers.environment().items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    sys.stderr.write(
        f"The servers in {servers.data_dir} run until `python -m fullon_embedded stop`, or until the next "
        "program that has started with them leaves.\n"
    )
    return EXIT_OK


def _status(servers: EmbeddedServers) -> int:
    pids = servers.pids()
    sys.stdout.write(f"data directory  {servers.data_dir}\n")
    for name, pid in pids.items():
        sys.stdout.write(f"{name:<14}  {_say(pid)}\n")
    sys.stdout.write(f"in use          {'yes' if servers.in_use() else 'no'}\n")
    return EXIT_NOT_RUNNING if None in pids.values() else EXIT_OK


def _say(pid: int | None) -> str:
    if pid is None:
        return "not running"
    return f"running, process {pid}" if pid else "running, in another container"


def _psql(data_dir: Path, options: Sequence[str]) -> int:
    with EmbeddedServers(data_dir, redis=False, guest=True, report=_report) as servers:
        address = servers.environment()
        program = find_psql()
        if program is None:
            sys.stderr.write(
                "There is no psql on this machine: install postgresql-client, or connect any client to host "
                f"{address['DB_HOST']}, user {address['DB_USER']}, while a program uses the servers.\n"
            )
            return EXIT_FAILED
        # Ctrl-C cancels a query in psql and must not end us before it. A handler, unlike SIG_IGN, is not
        # inherited.
        before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
        try:
            environment = {
                **os.environ,
                "PGHOST": address["DB_HOST"],
                "PGPORT": address["DB_PORT"],
                "PGUSER": address["DB_USER"],
                "PGDATABASE": os.environ.get("DB_OHLCV_NAME") or "fullon_ohlcv",
            }
            return subprocess.run([str(program), *options], env=environment, check=False).returncode  # noqa: S603
        finally:
            signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
