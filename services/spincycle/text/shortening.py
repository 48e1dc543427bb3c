"""Texts that are kept within a number of bytes by leaving out their middle."""

from __future__ import annotations

_MARK = " … "
_MARK_BYTES = len(_MARK.encode())


def shortened(text: str, most: int) -> str:
    """The text, or its two ends with a mark between, in at most `most` bytes of UTF-8.

    Lone surrogates become question marks, so that any message can hold the text.
    """
    if len(text) * 4 <= most:
        return text if text.isascii() else text.encode(errors="replace").decode()
    # Further characters could not stay: a text of megabytes is not encoded whole.
    head, tail = text[:most], text[-most:]
    if len(text) <= most:
        encoded = text.encode(errors="replace")
        if len(encoded) <= most:
            return encoded.decode()
    half = max(most - _MARK_BYTES, 0) // 2
    first = head.encode(errors="replace")[:half].decode(errors="ignore")
    last = tail.encode(errors="replace")
    return first + _MARK + last[len(last) - half :].decode(errors="ignore")
