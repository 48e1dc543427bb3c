"""Parses and validates the job arguments when the request is created."""

from __future__ import annotations

import json
import math
import re
import shlex
from typing import TYPE_CHECKING, TypeAlias

from spincycle.job.errors import ArgNotSet, JobError, WrongArgType
from spincycle.kubernetes_jobs.container import (
    DEFAULT_GRACE,
    DEFAULT_START_TIMEOUT,
    DEFAULT_TTL,
    Container,
)
from spincycle.model.duration import parse_duration
from spincycle.text.nearest import nearest

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value

    Variable: TypeAlias = str | dict[str, dict[str, str]]

KNOWN = (
    "image",
    "command",
    "args",
    "env",
    "namespace",
    "serviceAccount",
    "cpu",
    "memory",
    "timeout",
    "startTimeout",
    "grace",
    "nodeSelector",
    "labels",
    "ttl",
    "restricted",
)

OWN_PREFIX = "spincycle/"
"""Prefix of the labels and annotations that this job type sets."""

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_KEY_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CPU = re.compile(r"\d+m|\d+(\.\d{1,3})?")
_MEMORY = re.compile(r"\d+(\.\d+)?([kMGTPE]|[KMGTPE]i)?")
_LONGEST = 365 * 24 * 3600


def read_container(args: dict[str, Value]) -> Container:
    """Return the container that the job arguments describe.

    Arguments that are not in KNOWN become environment variables of the container.

    Raises:
        ArgNotSet: there is no image.
        WrongArgType: a value has the wrong type.
        JobError: a value is invalid; the message names the argument.
    """
    image = _text(args, "image")
    if not image:
        raise ArgNotSet("image")
    if re.search(r"\s", image):
        raise JobError(f'image: "{image}" is not a valid image name: it contains white space')
    return Container(
        image=image,
        command=_words(args, "command"),
        args=_words(args, "args"),
        env=_environment(args),
        namespace=_matching(args, "namespace", _DNS_LABEL, "a name such as batch-jobs"),
        service_account=_matching(args, "serviceAccount", _DNS_NAME, "a name such as builder"),
        cpu=_matching(args, "cpu", _CPU, "an amount such as 500m or 2"),
        memory=_matching(args, "memory", _MEMORY, "an amount such as 512Mi or 2Gi"),
        timeout=_seconds(args, "timeout", 0, least=1),
        start_timeout=_seconds(args, "startTimeout", DEFAULT_START_TIMEOUT, least=1),
        grace=_seconds(args, "grace", DEFAULT_GRACE, least=0),
        node_selector=_labels(args, "nodeSelector"),
        labels=_labels(args, "labels"),
        ttl=_seconds(args, "ttl", DEFAULT_TTL, least=60),
        restricted=_flag(args, "restricted"),
    )


def _text(args: dict[str, Value], name: str) -> str:
    value = args.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise WrongArgType(name, type(value).__name__, "str")
    return str(value).strip()


def _matching(args: dict[str, Value], name: str, pattern: re.Pattern[str], expected: str) -> str:
    text = _text(args, name)
    if text and not pattern.fullmatch(text):
        raise JobError(f'{name}: "{text}" is not valid: it must be {expected}')
    return text


def _words(args: dict[str, Value], name: str) -> tuple[str, ...]:
    value = args.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(_split(name, value))
    if not isinstance(value, list):
        raise WrongArgType(name, type(value).__name__, "str or list")
    for word in value:
        if word is None or isinstance(word, list | dict):
            raise WrongArgType(name, f"list with {type(word).__name__}", "list of str")
    return tuple(_plain(word) for word in value)


def _split(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise JobError(f"{name}: {str(error).lower()} in: {text}") from error


def _seconds(args: dict[str, Value], name: str, default: int, *, least: int) -> int:
    value = args.get(name)
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise WrongArgType(name, type(value).__name__, "str")
    text = str(value).strip()
    try:
        seconds = parse_duration(f"{text}s" if text[-1:].isdigit() else text)
    except ValueError as error:
        raise JobError(f"{name}: {error}") from error
    if not least <= seconds <= _LONGEST:
        raise JobError(f"{name}: {text} is out of range: it must be {least}s to 8760h")
    return math.ceil(seconds)


def _flag(args: dict[str, Value], name: str) -> bool:
    value = args.get(name)
    if isinstance(value, bool):
        return value
    words = {"": False, "false": False, "no": False, "true": True, "yes": True}
    text = _text(args, name).lower()
    if text not in words:
        raise JobError(f'{name}: "{text}" is not valid: it must be true or false')
    return words[text]


def _pairs(args: dict[str, Value], name: str) -> dict[str, Value]:
    """Return a map, or a list or a string of name=value, as a map."""
    value = args.get(name)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        words: list[Value] = list(_split(name, value))
    elif isinstance(value, list):
        words = value
    else:
        raise WrongArgType(name, type(value).__name__, "map, list or str")
    pairs: dict[str, Value] = {}
    for word in words:
        key, equals, text = word.partition("=") if isinstance(word, str) else ("", "", "")
        if not equals:
            raise JobError(f"{name}: {json.dumps(word)} is not valid: write name=value")
        pairs[key] = text
    return pairs


def _labels(args: dict[str, Value], name: str) -> dict[str, str]:
    result = {}
    for key, value in _pairs(args, name).items():
        prefix, slash, rest = key.rpartition("/")
        if not _KEY_NAME.fullmatch(rest) or (slash and not _DNS_NAME.fullmatch(prefix)):
            raise JobError(f'{name}: "{key}" is not a valid label name')
        if key.startswith(OWN_PREFIX):
            raise JobError(f'{name}: "{key}" is reserved by Spin Cycle: use another name')
        if value is None or isinstance(value, list | dict):
            raise WrongArgType(f"{name}.{key}", type(value).__name__, "str")
        text = _plain(value)
        if text and not _KEY_NAME.fullmatch(text):
            raise JobError(
                f'{name}: "{text}" is not a valid label value:'
                " use at most 63 letters, digits, - _ ."
            )
        result[key] = text
    return result


def _environment(args: dict[str, Value]) -> dict[str, Variable]:
    result: dict[str, Variable] = {}
    for name, value in args.items():
        if name in KNOWN or value is None:
            continue
        suggestion = nearest(name, KNOWN)
        if suggestion:
            raise JobError(
                f'{name} is not an argument of kubernetes/job (did you mean "{suggestion}"?);'
                " to set an environment variable of that name, use env"
            )
        result[_variable(name)] = _plain(value)
    for name, value in _pairs(args, "env").items():
        if isinstance(value, dict):
            result[_variable(name)] = _reference(name, value)
        elif value is not None:
            result[_variable(name)] = _plain(value)
    return result


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise JobError(f'"{name}" is not a valid name of an environment variable')
    return name


def _reference(name: str, value: dict[str, Value]) -> dict[str, dict[str, str]]:
    for kind in ("secretKeyRef", "configMapKeyRef"):
        reference = value.get(kind)
        if len(value) == 1 and isinstance(reference, dict) and set(reference) == {"name", "key"}:
            return {kind: {part: str(text) for part, text in reference.items()}}
    raise JobError(
        f"env.{name}: write a string, or secretKeyRef or configMapKeyRef with name and key"
    )


def _plain(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)
