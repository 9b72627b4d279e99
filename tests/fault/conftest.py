"""Outages last minutes of the market: here they pass faster than elsewhere."""

import pytest


@pytest.fixture
def speed() -> float:
    """How many seconds of the market a second lasts: a minute is two seconds."""
    return 30.0
