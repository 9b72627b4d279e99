"""A trade as it happens: a value that travels between services as JSON, not a table."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self


@dataclass(slots=True)
class Trade:
    """One live trade.

    `side` is the taker's (`buy`, `sell`); `price` and `cost` are in quote units, `volume` in base units,
    `fee` in quote units. `trade_id` is ours, `ex_trade_id` the exchange's.

    `time` is the exchange's and always aware UTC. It may be given as a datetime (without a zone: UTC), as
    ISO 8601 text, or in seconds since the epoch.

    Raises:
        ValueError: a number that is not finite, or a time that cannot be read.
    """

    trade_id: int | str | None = None
    ex_trade_id: str | None = None
    ex_order_id: str | None = None
    uid: int | None = None
    ex_id: int | None = None
    symbol: str = ""
    side: str = ""
    order_type: str = ""
    volume: float = 0.0
    price: float = 0.0
    cost: float = 0.0
    fee: float = 0.0
    time: datetime | None = None

    def __post_init__(self) -> None:
        self.volume = _finite("volume", self.volume)
        self.price = _finite("price", self.price)
        self.cost = _finite("cost", self.cost)
        self.fee = _finite("fee", self.fee)
        self.time = _aware(self.time)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values of JSON; `time` as ISO 8601 text with microseconds kept."""
        values = asdict(self)
        values["time"] = self.time.isoformat() if self.time else None
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a trade of what `to_dict` returned, in this version or another.

        Unknown keys are ignored; missing ones, and numbers and texts that are None, take their defaults.

        Raises:
            ValueError: a value that is there but cannot be read.
        """
        return cls(**{f.name: values[f.name] for f in fields(cls) if values.get(f.name) is not None})


def _finite(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # the error is what is asked for
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} of a trade is {value!r}; allowed is a finite number")
    return number


def _aware(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(
            f"time of a trade is {value!r}; allowed is a datetime, ISO 8601 text or seconds since the epoch"
        ) from error
