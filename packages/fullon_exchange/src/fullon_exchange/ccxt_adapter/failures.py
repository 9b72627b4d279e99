"""ccxt's errors as ours."""

import aiohttp
import ccxt

from fullon_exchange.errors import (
    ExchangeError,
    ExchangeUnavailable,
    MalformedMessage,
    NotSupported,
    RateLimited,
    RequestRefused,
    UnknownSymbol,
)

_NO_ANSWER = (aiohttp.ClientError, OSError)
"""What ccxt meets on the way to an answer, time-outs included: it says where, and leaves why to the cause."""
_WITHOUT_CREDENTIALS = (ccxt.AuthenticationError, ccxt.ArgumentsRequired, ccxt.NotSupported)


def translate(
    error: Exception, *, exchange: str, symbol: str = "", retry_after_s: float | None = None
) -> ExchangeError:
    """Return what an error out of ccxt means.

    What is none of ccxt's own (a KeyError, a TypeError …) is an answer that ccxt could not read.
    """
    sentence = str(error) or type(error).__name__
    if isinstance(error, ExchangeError):
        return error
    if isinstance(error, (ccxt.RateLimitExceeded, ccxt.DDoSProtection)):
        return RateLimited(sentence, exchange=exchange, retry_after_s=retry_after_s)
    if isinstance(cause := error.__cause__, _NO_ANSWER):
        where, why = sentence.removeprefix(f"{exchange} "), str(cause) or type(cause).__name__
        return ExchangeUnavailable(f"no answer to {where}: {why}", exchange=exchange)
    if isinstance(error, (ccxt.OperationFailed, *_NO_ANSWER)):
        return ExchangeUnavailable(sentence, exchange=exchange)
    if isinstance(error, ccxt.BadSymbol):
        return UnknownSymbol(sentence, exchange=exchange, symbol=symbol)
    if isinstance(error, _WITHOUT_CREDENTIALS):
        return NotSupported(f"not to be had without more: {sentence}", exchange=exchange, symbol=symbol)
    if isinstance(error, ccxt.BaseError):
        return RequestRefused(sentence, exchange=exchange, symbol=symbol, code=type(error).__name__)
    return MalformedMessage(f"ccxt cannot read the answer ({type(error).__name__}: {sentence})", exchange=exchange)
