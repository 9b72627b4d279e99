"""The shortest soak: some faults and a kill, then equality with the truth."""

from pathlib import Path

import pytest
from rich.console import Console
from soaking import VENUES, Plan, Soak

from fullon_simulator.faults_kinds import KINDS

VARIABLES = (
    "FULLON_CLOCK",
    "OHLCV_COLLECTION_INTERVAL",
    "OHLCV_COLLECT_TRADES",
    "OHLCV_KEEP_TRADES_DAYS",
    "OHLCV_KEEP_CANDLES_DAYS",
    "DB_HOST",
    "DB_PORT",
    "DB_USER",
    "DB_PASSWORD",
)


@pytest.mark.timeout(180)
async def test_after_some_seconds_of_faults_the_store_equals_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One symbol of each exchange, and faults that are repaired quickly; `make soak` has the rest."""
    for name in (*VARIABLES, "REDIS_HOST", "REDIS_PORT"):
        monkeypatch.setenv(name, "")
    for venue in ("KRAKEN", "BINANCE", "HYPERLIQUID", "BITMEX"):
        monkeypatch.setenv(f"FULLON_{venue}_ORIGIN", "")
    plan = Plan(
        seed=1,
        minutes=0.1,
        venues=dict.fromkeys(VENUES, 1),
        speed=20.0,
        fault_every_s=20.0,
        fault_max_s=30.0,
        kill_every_s=3.0,
        mishaps=("kill daemon",),
        away_hours=0.0,
        without=sorted(set(KINDS) - {"drop", "status", "repeat", "reorder", "garbage"}),
        repair_max_s=120.0,
        collect_trades="all",
    )
    report = await Soak(plan, tmp_path, Console(quiet=True)).run()
    assert report.kinds, "no fault happened"
    assert report.sound, f"{report.audit}\n" + "\n".join(report.audit.examples) + "\n" + report.log[-3000:]
