"""Request arguments on the command line: name=value, name=@file, name=-, name:=JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from spincycle.cli.given_text import READS, GivenTexts, ReadText, escaped
from spincycle.cli.problem import Problem
from spincycle.cli.render.text import quote
from spincycle.cli.values import SECRET, plain, shown
from spincycle.model.exact_numbers import BEYOND, find_beyond, joined
from spincycle.model.job_chain import Value

if TYPE_CHECKING:
    from google.protobuf import struct_pb2

    from spincycle.v1 import request_pb2, spec_pb2


_MOST_DIGITS = 20
"""Most digits parsed as an int; a longer number is out of range, and is parsed as a float."""


def parse_args(words: Iterable[str], texts: GivenTexts | None = None) -> dict[str, Value]:
    """Parse words of the form name=value and name:=JSON, split at the first `=`.

    `texts` reads the values given as name=@file and name=-; by default from the standard input of
    the process.

    Raises:
        Problem: a word has no `=` or no name, a name is repeated, a JSON value is invalid or has a
            number that cannot be stored exactly, or a file or the standard input cannot be read.
    """
    texts = texts or GivenTexts()
    args: dict[str, Value] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.rstrip(":"):
            raise Problem(f'invalid request arg "{word}"', "write request args as name=value")
        is_json = name.endswith(":")
        name = name.removesuffix(":")
        if name in args:
            raise Problem(f"request arg {name} is given twice")
        args[name] = _parse_json(name, text) if is_json else texts.value(name, text)
    return args


def _parse_json(name: str, text: str) -> Value:
    try:
        value: Value = json.loads(text, parse_int=_parse_int, parse_constant=_refuse_constant)
        # JSON allows half of a surrogate pair as \u escape, Unicode text does not.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Problem(f"the value of {name} holds text that is not valid Unicode")
    except (ValueError, RecursionError) as error:
        raise Problem(f"the value of {name} is not JSON: {error}")
    path = find_beyond(value)
    if path is None:
        return value
    where = joined(name, path)
    # The number itself may be a secret.
    example = f"{name}=<digits>" if not path else '"12345678901234567890" in quotes'
    raise Problem(f"request arg {where}: {BEYOND}", f"as text: {example}")


def _parse_int(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def check_names(spec: spec_pb2.RequestSpec, args: Mapping[str, Value]) -> None:
    """Check that the request has all given arguments.

    Raises:
        Problem: it lacks one of them.
    """
    known = [arg.name for arg in spec.args]
    unknown = [name for name in args if name not in known]
    if not unknown:
        return
    hint = f"run 'spinc help {spec.name}' to list its arguments"
    if len(unknown) > 1:
        raise Problem(f"unknown request args: {', '.join(unknown)}", hint)
    close = get_close_matches(unknown[0], known, 1)
    meant = f' (did you mean "{close[0]}"?)' if close else ""
    raise Problem(f'request {spec.name} has no argument "{unknown[0]}"{meant}', hint)


def missing(spec: spec_pb2.RequestSpec, args: Mapping[str, Value]) -> list[request_pb2.RequestArg]:
    """Return the required arguments that were not given, in spec order."""
    return [arg for arg in spec.args if arg.kind == "required" and arg.name not in args]


def ensure_complete(spec: spec_pb2.RequestSpec, args: Mapping[str, Value]) -> None:
    """Check that all required arguments are given.

    Raises:
        Problem: one of them is missing.
    """
    if lacking := missing(spec, args):
        names = " ".join(f"{arg.name}=<value>" for arg in lacking)
        raise Problem(
            f"request {spec.name} lacks {', '.join(arg.name for arg in lacking)}",
            f"add {names}; run 'spinc help {spec.name}' for their meaning",
        )


def without_defaults(spec: spec_pb2.RequestSpec, args: Mapping[str, Value]) -> dict[str, Value]:
    """Return the arguments in spec order, without those equal to their default."""
    return {
        arg.name: args[arg.name]
        for arg in spec.args
        if arg.name in args
        and (arg.kind == "required" or shown(args[arg.name]) != shown(plain(arg.default_value)))
    }


def full_command(
    spec: spec_pb2.RequestSpec, args: Mapping[str, Value], given: Sequence[tuple[str, str]]
) -> str:
    """Return the command that starts the same request without prompts.

    A value that was read from a file or standard input is repeated as it was given.
    """
    secret = {arg.name for arg in spec.args if arg.secret}
    words = [f"--{name} {_quoted_if_blank(value)}" for name, value in given]
    words += ["start", spec.name]
    words += [_word(name, value, secret=name in secret) for name, value in args.items()]
    return " ".join(["spinc", *words])


def _word(name: str, value: Value, *, secret: bool) -> str:
    if isinstance(value, ReadText):
        return f"{name}={quote(value.source)}"
    if secret:
        return f"{name}={SECRET}"
    if value == READS:
        return f"{name}:={quote(json.dumps(value))}"
    if isinstance(value, str):
        return f"{name}={quote(escaped(value))}"
    return f"{name}:={quote(shown(value))}"


def values_to_remember(spec: spec_pb2.RequestSpec, args: Mapping[str, Value]) -> dict[str, str]:
    """Return the texts to offer in later prompts: typed ones of arguments that are not secret."""
    not_secret = {arg.name for arg in spec.args if not arg.secret}
    return {
        name: value
        for name, value in args.items()
        if name in not_secret
        and isinstance(value, str)
        and value
        and not isinstance(value, ReadText)
    }


def _quoted_if_blank(value: str) -> str:
    return f'"{value}"' if any(character.isspace() for character in value) else value


def fill(struct: struct_pb2.Struct, args: Mapping[str, Value]) -> None:
    """Copy the arguments into a message."""
    struct.update(dict(args))
