"""Messages put together from parts that are serialized already."""

from __future__ import annotations

_LENGTH_DELIMITED = 2
_LOW_BITS = 0x7F
_MORE = 0x80


def embedded(field: int, message: bytes) -> bytes:
    """A message that holds one other message, in the field with a number."""
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(message)) + message


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > _LOW_BITS:
        parts.append(number & _LOW_BITS | _MORE)
        number >>= 7
    parts.append(number)
    return bytes(parts)
