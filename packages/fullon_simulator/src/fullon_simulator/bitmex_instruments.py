"""BitMEX's markets and assets, as instrument/active and wallet/assets list them.

Source: BitMEX API explorer (Instrument, Wallet), and a recorded answer of instrument/active (2021-07-22), whose
fields these are. What a simulated market has not (a book, funding, open interest) is null or stands at its last price.
"""

from typing import Any

from fullon_simulator.bitmex_wire import asset_id, instrument_id, iso_ms, settle_unit, total
from fullon_simulator.clock import DAY_US, SECOND_US
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import Tape

_HOUR_US = DAY_US // 24
_NULLS = (
    "expiry settle listedSettle relistInterval optionStrikePcnt optionStrikeRound optionStrikePrice optionMultiplier "
    "calcInterval publishInterval publishTime limit rebalanceTimestamp rebalanceInterval limitDownPrice limitUpPrice "
    "bankruptLimitDownPrice bankruptLimitUpPrice indicativeTaxRate optionUnderlyingPrice settledPriceAdjustmentRate "
    "settledPrice"
)


def asset_entries(specs: list[SymbolSpec]) -> list[dict[str, Any]]:
    """Return the answer to wallet/assets: what the markets' contracts are paid in."""
    units = {spec.settle: settle_unit(spec) for spec in specs}
    return [
        {
            "asset": asset_id(asset),
            "currency": currency,
            "majorCurrency": asset_id(asset),
            "name": asset,
            "currencyType": "Crypto",
            "scale": scale,
            "enabled": True,
            "isMarginCurrency": True,
            "networks": [],
        }
        for asset, (currency, scale) in units.items()
    ]


def instrument_entry(tape: Tape, now_us: int) -> dict[str, Any]:
    """Return a market's entry in instrument/active."""
    spec = tape.spec
    first, stop = tape.position(now_us - DAY_US), tape.position(now_us)
    rows = tape.read(first, stop)
    day, hour = total(spec, rows), total(spec, tape.read(tape.position(now_us - now_us % _HOUR_US), stop))
    last = _price(tape.last_price(now_us), spec)
    day_ago = _price(tape.last_price(now_us - DAY_US) or tape.last_price(now_us), spec)
    return {
        **dict.fromkeys(_NULLS.split()),
        **_contract(tape),
        **_periods(now_us),
        "prevClosePrice": last,
        "prevTotalVolume": 0,
        "totalVolume": hour.volume,
        "volume": hour.volume,
        "volume24h": day.volume,
        "prevTotalTurnover": 0,
        "totalTurnover": hour.value,
        "turnover": hour.value,
        "turnover24h": day.value,
        "homeNotional24h": day.home(spec),
        "foreignNotional24h": day.foreign(spec),
        "prevPrice24h": day_ago,
        "vwap": day.vwap(spec) if day.volume else None,
        "highPrice": _price(int(rows.price.max(initial=0)), spec) or last,
        "lowPrice": _price(int(rows.price.min(initial=2**62)), spec) if first < stop else last,
        "lastPrice": last,
        "lastPriceProtected": last,
        "lastTickDirection": "ZeroPlusTick",
        "lastChangePcnt": round(last / day_ago - 1, 4),
        "bidPrice": last,
        "midPrice": last,
        "askPrice": last,
        "impactBidPrice": last,
        "impactMidPrice": last,
        "impactAskPrice": last,
        "hasLiquidity": True,
        "openInterest": 0,
        "openValue": 0,
        "fairMethod": "FundingRate",
        "fairBasisRate": 0,
        "fairBasis": 0,
        "fairPrice": last,
        "markMethod": "FairPrice",
        "markPrice": last,
        "indicativeSettlePrice": last,
        "timestamp": iso_ms(now_us - now_us % (5 * SECOND_US)),
    }


def _contract(tape: Tape) -> dict[str, Any]:
    """Return what never changes: what a contract is, and its lots, ticks, margins and fees."""
    spec, listed = tape.spec, iso_ms(tape.listed_at_us)
    base = asset_id(spec.base)
    settle, scale = settle_unit(spec)
    contracts_a_coin = 10**spec.volume_digits
    return {
        "symbol": instrument_id(spec),
        "rootSymbol": base,
        "state": "Open",
        "typ": "FFWCSX",
        "listing": listed,
        "front": listed,
        "inverseLeg": "",
        "sellLeg": "",
        "buyLeg": "",
        "positionCurrency": spec.quote if spec.inverse else base,
        "underlying": base,
        "quoteCurrency": spec.quote,
        "underlyingSymbol": f"{base}=" if spec.inverse else f"{base}T=",
        "reference": "BMEX",
        "referenceSymbol": f".B{base}" if spec.inverse else f".B{base}T",
        "maxOrderQty": 10_000_000,
        "maxPrice": 1_000_000,
        "lotSize": spec.volume_step,
        "tickSize": _price(spec.price_step, spec),
        "multiplier": -(10**scale) if spec.inverse else 10**scale // contracts_a_coin or 1,
        "settlCurrency": settle,
        "underlyingToPositionMultiplier": None if spec.inverse else contracts_a_coin,
        "underlyingToSettleMultiplier": -(10**scale) if spec.inverse else None,
        "quoteToSettleMultiplier": None if spec.inverse else 10**scale,
        "isQuanto": False,
        "isInverse": spec.inverse,
        "initMargin": 0.01,
        "maintMargin": 0.005,
        "riskLimit": 20_000_000_000,
        "riskStep": 10_000_000_000,
        "capped": False,
        "taxed": True,
        "deleverage": True,
        "makerFee": -0.0001,
        "takerFee": 0.00075,
        "settlementFee": 0,
        "insuranceFee": 0,
        "fundingBaseSymbol": f".{base}BON8H",
        "fundingQuoteSymbol": f".{spec.quote}BON8H",
        "fundingPremiumSymbol": f".{instrument_id(spec)}PI8H",
    }


def _periods(now_us: int) -> dict[str, Any]:
    """Return the hour's session and the eight hours of funding; BitMEX writes a length as a time of 2000-01-01."""
    hour_us, funding_us = now_us - now_us % _HOUR_US, now_us - now_us % (8 * _HOUR_US)
    return {
        "fundingTimestamp": iso_ms(funding_us + 8 * _HOUR_US),
        "fundingInterval": "2000-01-01T08:00:00.000Z",
        "fundingRate": 0.0001,
        "indicativeFundingRate": 0.0001,
        "openingTimestamp": iso_ms(hour_us),
        "closingTimestamp": iso_ms(hour_us + _HOUR_US),
        "sessionInterval": "2000-01-01T01:00:00.000Z",
    }


def _price(units: int, spec: SymbolSpec) -> float:
    price = units / 10.0**spec.price_digits
    return int(price) if price == int(price) else price
