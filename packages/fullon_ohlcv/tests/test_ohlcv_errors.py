"""Every refusal of the server is classed by its SQLSTATE; only what is away is called a server that may be down."""

import pytest

from fullon_ohlcv.errors import (
    KINDS,
    StatementFailed,
    StorageContended,
    StorageDefect,
    StorageError,
    StorageLimited,
    StorageMisconfigured,
    StorageUnavailable,
    TransientStorageError,
)
from fullon_ohlcv.records import CandleWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US

CLASSES: dict[str, type[StorageError]] = {
    "08006": StorageUnavailable,
    "57P01": StorageUnavailable,
    "57P03": StorageUnavailable,
    "40001": StorageContended,
    "40P01": StorageContended,
    "55P03": StorageContended,
    "57014": StorageContended,
    "53100": StorageLimited,
    "53200": StorageLimited,
    "53300": StorageLimited,
    "53400": StorageLimited,
    "25006": StorageLimited,
    "28000": StorageMisconfigured,
    "42501": StorageMisconfigured,
    "22003": StatementFailed,
    "23505": StatementFailed,
    "42601": StatementFailed,
    "XX000": StatementFailed,
}


@pytest.mark.parametrize("state", CLASSES)
async def test_what_the_server_refuses_is_classed_by_its_sqlstate(store: TimeseriesStore, state: str) -> None:
    with pytest.raises(StorageError) as refused:
        async with store.connection("try"), store.connection("raise it") as connection:
            await connection.execute(
                f"DO $$BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}', DETAIL = 'hunter2'; END$$"
            )
    error, sentence = refused.value, str(refused.value)
    assert type(error) is CLASSES[state]
    assert error.kind in KINDS
    assert error.retryable is isinstance(error, TransientStorageError)
    assert ("is the server running" in sentence) is (error.kind == "away")
    assert "so it is" in sentence
    assert "hunter2" not in sentence
    assert "\n" not in sentence
    if isinstance(error, StorageContended | StorageLimited | StorageDefect):
        assert state in sentence


async def test_contention_is_tried_again_soonest_and_a_limit_latest() -> None:
    paces = [kind.retry_after_s or 0 for kind in (StorageContended, StorageUnavailable, StorageLimited)]
    assert paces == sorted(paces)
    assert paces[0] > 0


async def test_a_defect_names_the_statement_and_the_sqlstate(store: TimeseriesStore) -> None:
    series = await store.series("kraken", "BTC/USD", "candles1m")
    at_us = 1_700_000_040_000_000
    async with store.connection("forbid") as connection:
        await connection.execute("ALTER TABLE candles ADD CONSTRAINT low CHECK (close < 1000)")
    rows = [(at_us + n * MINUTE_US, 1.0, 1.0, 1.0, 1.0, 1.0, 1) for n in range(2)]
    await store.write_candles([CandleWrite(series, rows)])
    dear = [(at_us, 5000.0, 5000.0, 5000.0, 5000.0, 1.0, 1)]
    with pytest.raises(StatementFailed, match="'merge_candles' failed with SQLSTATE 23514") as failed:
        await store.write_candles([CandleWrite(series, dear)])
    assert (failed.value.statement, failed.value.sqlstate) == ("merge_candles", "23514")
    assert "5000" not in str(failed.value)
