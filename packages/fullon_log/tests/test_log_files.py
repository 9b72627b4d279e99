"""A log file shared, rotated, renamed, lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fullon_log import configure_logger, files, get_component_logger

log = get_component_logger("fullon.ohlcv.daemon")

WRITER = """
import sys
from fullon_log import configure_logger, get_component_logger
path, name, rotation = sys.argv[1:]
configure_logger(console=False, file_path=path, format="json", rotation=rotation or None)
log = get_component_logger(name)
for number in range(1_000):
    log.info("x" * (number % 97) + "é", number=number)
"""


def lines(folder: Path) -> list[str]:
    return [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("rotation", ["", "20 kB"])
def test_processes_sharing_a_file_lose_and_mix_nothing(tmp_path: Path, rotation: str) -> None:
    import json

    path = tmp_path / "service.log"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name, rotation]) for name in ("a", "b", "c")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    documents = [json.loads(line) for line in lines(tmp_path)]
    for name in ("a", "b", "c"):
        numbers = [document["number"] for document in documents if document["component"] == name]
        assert sorted(numbers) == list(range(1_000))
    assert (len(list(tmp_path.iterdir())) > 5) is bool(rotation)


def test_rotated_files_are_kept_as_long_as_asked(tmp_path: Path) -> None:
    (tmp_path / "service.error.log").write_text("not ours\n")
    configure_logger(console=False, file_path=tmp_path / "service.log", format="minimal", rotation="100 B", retention=2)
    for number in range(100):
        log.info("record", number=number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 4
    assert {"service.log", "service.error.log"} < set(names)
    assert lines(tmp_path)[-1] == "INFO record number=99"


def test_a_file_renamed_by_logrotate_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "service.log"
    configure_logger(console=False, file_path=path, format="minimal")
    log.info("one")
    path.rename(path.with_suffix(".1"))
    log.info("two")
    path.unlink()
    log.info("three")
    assert path.with_suffix(".1").read_text() == "INFO one\n"
    assert path.read_text() == "INFO three\n"


def test_a_file_that_cannot_be_opened_warns_and_stops_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    configure_logger(file_path=tmp_path / "file" / "service.log", format="minimal")
    for number in range(3):
        log.info("still here", number=number)
    err = capfd.readouterr().err
    assert err.count("cannot be written (Not a directory)") == 1
    assert err.count("still here") == 3


def test_what_a_full_disk_swallowed_is_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "service.log"
    path.symlink_to("/dev/full")
    configure_logger(console=False, file_path=path, format="minimal")
    for _ in range(3):
        log.info("lost")
    assert capfd.readouterr().err.count("cannot be written (No space left on device)") == 1
    path.unlink()
    monkeypatch.setattr(files.time, "monotonic", lambda: float("inf"))
    log.info("back")
    assert path.read_text() == "3 records were lost while this file could not be written\nINFO back\n"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    configure_logger(console=False, file_path=tmp_path / "a.log")
    before = len(os.listdir("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd"))
    for number in range(20):
        configure_logger(console=False, file_path=tmp_path / f"{number}.log")
    after = len(os.listdir("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd"))
    assert after == before
