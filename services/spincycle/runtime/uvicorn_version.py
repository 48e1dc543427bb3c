"""The versions of uvicorn whose internals the HTTP listeners extend."""

from __future__ import annotations

import re
from importlib.metadata import version

from spincycle.runtime.config import ConfigError

OLDEST = (0, 54)
"""Oldest supported version; pyproject.toml has the same bounds."""

TOO_NEW = (0, 55)
"""First version that is not supported."""


def check_uvicorn_version(installed: str | None = None) -> None:
    """Check the installed version of uvicorn, or the one given.

    Subclasses of uvicorn's server and protocol override methods and read attributes that are not
    part of its public interface, so another version can break connection limits silently.

    Raises:
        ConfigError: the version is not supported.
    """
    installed = installed or version("uvicorn")
    release = re.match(r"(\d+)\.(\d+)", installed)
    if release is None or not OLDEST <= (int(release[1]), int(release[2])) < TOO_NEW:
        oldest, too_new = (".".join(map(str, bound)) for bound in (OLDEST, TOO_NEW))
        raise ConfigError(
            f"uvicorn {installed} is installed, but the HTTP listeners need >={oldest},<{too_new}: "
            f"run pip install 'uvicorn>={oldest},<{too_new}'"
        )
