"""Texts that quote what somebody sent, kept short enough to be sent back."""

from __future__ import annotations

_MARK = " … "


def shortened(text: str, most: int) -> str:
    """The text, or its two ends with a mark between if it takes more than `most` bytes."""
    if len(text) * 4 <= most:
        return text
    encoded = text.encode(errors="replace")
    if len(encoded) <= most:
        return text
    half = most // 2
    head = encoded[:half].decode(errors="ignore")
    return head + _MARK + encoded[-half:].decode(errors="ignore")
