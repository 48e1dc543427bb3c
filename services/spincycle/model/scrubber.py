"""Replaces the secret values of a request in texts and in streams of bytes."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import re2

from spincycle.model.request_arg import REDACTED
from spincycle.model.secret_forms import SHORTEST, forms_of, secret_texts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from spincycle.model.job_chain import ChainJob, Value

MAX_FORMS = 20_000
"""Forms of secret values beyond which whole texts are replaced: about 1,000 values or lines."""

_MARK = REDACTED.encode()
_SECRET_ARGS = attrgetter("secret_args")
_KEY = 8
"""Bytes of a form by which the places where it may begin are found."""

_MAX_MEMORY = 64 * 1024 * 1024
"""Maximum bytes that RE2 uses for its states, which it builds as texts need them."""


class Scrubber:
    """Replaces the secret values of one request, in the forms of `secret_forms`, by the mark.

    Of values that overlap or touch, all are replaced by one mark. The time is linear in the text.
    A text without secrets is returned unchanged. Thread-safe; the forms are computed at the first
    text, for which `texts` may be iterated over more than once.
    """

    __slots__ = ("__weakref__", "_forms", "_texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self._forms: _Forms | None = None

    @classmethod
    def of_jobs(cls, jobs: Collection[ChainJob]) -> Scrubber | None:
        """Return the scrubber of the jobs of a chain; None if none of them has a secret."""
        return cls(_LazyTexts(jobs)) if any(map(_SECRET_ARGS, jobs)) else None

    @property
    def forms(self) -> _Forms:
        """The forms of the values."""
        if self._forms is None:
            self._forms = _Forms(self._texts)
        return self._forms

    def text(self, text: str) -> str:
        """Return a text with the mark in place of each secret value."""
        if len(text) < SHORTEST:
            return text
        raw = text.encode(errors="surrogatepass")
        found = list(self.forms.runs(raw))
        if not found:
            return text
        return _replaced(raw, found).decode(errors="surrogatepass")

    def value(self, value: Value) -> Value:
        """Return a value with its strings and keys scrubbed.

        A number is replaced by the mark if its text is a secret as a whole.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(element) for element in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(element) for key, element in value.items()}
        if value is None or isinstance(value, bool):
            return value
        return REDACTED if self.text(str(value)) == REDACTED else value

    def data(self, data: dict[str, Value]) -> dict[str, Value]:
        """Return job data with its strings and keys scrubbed; see `value`."""
        return {self.text(name): self.value(value) for name, value in data.items()}

    def head(self, text: str) -> bytes:
        """Return the beginning of a longer text, scrubbed, without a secret that is cut."""
        return self.stream().write(text.encode(errors="replace"))

    def tail(self, text: str) -> bytes:
        """Return the end of a longer text, scrubbed, without a secret that is cut."""
        stream = self.stream()
        scrubbed = stream.write(text.encode(errors="replace")) + stream.flush()
        # A part of a secret may be left at the beginning, with marks in it.
        return scrubbed[2 * self.forms.longest :]

    def stream(self) -> ScrubbedStream:
        """Return a scrubber of bytes that arrive in pieces."""
        return ScrubbedStream(self)


class ScrubbedStream:
    """Replaces secret values in bytes that arrive in pieces; not thread-safe.

    The results joined are the scrubbed pieces joined, wherever the pieces were cut. The end of the
    bytes is held back while it may be the beginning of a value: fewer bytes than the longest form.
    """

    __slots__ = ("_covered", "_held", "_scrubber")

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._held = b""
        self._covered = -1

    @property
    def holds(self) -> bool:
        """Whether bytes are held back."""
        return bool(self._held)

    def write(self, piece: bytes) -> bytes:
        """Add the next bytes and return those that can be released."""
        return self._release(self._held + piece, final=False)

    def flush(self) -> bytes:
        """Return the bytes that are held back; a value that continues is not recognised then."""
        released = self._release(self._held, final=True) if self._held else b""
        self._covered = -1
        return released

    def _release(self, data: bytes, *, final: bool) -> bytes:
        forms = self._scrubber.forms
        end = len(data) if final else forms.hold_from(data)
        released: list[bytes] = []
        # The mark of an earlier result covers the data up to here; -1 if the last byte had none.
        position, marked_to = 0, self._covered
        for start, stop in forms.runs(data):
            if start >= end:
                break
            if start > marked_to:
                released += (data[max(position, marked_to, 0) : start], _MARK)
            marked_to = max(stop, marked_to)
            position = marked_to
        position = max(position, marked_to, 0)
        released.append(data[position:end])
        self._held = data[end:]
        self._covered = marked_to - end if marked_to >= end else -1
        return b"".join(released)


class _LazyTexts:
    """The secret texts of jobs, collected when they are needed."""

    __slots__ = ("_jobs",)

    def __init__(self, jobs: Collection[ChainJob]) -> None:
        self._jobs = jobs

    def __iter__(self) -> Iterator[str]:
        return iter(secret_texts(self._jobs))


class _Forms:
    """The forms of secret values, and where they are in bytes.

    Attributes:
        longest: bytes of the longest form.
    """

    __slots__ = ("_forms", "_keys", "_lengths", "_sorted", "longest")

    def __init__(self, texts: Iterable[str]) -> None:
        forms: set[bytes] = set()
        for text in texts:
            forms |= forms_of(text)
            if len(forms) > MAX_FORMS:
                break
        self._forms = forms
        self._sorted: list[bytes] = []
        self.longest = 0
        self._lengths: dict[bytes, list[int]] = {}
        self._keys: Any = None
        if forms and not self._everything:
            self._prepare()

    @property
    def _everything(self) -> bool:
        return len(self._forms) > MAX_FORMS

    def _prepare(self) -> None:
        self._sorted = sorted(self._forms)
        self.longest = max(map(len, self._forms))
        lengths: dict[bytes, set[int]] = {}
        for form in self._forms:
            lengths.setdefault(form[:SHORTEST], set()).add(len(form))
        self._lengths = {key: sorted(found, reverse=True) for key, found in lengths.items()}
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = _MAX_MEMORY
        options.log_errors = False
        keys = sorted({form[:_KEY] for form in self._forms})
        self._keys = re2.compile(b"|".join(map(re2.escape, keys)), options)

    def runs(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of each run of bytes that belong to forms, in order."""
        if self._everything:
            if data:
                yield 0, len(data)
            return
        if self._keys is None:
            return
        position = 0
        while (candidate := self._keys.search(data, position)) is not None:
            position = start = end = candidate.start()
            while position <= end:
                end = max(end, position + self._longest_at(data, position))
                position += 1
            if end > start:
                yield start, end

    def hold_from(self, data: bytes) -> int:
        """Return where the bytes at the end begin that may be the beginning of a form."""
        size = len(data)
        position = max(0, size - self.longest + 1)
        earliest = size
        if self._keys is None:
            return size
        while (candidate := self._keys.search(data, position)) is not None:
            if self._is_beginning(data[candidate.start() :]):
                earliest = candidate.start()
                break
            position = candidate.start() + 1
        # Of forms that begin here the key is not complete.
        for last in range(max(0, size - self.longest + 1, size - _KEY + 1), earliest):
            if self._is_beginning(data[last:]):
                return last
        return earliest

    def _longest_at(self, data: bytes, position: int) -> int:
        for length in self._lengths.get(data[position : position + SHORTEST], ()):
            # A shorter form at the end of the data may have the same beginning.
            if (found := data[position : position + length]) in self._forms:
                return len(found)
        return 0

    def _is_beginning(self, data: bytes) -> bool:
        following = bisect_right(self._sorted, data)
        return following < len(self._sorted) and self._sorted[following].startswith(data)


def _replaced(data: bytes, runs: list[tuple[int, int]]) -> bytes:
    parts: list[bytes] = []
    position = 0
    for start, end in runs:
        parts += (data[position:start], _MARK)
        position = end
    parts.append(data[position:])
    return b"".join(parts)
