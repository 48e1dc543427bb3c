"""The project that `spincycle init` writes is clean, and its tests pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import SCRIPTS


def test_a_new_project_lints_and_its_tests_pass(home: Path) -> None:
    project = home / "project"
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("PYTEST_")}
    environment |= {"HOME": str(home), "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}

    for command, directory in (
        (["spincycle", "init", str(project)], home),
        (["make", "lint"], project),
        (["make", "test", f"PYTHON={sys.executable} -Wignore"], project),
    ):
        result = subprocess.run(
            command,
            check=False,
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert result.returncode == 0, result.stdout + result.stderr
