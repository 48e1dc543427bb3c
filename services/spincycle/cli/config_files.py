"""Config files of spinc: the original's top-level keys, and named contexts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spincycle.cli.problem import Problem

PLAIN_KEYS = frozenset({"addr", "job-log", "rest", "timeout", "env", "debug", "token-file"})
CONTEXT_KEYS = PLAIN_KEYS | {"tls", "login"}
TLS_KEYS = frozenset({"ca", "cert", "key", "server-name"})
LOGIN_KEYS = frozenset({"issuer", "client-id", "scopes", "id-token"})


@dataclass(slots=True)
class Contexts:
    """The contents of one config file, or of several merged.

    Attributes:
        plain: top-level keys, which apply to every context.
        contexts: keys by context.
        current: name of the current context; None if there is none.
    """

    plain: dict[str, Any] = field(default_factory=dict)
    contexts: dict[str, dict[str, Any]] = field(default_factory=dict)
    current: str | None = None


def load_files(paths: Iterable[Path]) -> Contexts:
    """Load and merge all files; later ones override earlier ones, unreadable ones are skipped.

    Raises:
        Problem: a file is not valid YAML, or has an unknown key.
    """
    merged = Contexts()
    for path in paths:
        loaded = load_file(path)
        merged.plain |= loaded.plain
        merged.contexts |= loaded.contexts
        merged.current = loaded.current or merged.current
    return merged


def load_file(path: Path) -> Contexts:
    """Load one file; empty if it cannot be read.

    Raises:
        Problem: the file is not valid YAML, or has an unknown key.
    """
    try:
        text = path.read_text()
    except OSError:
        return Contexts()
    except UnicodeDecodeError:
        raise Problem(f"{path} is not UTF-8 text")
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Problem(f"{path} is not valid YAML: {' '.join(str(error).split())}")
    document = {} if document is None else document
    if not isinstance(document, dict):
        raise Problem(f"{path} is not a mapping of keys", "for example: addr: 127.0.0.1:32310")
    contexts = document.pop("contexts", None) or {}
    current = document.pop("context", None)
    _check(path, "", document, CONTEXT_KEYS)
    if not isinstance(contexts, dict):
        raise Problem(f"{path}: contexts is not a mapping of names to keys")
    for name, keys in contexts.items():
        _check(path, f"contexts.{name}.", keys, CONTEXT_KEYS)
    return Contexts(document, {str(name): dict(keys) for name, keys in contexts.items()}, current)


def _check(path: Path, prefix: str, keys: Any, known: frozenset[str]) -> None:
    if not isinstance(keys, dict):
        raise Problem(f"{path}: {prefix.rstrip('.')} is not a mapping of keys")
    for key, value in keys.items():
        if key not in known:
            raise Problem(
                f"{path}: unknown key {prefix}{key}", f"known keys: {', '.join(sorted(known))}"
            )
        if key == "tls":
            _check(path, f"{prefix}tls.", value, TLS_KEYS)
        if key == "login":
            _check(path, f"{prefix}login.", value, LOGIN_KEYS)


def save_file(path: Path, contexts: Contexts) -> None:
    """Replace the file atomically, readable by its owner only.

    Raises:
        Problem: the file cannot be written.
    """
    import tempfile

    import yaml

    document: dict[str, Any] = dict(contexts.plain)
    if contexts.current:
        document["context"] = contexts.current
    if contexts.contexts:
        document["contexts"] = contexts.contexts
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(number, "w") as file:
            yaml.safe_dump(document, file, sort_keys=False, default_flow_style=False)
        Path(name).replace(path)
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror}")
