"""The forms in which a secret value may appear in a text: as it is, encoded or quoted."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from spincycle.model.job_chain import ChainJob, Value

SHORTEST = 4
"""Characters from which a secret value is recognised; shorter ones occur in any text."""

SHORTEST_LINE = 8
"""Characters from which one line of a secret value is recognised by itself."""

_UNSAFE_IN_SHELL = re.compile(r"([^\w@%+=:,./-])")
_UNSAFE_IN_DOUBLE_QUOTES = re.compile(r'([$`"\\])')

_FIRST_OWN_DIGIT = (0, 2, 3)
"""Index of the first base64 digit that no byte before the value affects, for 0, 1 and 2 of them."""


class SecretTexts:
    """Collects secret values as texts, each once: those in lists and objects too.

    A number counts as its text; keys of objects are names, not secrets. Takes time linear in the
    values, and does not read a list or object again that was added before.

    Attributes:
        texts: what was collected.
    """

    __slots__ = ("_seen", "texts")

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self._seen: dict[int, Value] = {}

    def add(self, value: Value) -> None:
        """Add a secret value; it must not be changed afterwards."""
        if isinstance(value, str):
            self.texts.add(value)
        elif id(value) not in self._seen:
            self._seen[id(value)] = value  # Keeps the value, so that its id is not used again.
            self.texts.update(texts_of(value))


def secret_texts(jobs: Iterable[ChainJob]) -> set[str]:
    """Return the secret values of jobs as texts."""
    secrets = SecretTexts()
    for job in jobs:
        args = job.args or {}
        for name in job.secret_args:
            value = args.get(name)
            if type(value) is str:
                secrets.texts.add(value)
            else:
                secrets.add(value)
    return secrets.texts


def texts_of(value: Value) -> Iterator[str]:
    """Yield the strings within a value, and its numbers as texts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for element in value:
            yield from texts_of(element)
    elif isinstance(value, dict):
        for element in value.values():
            yield from texts_of(element)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
        if isinstance(value, float) and value.is_integer():
            yield str(int(value))


def forms_of(text: str) -> set[bytes]:
    """Return the forms of a secret value; empty if it is too short to be recognised.

    These are the value without blanks around it, and each of its longer lines: as UTF-8, base64 at
    each alignment, URL-encoded, and as quoted by JSON, Python and a shell.
    """
    whole = text.strip()
    parts = {whole} if len(whole) >= SHORTEST else set()
    parts.update(line for line in map(str.strip, whole.splitlines()) if len(line) >= SHORTEST_LINE)
    return {form for part in parts for form in _encoded(part)}


def _encoded(text: str) -> Iterator[bytes]:
    raw = text.encode()
    yield raw
    yield from _base64(raw)
    quoted = {
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        repr(raw)[2:-1],
        text.replace("'", "'\"'\"'"),
        text.replace("'", "'\\''"),
        _UNSAFE_IN_SHELL.sub(r"\\\1", text),
        _UNSAFE_IN_DOUBLE_QUOTES.sub(r"\\\1", text),
    }
    for url in (quote(text), quote(text, safe=""), quote(text, safe="!'()*"), quote_plus(text)):
        quoted |= {url, re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), url)}
    for form in quoted:
        yield form.encode()


def _base64(raw: bytes) -> Iterator[bytes]:
    """Yield the digits that the value alone determines, and the same up to the end of the text."""
    for before, first in enumerate(_FIRST_OWN_DIGIT):
        digits = b64encode(bytes(before) + raw)
        own = digits[first : (before + len(raw)) * 8 // 6]
        for form in (own, digits[first:].rstrip(b"="), digits[first:]):
            yield form
            yield form.translate(_TO_URL_ALPHABET)


_TO_URL_ALPHABET = bytes.maketrans(b"+/", b"-_")
