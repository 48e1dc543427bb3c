"""Runs programs under an account that is not root, as which tests may run."""

from __future__ import annotations

import os
from pathlib import Path

from tests.not_run import path_of

ACCOUNT = 65534
"""User and group id."""

_CAPABILITIES = "-all,+dac_read_search"
"""Only to enter directories: the checkout or the interpreter may be in the home directory of root.

It does not open what the kernel reserves for those that may trace a process."""


def as_ordinary_account(directory: Path) -> list[str]:
    """Return the words to put before a command, and give the account a directory; none if the
    tests run under an ordinary account themselves.
    """
    if os.geteuid() != 0:
        return []
    os.chown(directory, ACCOUNT, ACCOUNT)
    return [
        path_of("setpriv"),
        f"--reuid={ACCOUNT}",
        f"--regid={ACCOUNT}",
        "--clear-groups",
        *(f"--{kind}={_CAPABILITIES}" for kind in ("bounding-set", "inh-caps", "ambient-caps")),
    ]
