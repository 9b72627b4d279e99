"""Run tests on other dates, in other time zones and locales: `make test-dates`.

    python tests/dates/run.py [--date 2028-02-29T23:58@Asia/Kathmandu …] [paths and options of pytest]

Every Python process of a run sees the date (time-machine, started by sitecustomize.py). PostgreSQL, Redis and the times
of files keep the machine's: tests that compare those with Python's clock are not among the parts. Exit code 1 where a
test fails on one of the dates.
"""

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATES = (
    "2026-12-31T23:59:30@UTC",  # a year ends during the run
    "2027-01-31T23:58@Asia/Kathmandu",  # a month, in a zone of 45 minutes
    "2027-02-28T23:59@UTC",  # February without a leap day
    "2027-03-14T06:59:30@America/New_York",  # 01:59 becomes 03:00
    "2027-03-28T00:59:30@Europe/Berlin",  # 01:59 becomes 03:00
    "2027-06-15T12:00@Pacific/Kiritimati",  # a day ahead
    "2027-10-31T00:59:30@Europe/Berlin",  # 02:59 becomes 02:00
    "2027-11-07T05:59:30@America/New_York",  # 01:59 becomes 01:00
    "2027-11-30T20:00@Pacific/Pago_Pago",  # a year on, a day behind
    "2028-02-29T23:59@UTC",  # the leap day
)
PARTS = (
    "packages/fullon_cache/tests",
    "packages/fullon_exchange/tests/unit",
    "packages/fullon_log/tests",
    "packages/fullon_ohlcv/tests/test_ohlcv_reading.py",
    "packages/fullon_ohlcv/tests/test_ohlcv_timeframe.py",
    "packages/fullon_simulator/tests/test_simulator_tape.py",
    "tests/unit",
    "tests/contract",
    "tests/integration/test_coarse_history.py",
    "tests/integration/test_daemon.py",
    "tests/fault/test_venue_faults.py",
    "tests/acceptance/test_cli.py",
)
"""What touches time, without what only takes long."""


def run_on(date: str, pytest_arguments: list[str]) -> int:
    """Run pytest on `<ISO time in UTC>@<time zone>` and return its exit code."""
    moment, _, zone = date.partition("@")
    shift_s = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() - time.time()  # noqa: TID251
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent),
        "FULLON_TEST_SHIFT_S": str(shift_s),
        "TZ": zone or "UTC",
        "LC_ALL": "C.UTF-8" if zone in ("", "UTC") else "C",
    }
    print(f"== {date}", flush=True)
    # time-machine is also a plugin of pytest, which would rather import it itself.
    options = ("-q", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-n", "4", "--dist", "worksteal")
    command = [sys.executable, "-m", "pytest", *options, *pytest_arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    """Run on every date and return 1 where one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", action="append", help="<ISO time in UTC>@<time zone>; default: ten of them")
    options, pytest_arguments = parser.parse_known_args()
    wrong = [date for date in options.date or DATES if run_on(date, pytest_arguments or list(PARTS))]
    print(f"wrong on {', '.join(wrong)}" if wrong else "well on every date")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
