"""What Hyperliquid calls a market, and what everybody else calls it.

A perpetual is known by its coin (`BTC`, `kPEPE`, on a builder's own exchange `xyz:TSLA`), a spot market by its name
(`PURR/USDC`) or number (`@107`). Unified symbols follow what unmodified ccxt makes of them, its oddities included:
codes are upper case and wrapped tokens lose their `U`.
Source: ccxt 4.5 `hyperliquid.py`.
"""

_UNIFIED = {"BCHSV": "BSV", "XBT": "BTC"}
_WRAPPED = {
    "HPENGU": "PENGU",
    "UBONK": "BONK",
    "UBTC": "BTC",
    "UDZ": "2Z",
    "UETH": "ETH",
    "UFART": "FARTCOIN",
    "UPUMP": "PUMP",
    "USDT0": "USDT",
    "USOL": "SOL",
    "UUUSPX": "SPX",
    "UXPL": "XPL",
    "XAUT0": "XAUT",
}


def unified_code(name: str) -> str:
    """Return the unified code of a perpetual's coin or of a collateral: `KPEPE` for `kPEPE`."""
    return _UNIFIED.get(name.upper(), name.upper()).replace(":", "-")


def unified_token(name: str, full_name: str | None) -> str:
    """Return the unified code of a spot token: `BTC` for `UBTC`, whose full name is `Unit Bitcoin`."""
    if name.startswith("U") and name == name.upper() and (full_name or "").startswith("Unit "):
        return unified_code(name.replace("U", ""))
    return unified_code(_WRAPPED.get(name, name))
