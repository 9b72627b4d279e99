"""Passwords, hashed by argon2id with the library's recommended cost (64 MiB, about 50 ms)."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()


def hashed(password: str) -> str:
    """Return the argon2 hash to store; another one each time."""
    return _HASHER.hash(_bytes(password))


def verify(stored: str, password: str) -> bool:
    """Tell whether `password` belongs to the hash; False for what is no hash, such as a plain password."""
    try:
        return _HASHER.verify(stored, _bytes(password))
    except (VerificationError, InvalidHashError):
        return False


def _bytes(password: str) -> bytes:
    """Encode any string a keyboard or a program can produce, half surrogate pairs included."""
    return password.encode("utf-8", "surrogatepass")
