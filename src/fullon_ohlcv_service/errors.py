"""Errors of the service.

ServiceError
├─ ConfigurationError   a variable, a file or a database row that a person must mend; also a ValueError
├─ CannotListen         an address that others cannot reach us at just now
├─ CommandError         what was asked on the command line cannot be done
└─ AlreadyCollecting    another daemon holds this database
"""


class ServiceError(Exception):
    """Base of the service's errors."""

    retryable = False


class ConfigurationError(ServiceError, ValueError):
    """Something a person wrote cannot be used; the sentence says what, where, and what is allowed."""


class CommandError(ServiceError):
    """What was asked cannot be done; the sentence says what, and what can."""


class CannotListen(ServiceError):
    """An address cannot be listened on; the sentence says which, why, and what to do."""

    retryable = True


class AlreadyCollecting(ServiceError):
    """Another daemon is collecting into this database."""

    retryable = True
