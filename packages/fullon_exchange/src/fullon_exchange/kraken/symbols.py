"""What Kraken calls a market, and what everybody else calls it.

REST speaks of `XXBTZUSD` with `wsname` `XBT/USD`, WebSocket v2 of `BTC/USD`, and unified symbols follow what
unmodified ccxt makes of them: `LUNA/USD` on the wire is `LUNC/USD` here.
Source: https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs (read 2026-11), ccxt 4.5 `kraken.py`.
"""

_UNIFIED = {
    "BCHSV": "BSV",
    "FEE": "KFEE",
    "LUNA": "LUNC",
    "LUNA2": "LUNA",
    "REP": "REPV1",
    "REPV2": "REP",
    "UST": "USTC",
    "XBT": "BTC",
    "XDG": "DOGE",
}
_WEBSOCKET_V2 = {"XBT": "BTC", "XDG": "DOGE"}
"""The only two assets that WebSocket v2 renamed (compared with a recorded v2 `instrument` snapshot)."""


def unified_asset(asset: str, altname: str) -> str:
    """Return the unified code of a Kraken asset, for instance `BTC` for `XXBT` with altname `XBT`."""
    name = altname if asset != altname and asset[:1] in ("X", "Z") else asset
    return _UNIFIED.get(name, name)


def websocket_name(wsname: str) -> str:
    """Return the WebSocket v2 name of a market from its `wsname`: `BTC/USD` for `XBT/USD`."""
    return "/".join(_WEBSOCKET_V2.get(asset, asset) for asset in wsname.split("/"))
