"""How long to wait before a server is asked again, by what it answered."""

import random

from fullon_ohlcv.errors import StorageContended, StorageLimited

FIRST_S = 0.1
CONTENTION_MAX_S = 1.0


def delay_s(error: Exception, failed: int, max_s: float) -> float:
    """Return how long to wait after `failed` failures in a row: jittered, doubling, at most about `max_s`.

    Others who were in the way are gone in no time; a server at a limit of its own is not asked at every turn.
    """
    first_s = FIRST_S
    if isinstance(error, StorageContended):
        max_s = min(max_s, CONTENTION_MAX_S)
    elif isinstance(error, StorageLimited):
        first_s = min(max_s, error.retry_after_s or FIRST_S)
    longest_s = min(max_s, first_s * 2.0 ** min(failed, 30))
    return random.uniform(longest_s / 2, longest_s)  # noqa: S311 - jitter
