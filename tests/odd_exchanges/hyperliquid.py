"""What Hyperliquid answers when nothing is odd: spot, its own perpetuals and those of builders' exchanges."""

from collections.abc import Mapping, Sequence
from typing import Any

from fullon_exchange.clock import Clock
from odd_exchanges import Answer, Request

TOKENS = {0: "USDC", 1: "PURR", 107: "HYPE"}


def token(index: int, name: str | None, /, **changes: Any) -> dict[str, Any]:
    """Return one spot token."""
    return {"name": name, "index": index, "szDecimals": 2, "weiDecimals": 8, "fullName": None} | changes


def spot(index: int, /, **changes: Any) -> dict[str, Any]:
    """Return the spot market of the token of this index."""
    return {"name": f"@{index}", "tokens": [index, 0], "index": index, "isCanonical": False} | changes


def perpetual(name: str, **changes: Any) -> dict[str, Any]:
    """Return one perpetual."""
    return {"name": name, "szDecimals": 2, "maxLeverage": 10} | changes


def answers(
    clock: Clock,
    *,
    tokens: Sequence[Any] = tuple(token(*one) for one in TOKENS.items()),
    universe: Sequence[Any] = (spot(1), spot(107)),
    perpetuals: Sequence[Any] = (perpetual("BTC"),),
    dexes: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, Answer]:
    """Return what is answered over REST; `dexes` has the perpetuals of the builders' exchanges by their names."""
    built = dexes or {}
    spot_meta = {"tokens": list(tokens), "universe": list(universe)}

    def info(request: Request) -> Any:
        asked = request.body
        meta = {"universe": list(built[asked["dex"]] if asked.get("dex") else perpetuals), "collateralToken": 0}
        contexts = [{"markPx": "1.0", "midPx": "1.0"}] * 1000
        return {
            "exchangeStatus": {"time": clock.now_us() // 1000, "specialStatuses": None},
            "perpDexs": [None, *({"name": name} for name in built)],
            "meta": meta,
            "metaAndAssetCtxs": [meta, contexts[: len(meta["universe"])]],
            "spotMeta": spot_meta,
            "spotMetaAndAssetCtxs": [spot_meta, contexts],
            "candleSnapshot": [],
        }[asked["type"]]

    return {"/info": info}
