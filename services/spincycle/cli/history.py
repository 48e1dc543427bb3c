"""The values previously given to arguments, stored in a file per user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_MOST_VALUES = 20
"""Values stored per argument."""


def state_file(environment: Mapping[str, str]) -> Path:
    """Return the path of the file, below XDG_STATE_HOME if it is set."""
    home = environment.get("XDG_STATE_HOME")
    base = Path(home) if home else Path("~/.local/state").expanduser()
    return base / "spinc" / "values.json"


class ValueHistory:
    """Stores earlier values, newest first. An unreadable file counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, dict[str, list[str]]] = _read(path)

    def of(self, request: str, arg: str) -> list[str]:
        """Return earlier values of the argument, first those of the same request."""
        own = self._values.get(request, {}).get(arg, [])
        others = [
            value
            for name, args in self._values.items()
            if name != request
            for value in args.get(arg, [])
        ]
        return list(dict.fromkeys([*own, *others]))

    def add(self, request: str, args: Mapping[str, str]) -> None:
        """Store the values of a request that was started; a write error is ignored."""
        known = self._values.setdefault(request, {})
        for name, value in args.items():
            known[name] = [value, *(old for old in known.get(name, []) if old != value)][
                :_MOST_VALUES
            ]
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(json.dumps(self._values))
            fresh.replace(self._path)


def _read(path: Path) -> dict[str, dict[str, list[str]]]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {
        str(request): {
            str(arg): [str(value) for value in values]
            for arg, values in args.items()
            if isinstance(values, list)
        }
        for request, args in document.items()
        if isinstance(args, dict)
    }
