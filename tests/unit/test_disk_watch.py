"""How much room is little, and how little is too little."""

from pathlib import Path

import pytest

from fullon_embedded.disk import free_bytes
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.disk_watch import MB, DiskRoom, read_room


@pytest.mark.parametrize(
    ("warn", "least", "is_low", "is_short", "sentence"),
    [
        (0.0, 0.0, False, False, ""),
        (2.0, 0.0, True, False, "disk filling up, "),
        (2.0, 2.0, True, True, "disk nearly full, "),
        # At a limit that was passed before, and not yet by a tenth.
        (0.95, 0.0, True, False, "disk filling up, "),
        (0.95, 0.95, True, True, "disk nearly full, "),
        (0.5, 0.5, False, False, ""),
    ],
)
def test_a_limit_is_passed_at_once_and_left_with_a_tenth_more(
    tmp_path: Path, warn: float, least: float, is_low: bool, is_short: bool, sentence: str
) -> None:
    """Limits are shares of what is free here now."""
    free_mb = free_bytes(tmp_path) / MB
    config = OhlcvServiceConfig(disk_free_warn_mb=warn * free_mb, disk_free_min_mb=least * free_mb)
    room = read_room(tmp_path, config, DiskRoom(tmp_path, 0, is_low=True, is_short=True))
    assert (room.is_low, room.is_short) == (is_low, is_short)
    assert room.sentence.startswith(sentence)
    assert bool(room.sentence) == bool(sentence)
    assert bool(sentence) == (str(tmp_path) in room.sentence)


def test_a_limit_that_was_not_passed_before_is_one_without_a_tenth(tmp_path: Path) -> None:
    free_mb = free_bytes(tmp_path) / MB
    config = OhlcvServiceConfig(disk_free_warn_mb=0.95 * free_mb, disk_free_min_mb=0.95 * free_mb)
    room = read_room(tmp_path, config)
    assert not room.is_low
    assert not room.is_short


def test_a_full_disk_is_called_full(tmp_path: Path) -> None:
    room = DiskRoom(tmp_path, 1_000_000, is_low=True, is_short=True)
    assert room.sentence.startswith("disk full, ")
    assert f"MB free at {tmp_path}: make room there" in room.sentence
