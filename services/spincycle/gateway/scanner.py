"""Locates errors in JSON texts, with the messages of Go's encoding/json.

Valid texts are parsed by orjson and are not scanned here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_SPACE = re.compile(rb"[ \t\r\n]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = b"0123456789abcdefABCDEF"
_DIGITS = b"0123456789"
_QUOTE, _COMMA, _COLON, _BACKSLASH, _BRACE, _BRACKET = b'",:\\{['
_CLOSING = {_BRACE: 0x7D, _BRACKET: 0x5D}

MAX_NESTING = 500
"""Deepest nesting of arrays and objects that is accepted."""


class SyntaxProblem(Exception):
    """The text is not JSON; the message is that of Go and the original's framework."""


@dataclass(frozen=True, slots=True)
class _Scanner:
    """Scans one JSON text without building values."""

    text: bytes

    def value_end(self, at: int = 0) -> int:
        """Return the offset after the first value from `at` on."""
        at = self._space(at)
        if at == len(self.text):
            raise SyntaxProblem("EOF")
        open_: list[int] = []
        while True:
            at = self._space(at)
            mark = self._byte(at)
            if mark in _CLOSING:
                open_.append(mark)
                if len(open_) > MAX_NESTING:
                    raise SyntaxProblem(f"Syntax error: offset={at + 1}, error=exceeded max depth")
                at, empty = self._first(mark, at + 1)
                if not empty:
                    continue
            else:
                at = self._literal(mark, at)
            at, more = self._after(open_, at)
            if not more:
                return at

    def locate(self, path: tuple[str | int, ...]) -> tuple[int, str]:
        """Return the offset of the value at `path`, and its literal text."""
        at = self._space(0)
        for step in path:
            at = self._enter(at, step)
        if self.text[at] in _CLOSING:
            return at + 1, ""
        end = self._literal(self.text[at], at)
        return end, self.text[at:end].decode("utf-8", "replace")

    def _enter(self, at: int, step: str | int) -> int:
        found = at
        index = 0
        at = self._space(at + 1)
        while self.text[at] not in _CLOSING.values():
            key: str | int = index
            if isinstance(step, str):
                end = self._string(at)
                key = json.loads(self.text[at:end].decode("utf-8", "replace"))
                at = self._space(self._space(end) + 1)
            if key == step:
                found = at
            at = self._space(self.value_end(at))
            if self.text[at] == _COMMA:
                at = self._space(at + 1)
            index += 1
        return found

    def _first(self, mark: int, at: int) -> tuple[int, bool]:
        at = self._space(at)
        if self._byte(at) == _CLOSING[mark]:
            return at, True
        return (self._key(at) if mark == _BRACE else at), False

    def _after(self, open_: list[int], at: int) -> tuple[int, bool]:
        """Close the containers that end here; return the start of the next value, if any."""
        while open_:
            at = self._space(at)
            mark, byte = open_[-1], self._byte(at)
            if byte == _CLOSING[mark]:
                open_.pop()
                at += 1
                continue
            if byte == _COMMA:
                return (self._key(self._space(at + 1)) if mark == _BRACE else at + 1), True
            self._reject(
                at, "after object key:value pair" if mark == _BRACE else "after array element"
            )
        return at, False

    def _key(self, at: int) -> int:
        if self._byte(at) != _QUOTE:
            self._reject(at, "looking for beginning of object key string")
        at = self._space(self._string(at))
        if self._byte(at) != _COLON:
            self._reject(at, "after object key")
        return at + 1

    def _literal(self, byte: int, at: int) -> int:
        if byte == _QUOTE:
            return self._string(at)
        if byte in b"-0123456789":
            return self._number(at)
        for word in (b"true", b"false", b"null"):
            if byte == word[0]:
                return self._word(word, at)
        return self._reject(at, "looking for beginning of value")

    def _word(self, word: bytes, at: int) -> int:
        for index, letter in enumerate(word):
            if self._byte(at + index) != letter:
                self._reject(at + index, f"in literal {word.decode()} (expecting {chr(letter)!r})")
        return at + len(word)

    def _string(self, at: int) -> int:
        at += 1
        while True:
            found = _PLAIN.match(self.text, at)
            assert found
            at = found.end()
            byte = self._byte(at)
            if byte == _QUOTE:
                return at + 1
            if byte != _BACKSLASH:
                self._reject(at, "in string literal")
            escape = self._byte(at + 1)
            if escape == ord("u"):
                for index in range(at + 2, at + 6):
                    if self._byte(index) not in _HEX:
                        self._reject(index, "in \\u hexadecimal character escape")
                at += 6
            elif escape in b'bfnrt\\/"':
                at += 2
            else:
                self._reject(at + 1, "in string escape code")

    def _number(self, at: int) -> int:
        if self.text[at] == ord("-"):
            at += 1
            if self._byte(at) not in _DIGITS:
                self._reject(at, "in numeric literal")
        at = at + 1 if self.text[at] == ord("0") else self._digits(at)
        if self.text[at : at + 1] == b".":
            at += 1
            if self._byte(at) not in _DIGITS:
                self._reject(at, "after decimal point in numeric literal")
            at = self._digits(at)
        if self.text[at : at + 1] in (b"e", b"E"):
            at += 1
            if self._byte(at) in b"+-":
                at += 1
            if self._byte(at) not in _DIGITS:
                self._reject(at, "in exponent of numeric literal")
            at = self._digits(at)
        return at

    def _digits(self, at: int) -> int:
        while at < len(self.text) and self.text[at] in _DIGITS:
            at += 1
        return at

    def _space(self, at: int) -> int:
        found = _SPACE.match(self.text, at)
        assert found
        return found.end()

    def _byte(self, at: int) -> int:
        if at >= len(self.text):
            raise SyntaxProblem("unexpected EOF")
        return self.text[at]

    def _reject(self, at: int, context: str) -> int:
        character = chr(self._byte(at))
        if character == "'":
            quoted = r"'\''"
        elif character == '"':
            quoted = "'\"'"
        else:
            quoted = f"'{json.dumps(character, ensure_ascii=ord(character) < 0x80)[1:-1]}'"
        raise SyntaxProblem(
            f"Syntax error: offset={at + 1}, error=invalid character {quoted} {context}"
        )


def first_value(text: bytes) -> bytes:
    """Return the part of `text` with its first JSON value, without what follows it.

    Raises:
        SyntaxProblem: there is no value.
    """
    return text[: _Scanner(text).value_end()]


def locate(text: bytes, path: tuple[str | int, ...]) -> tuple[int, str]:
    """Return the offset that Go reports for the value at `path`, and its literal text.

    That is the end of a literal, or the offset after the bracket of an array or object. `text`
    must be valid JSON and contain the path; the last of equal keys counts.
    """
    return _Scanner(text).locate(path)
