"""Files laid out as a kubelet lays out those of a ConfigMap."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

_numbers = itertools.count(1)


def mount(directory: Path, files: Mapping[str, str]) -> None:
    """Put files in place, all at once: they are links through one link that is replaced.

    Called again with other files, it is as if the ConfigMap had been changed.
    """
    content = directory / f"..2026_11_25_{next(_numbers)}"
    content.mkdir(parents=True)
    for name, text in files.items():
        (content / name).write_text(text)
    fresh = directory / "..data_tmp"
    fresh.symlink_to(content.name)
    fresh.rename(directory / "..data")
    for name in files:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    for link in directory.iterdir():
        if not link.name.startswith("..") and link.name not in files:
            link.unlink()
