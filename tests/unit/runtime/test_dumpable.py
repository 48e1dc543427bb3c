from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.ordinary_account import as_ordinary_account

from spincycle.runtime.dumpable import set_dumpable

PROCESS = """
import sys
from spincycle.runtime.dumpable import set_dumpable
for allowed in sys.argv[1:]:
    set_dumpable(allowed=allowed == "True")
print("ready", flush=True)
sys.stdin.read()
"""

READER = "import sys; sys.exit(b'KEY=value' not in open(sys.argv[1], 'rb').read())"


@pytest.mark.parametrize(
    ("calls", "can_read"), [([], True), ([False], False), ([False, True], True)]
)
def test_the_environment_of_a_process_that_is_not_dumpable_cannot_be_read(
    calls: list[bool], can_read: bool, tmp_path: Path
) -> None:
    account = as_ordinary_account(tmp_path)
    command = [*account, sys.executable, "-c", PROCESS, *map(str, calls)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "KEY": "value"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        environment = f"/proc/{process.pid}/environ"
        reader = subprocess.run(
            [*account, sys.executable, "-c", READER, environment], capture_output=True, check=False
        )
        process.communicate()

    assert (reader.returncode == 0) is can_read
    assert can_read or b"Permission denied" in reader.stderr


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", None)

    set_dumpable(allowed=False)
