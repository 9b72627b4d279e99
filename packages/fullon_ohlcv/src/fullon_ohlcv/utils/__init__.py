"""Small conveniences for programs that use this package."""

import asyncio


def install_uvloop() -> bool:
    """Make uvloop the event loop of what starts from now on; False where it is not installed (Windows)."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform, and not at import
    except ImportError:
        return False
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return True


__all__ = ["install_uvloop"]
