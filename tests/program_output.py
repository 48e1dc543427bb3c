"""Output and exit code of a program that runs to its end."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


async def run_program(
    command: Sequence[str | Path], *, cwd: str | Path | None = None, **account: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program in a thread, under an account given as to subprocess.Popen."""

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=cwd, **account
        )

    return await asyncio.to_thread(run)
