"""Errors of the service.

ServiceError
├─ ConfigurationError   a variable, a file or a database row that a person must mend; also a ValueError
└─ AlreadyCollecting    another daemon holds this database
"""


class ServiceError(Exception):
    """Base of the service's errors."""

    retryable = False


class ConfigurationError(ServiceError, ValueError):
    """Something a person wrote cannot be used; the sentence says what, where, and what is allowed."""


class AlreadyCollecting(ServiceError):
    """Another daemon is collecting into this database."""

    retryable = True
