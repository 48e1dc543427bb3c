from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.waiting import until

from spincycle.runtime.loop_monitor import EXIT_LOOP_BLOCKED

PROGRAM = """
import subprocess, sys
from spincycle.runtime.child_processes import exit_with_descendants

child = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid, flush=True); input()"
started = subprocess.Popen(
    [sys.executable, "-c", child],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
)
print(started.pid, started.stdout.readline(), flush=True)
exit_with_descendants()
"""


async def test_a_process_ends_with_all_that_it_and_its_children_have_started() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()

    assert process.returncode == EXIT_LOOP_BLOCKED
    child, grandchild = map(int, output.split())
    await until(lambda: not is_alive(child) and not is_alive(grandchild))


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
