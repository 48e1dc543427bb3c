"""Patterns of arguments: RE2 regular expressions, matched in time linear in the text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import re2

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LENGTH = 4_096
"""Maximum length of a pattern in characters."""

MAX_STEPS = 2**28
"""Maximum steps for one argument: the bytes of its texts times the pattern's instructions.

RE2 takes up to about 10 ns per step, and a hundredth of that for most patterns.
"""

STEPS_PER_TEXT = 256
"""Steps that one call of RE2 costs per text."""

_MEMORY = 1024 * 1024
"""Maximum bytes of one compiled pattern, which also bounds the number of its instructions."""

_TOKEN = re.compile(
    r"""
    \\Q .*? (?: \\E | \Z )                                      # literal text
  | \\[pPx] \{ [^}]* \}                                         # \p{Greek}, \x{41}
  | \\.
  | \[ \^? \]? (?: \[:\^?\w+:\] | \\. | [^\]\\] )* \]?          # a character class
  | (?P<repetition> \{ [0-9]* (?: ,[0-9]* )? \} )
  | .
    """,
    re.VERBOSE | re.DOTALL,
)
_REPETITION = re.compile(
    r"\{ (?: 0 | [1-9][0-9]{0,3} ) (?: , (?: [1-9][0-9]{0,3} | 0 )? )? \}", re.VERBOSE
)

_ADVICE = {
    "(?=": "look-ahead is not supported; describe the whole text without it",
    "(?!": "look-ahead is not supported; list what is allowed, or use enum",
    "(?<=": "look-behind is not supported; describe the whole text without it",
    "(?<!": "look-behind is not supported; list what is allowed, or use enum",
    "(?P": "back-references are not supported; write that part again",
    "(?>": "atomic groups are not supported; write (?: for (?>",
    "(?(": "conditions are not supported; write the alternatives with |",
    "(?#": "comments are not supported; put them into desc",
    "(?x": "the flag x is not supported; write the pattern without spaces",
    "(?a": r"the flag a is not needed: \d, \s, \w and \b are always ASCII",
    "(?u": r"the flag u is not supported; \d, \s, \w and \b are always ASCII, "
    r"and \p{L} is any letter",
    "(?L": "the flag L is not supported",
    r"\Z": r"leave it out, because a pattern always matches the whole text, or write \z",
    r"\u": r"write \x{…} with the hexadecimal digits, or the character itself",
    r"\U": r"write \x{…} with the hexadecimal digits, or the character itself",
    r"\N": r"write \x{…} with the hexadecimal digits, or the character itself",
    r"\b": r"in brackets, write \x08",
}
"""Replacements for Python's notation, by the prefix of the part that RE2 rejects."""


class InvalidPattern(ValueError):
    """The pattern is invalid; the message has the reason and a replacement."""


class Pattern:
    """A compiled pattern.

    Args:
        text: the pattern, at most MAX_LENGTH characters.

    Raises:
        InvalidPattern: RE2 rejects it, or interprets it differently from Python.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise InvalidPattern(
                f"the pattern has {len(text)} characters; at most {MAX_LENGTH} are allowed"
            )
        try:
            self._compiled = re2.compile(text, _options())
        except UnicodeEncodeError:
            raise InvalidPattern("the pattern is not valid Unicode") from None
        except re2.error as error:
            raise InvalidPattern(_refusal(error)) from None
        _check_repetitions(text)

    def check(self, texts: list[str]) -> bool:
        """Return whether the pattern matches each text as a whole.

        Raises:
            ValueError: the texts are too long for the pattern.
        """
        encoded = [text.encode(errors="surrogatepass") for text in texts]
        most = MAX_STEPS // self._compiled.programsize
        if sum(map(len, encoded)) > most:
            raise ValueError(f"is too long for its pattern: at most {most} bytes are matched")
        return all(self._compiled.fullmatch(text) for text in encoded)

    def steps(self, texts: Iterable[str]) -> int:
        """Return an upper bound of the steps for these texts."""
        each = STEPS_PER_TEXT
        size = self._compiled.programsize
        return sum(each + size * len(text) * (1 if text.isascii() else 4) for text in texts)


@lru_cache(maxsize=256)
def compiled(text: str) -> Pattern:
    """Return the compiled pattern from a cache.

    Raises:
        InvalidPattern: see Pattern.
    """
    return Pattern(text)


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.never_capture = True  # With groups RE2 may need a slower engine.
    options.log_errors = False
    return options


def _refusal(error: Exception) -> str:
    problem = error.args[0].decode(errors="replace")
    if problem.startswith("pattern too large"):
        return "the pattern is too large; repeat less, or use max for the length"
    kind, _, part = problem.partition(": ")
    return f"the pattern is invalid: {problem}{_advice(kind, part)}"


def _advice(kind: str, part: str) -> str:
    for beginning, advice in _ADVICE.items():
        if part.startswith(beginning):
            return f"; {advice}"
    if re.fullmatch(r"\\[1-9]", part):
        return "; back-references are not supported; write that part again"
    if kind == "bad repetition operator" and part.endswith("+"):
        return f"; possessive repetition is not supported; write {part[:-1]}"
    if kind == "invalid repetition size":
        return "; write the smaller number first and at most 1000, and bound lengths by max"
    return ""


def _check_repetitions(text: str) -> None:
    # RE2 treats an invalid repetition as literal text.
    for token in _TOKEN.finditer(text):
        repetition = token["repetition"]
        if repetition in {None, "{}"} or _REPETITION.fullmatch(repetition):
            continue
        raise InvalidPattern(
            f"the pattern has {repetition}, which is literal text here, not a repetition; "
            f"write {_rewritten(repetition)}, or \\{repetition[:-1]}\\}} for that text"
        )


def _rewritten(repetition: str) -> str:
    """Return the repetition in RE2's notation."""
    bounds = [bound.lstrip("0") or "0" for bound in repetition[1:-1].split(",")]
    if any(len(bound) > 4 for bound in bounds):
        return "one of at most 1000 times"
    if repetition.endswith(",}"):
        bounds[1] = ""
    return f"{{{','.join(bounds)}}}"
