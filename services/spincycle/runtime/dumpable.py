"""Whether other processes of the same account may read and trace this process.

The kernel gives the files of a process that is not dumpable in /proc (its environment, memory and
descriptors) to root, writes no core file of it, and lets only root trace it. A child inherits the
attribute until it executes a program.
"""

from __future__ import annotations

import ctypes
import sys

PR_SET_DUMPABLE = 4


def set_dumpable(*, allowed: bool) -> None:
    """Allow or refuse access to this process; no effect on systems other than Linux."""
    if sys.platform == "linux":
        # It fails only for values other than 0 and 1.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, int(allowed), 0, 0, 0)
