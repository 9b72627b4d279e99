"""The form in which a venue's events travel through the Redis stream."""

import msgspec

from fullon_exchange.records import Event


class StreamEntry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a venue's stream: events in order, and where they stand in the stream."""

    run_id: str
    """The daemon that wrote it: promises of another daemon's connections are not ours to keep."""
    sequence: int
    """Counts the entries of one daemon and venue from 0; a skipped number means that Redis lost some."""
    events: list[Event]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StreamEntry)


def encode_entry(entry: StreamEntry) -> bytes:
    """Return the payload of an entry: MessagePack, arrays only."""
    return _encoder.encode(entry)


def decode_entry(payload: bytes) -> StreamEntry:
    """Return the entry of a payload.

    Raises:
        ValueError: the payload is not one of ours.
    """
    try:
        return _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not an entry of the trade stream ({error}): {payload[:60]!r}") from error
