"""How old a connection may grow where its user says so: `FULLON_<EXCHANGE>_CONNECTION_AGE_S`."""

import math
import os

from fullon_exchange.origin import variable_of

AGE_MIN_S = 1.0


def configured_age_s(exchange: str) -> float | None:
    """Return after how many seconds of the venue its connections are replaced; None where that is left to the venue.

    The environment is read at every call.

    Raises:
        ValueError: the variable does not parse; the sentence says what is allowed.
    """
    variable = variable_of(exchange, "CONNECTION_AGE_S")
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        age_s = float(text)
    except ValueError:
        age_s = math.nan
    if not AGE_MIN_S <= age_s < math.inf:
        raise ValueError(
            f"{variable} is {text!r}; allowed is a number of seconds, {AGE_MIN_S:g} or more, for instance 43200"
        )
    return age_s
