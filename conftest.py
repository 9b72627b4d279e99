"""What holds for every test of every package: nothing depends on today's date or on how busy the machine is."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from fullon_simulator import SimulatedMarket

# A busy machine is no failure: neither an example that takes long nor one that was long in the making.
settings.register_profile(
    "any-machine",
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any-machine")


@pytest.fixture(autouse=True, scope="session")
def children_hear_sighup() -> None:
    """Let programs that tests start have the default of SIGHUP, also where the tests run under nohup."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # a handler is not inherited, an ignored signal is


@pytest.fixture(autouse=True, scope="session")
def no_market_of_today() -> Iterator[None]:
    """Fail a test whose market shows the wall clock, or began at its time: it differs from day to day."""
    construct = SimulatedMarket.__init__

    def checked(market: SimulatedMarket, *arguments: Any, **options: Any) -> None:
        construct(market, *arguments, **options)
        if market.clock.exchange_us == market.clock.unix_us:
            pytest.fail("this market is drawn from the wall clock; begin it at a fixed moment: tests/fixed_clock.py")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedMarket, "__init__", checked)
        yield
