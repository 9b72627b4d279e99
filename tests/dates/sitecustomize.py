"""Puts every Python process of a run on another date: tests/dates/run.py sets PYTHONPATH and the shift in seconds."""

import os
import time

import time_machine

if shift_s := os.environ.get("FULLON_TEST_SHIFT_S"):
    time_machine.travel(time.time() + float(shift_s)).start()  # noqa: TID251
