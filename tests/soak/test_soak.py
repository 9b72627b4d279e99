"""A short seeded soak: faults of many kinds and kills, then equality with the truth."""

from pathlib import Path

import pytest
from rich.console import Console
from soaking import Plan, Soak

VARIABLES = (
    "FULLON_CLOCK",
    "OHLCV_COLLECTION_INTERVAL",
    "OHLCV_COLLECT_TRADES",
    "DB_HOST",
    "DB_PORT",
    "DB_USER",
    "DB_PASSWORD",
)


@pytest.mark.timeout(300)
async def test_after_half_a_minute_of_faults_the_store_equals_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirteen symbols of four venues at ten times the pace, a fault about every fifteen seconds of the clock."""
    for name in (*VARIABLES, "REDIS_HOST", "REDIS_PORT"):
        monkeypatch.setenv(name, "")
    for venue in ("KRAKEN", "BINANCE", "HYPERLIQUID", "BITMEX"):
        monkeypatch.setenv(f"FULLON_{venue}_ORIGIN", "")
    plan = Plan(
        seed=1,
        minutes=0.5,
        venues={"kraken": 3, "binance": 4, "hyperliquid": 4, "bitmex": 2},
        fault_every_s=15.0,
        kill_every_s=10.0,
        repair_max_s=150.0,
        collect_trades="all",
    )
    report = await Soak(plan, tmp_path, Console(quiet=True)).run()
    assert report.kinds, "no fault happened"
    assert report.sound, f"{report.audit}\n" + "\n".join(report.audit.examples) + "\n" + report.log[-3000:]
