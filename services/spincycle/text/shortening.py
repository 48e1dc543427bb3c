"""Shortens texts to a number of bytes by removing their middle."""

from __future__ import annotations

_MARK = " … "
_MARK_BYTES = len(_MARK.encode())


def shortened(text: str, limit: int) -> str:
    """Return the text, or its two ends with a mark between, in at most `limit` bytes of UTF-8.

    Lone surrogates are replaced by question marks, so that the result can always be encoded.
    """
    if len(text) * 4 <= limit:
        return text if text.isascii() else text.encode(errors="replace").decode()
    # Avoid encoding megabytes of text of which only the ends are kept.
    head, tail = text[:limit], text[-limit:]
    if len(text) <= limit:
        encoded = text.encode(errors="replace")
        if len(encoded) <= limit:
            return encoded.decode()
    half = max(limit - _MARK_BYTES, 0) // 2
    first = head.encode(errors="replace")[:half].decode(errors="ignore")
    last = tail.encode(errors="replace")
    return first + _MARK + last[len(last) - half :].decode(errors="ignore")
