"""What the benchmarks share: a header, a process of its own for what is measured, CPU time, medians, one line a figure.

A figure stands beside the bare limit that was measured in the same run: the ratio carries over to other machines,
the figure does not. CPU is user + system of the one process; the load average tells who else was working.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

processes = multiprocessing.get_context("spawn")
"""Children begin fresh, so that memory and CPU are theirs alone."""

PATIENCE_S = 300.0
READY_S = 60.0


def parser(description: str, *, runs: int | None = 3) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has; `runs` None where a figure is made once."""
    options = argparse.ArgumentParser(description=description)
    if runs is not None:
        said = f"runs of each figure; the median is said (default: {runs})"
        options.add_argument("--runs", type=int, default=runs, help=said)
    options.add_argument(
        "--smoke", action="store_true", help="the smallest sizes: shows that it works, measures nothing"
    )
    return options


def print_header() -> None:
    """Say by what command, when and on what machine the figures below were made."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    print(f"# {command}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {load():.1f}")
    print(
        f"# {_cpu()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}",
        flush=True,
    )


def say(what: str, figure: str, *ratios: str) -> None:
    """Print one line: what was measured, the figure, its ratios to bare limits, the load meanwhile."""
    print(" | ".join([f"{what:<42} {figure}", *ratios, f"load {load():.1f}"]), flush=True)


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def ratio(figure: float, limit: float, of: str) -> str:
    """Return the words for a figure's share of a bare limit."""
    return f"{figure / limit:.2f} of {of} ({short(limit)})"


def short(number: float) -> str:
    """Return a number with about three digits: 1.23M, 456k, 7.8."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.2f}{letter}" if scaled < 10 else f"{scaled:.0f}{letter}"
    return f"{number:.0f}" if number >= 100 else f"{number:.2g}"


def median(runs: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(runs)


def spread(runs: Sequence[float]) -> str:
    """Return how far the runs lie apart, in words; nothing for one run."""
    return f" ({short(min(runs))}–{short(max(runs))})" if len(runs) > 1 else ""


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-round(len(ordered) * share * 1e6) // 1_000_000) - 1)]


def isolated(work: str, *arguments: Any) -> Any:
    """Run `module:function` in a process of its own and return what it returns.

    Named, so that a process imports what it needs and no more.

    Raises:
        RuntimeError: it raised, ended or took too long; says what it said.
    """
    with prepared(work) as run:
        return run(*arguments)


class Prepared:
    """A process of its own that has imported what its work needs; it runs once."""

    def __init__(self, pipe: Connection, work: str) -> None:
        self._pipe = pipe
        self._work = work

    def __call__(self, *arguments: Any) -> Any:
        """Run, and return what it returns."""
        self.start(*arguments)
        return self.wait()

    def start(self, *arguments: Any) -> None:
        """Begin to run, in our environment as it is now."""
        self._pipe.send((dict(os.environ), arguments))

    def wait(self) -> Any:
        """Return what it returns."""
        return _answered(self._pipe, PATIENCE_S, self._work)


@contextmanager
def prepared(work: str, *shared: Any) -> Iterator[Prepared]:
    """Enter once a process of its own is ready to run `module:function`.

    `shared` memory comes before the other arguments: it can be passed only when a process begins.
    """
    with _child(_answer, work, shared) as pipe:
        _answered(pipe, READY_S, work)
        yield Prepared(pipe, work)


@contextmanager
def serving(work: str, *arguments: Any) -> Iterator[Any]:
    """Keep `module:function` running in a process of its own; enters with what it passed to its first argument."""
    with _child(_serve, work, arguments) as pipe:
        yield _answered(pipe, READY_S, work)


@contextmanager
def _child(target: Callable[..., None], work: str, arguments: Sequence[Any]) -> Iterator[Connection]:
    ours, theirs = processes.Pipe()
    child = processes.Process(target=target, args=(theirs, work, arguments), daemon=True)
    child.start()
    theirs.close()
    try:
        yield ours
    finally:
        child.terminate()
        child.join(5)
        if child.is_alive():
            child.kill()
            child.join()


def _answer(pipe: Connection, work: str, shared: Sequence[Any]) -> None:
    try:
        function = resolve_name(work)
        pipe.send((True, "ready"))
        environment, arguments = pipe.recv()
        os.environ.update(environment)
        pipe.send((True, function(*shared, *arguments)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))
        raise


def _serve(pipe: Connection, work: str, arguments: Sequence[Any]) -> None:
    try:
        resolve_name(work)(lambda answer: pipe.send((True, answer)), *arguments)
    except BaseException:
        pipe.send((False, traceback.format_exc()))
        raise


def _answered(pipe: Connection, patience_s: float, work: str) -> Any:
    if not pipe.poll(patience_s):
        raise RuntimeError(f"{work} gave no answer within {patience_s:.0f} s")
    try:
        good, answer = pipe.recv()
    except EOFError:
        raise RuntimeError(f"{work} ended without an answer") from None
    if not good:
        raise RuntimeError(f"{work} failed:\n{answer}")
    return answer


class Timed(NamedTuple):
    """So many rows, and the seconds of CPU and of wall that they took."""

    rows: int
    cpu_s: float
    wall_s: float
    servers_cpu_s: float = 0.0

    @property
    def per_cpu_s(self) -> float:
        """Rows a CPU second."""
        return self.rows / self.cpu_s

    @property
    def per_s(self) -> float:
        """Rows a second."""
        return self.rows / self.wall_s

    @property
    def per_server_cpu_s(self) -> float:
        """Rows a CPU second of the servers."""
        return self.rows / self.servers_cpu_s


class Stopwatch:
    """CPU and wall seconds of this process since it was made or started anew."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin at zero."""
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Return CPU and wall seconds."""
        return time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
