"""A daemon on a PostgreSQL that has three connections left for it."""

import secrets
from collections.abc import AsyncIterator

import pytest
from support import eventually, running_daemon

from fullon_exchange.clock import Clock
from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.config.database_config import load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_orm import dispose_engines
from fullon_simulator import SimulatedMarket

CONNECTIONS = 3


@pytest.fixture
async def user_of_three(seeded: SimulatedMarket) -> AsyncIterator[str]:
    """A user who may do all that the owner may, over three connections at a time."""
    name = f"three_{secrets.token_hex(4)}"
    owner = await connect(Target.from_env())
    try:
        await owner.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT {CONNECTIONS}; GRANT postgres TO {name}")
        yield name
    finally:
        await owner.execute(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}")
        await owner.close()


@pytest.mark.timeout(240)
async def test_a_daemon_with_three_connections_collects_and_says_what_it_does_without(
    user_of_three: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = await load_wanted_symbols(OhlcvServiceConfig.from_env())
    await dispose_engines()
    said = ""
    async with TimeseriesStore.open(pool_max=1, now_us=clock.now_us) as store:
        series = [await store.series(one.exchange, one.symbol, "candles1m") for one in wanted]
        end_us = clock.now_us()

        async def all_is_covered() -> bool:
            nonlocal said
            said += capsys.readouterr().err
            summaries = await store.summaries(dict.fromkeys(series, (end_us - 3600000000, end_us)))
            return all(one.covered_us + one.unavailable_us == one.wanted_us for one in summaries.values())

        with monkeypatch.context() as as_user:
            as_user.setenv("DB_USER", user_of_three)
            async with running_daemon():
                await eventually(all_is_covered, lambda: f"not everything is covered; {said[-2000:]}")
            await dispose_engines()
    assert "Traceback" not in said
    assert "no connection is left" in said
