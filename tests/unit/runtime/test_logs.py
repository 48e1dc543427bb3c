"""Tracebacks in the log, for people and for machines."""

from __future__ import annotations

import subprocess
import sys

FAILS = """
import structlog
from spincycle.runtime.config import LogConfig
from spincycle.runtime.logs import configure_logs

configure_logs(LogConfig(format={format!r}), "here")
password = "not to be shown"
try:
    raise ValueError("it broke")
except ValueError:
    structlog.get_logger().exception("failed", request_id="abc")
"""


def logged(format_: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", FAILS.format(format=format_)],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stderr


def test_a_traceback_for_people_is_plain_and_shows_no_values() -> None:
    text = logged("human")

    assert "ValueError: it broke" in text
    assert "Traceback (most recent call last):" in text
    assert "not to be shown" not in text


def test_a_traceback_for_machines_is_one_line() -> None:
    (line,) = logged("json").splitlines()

    assert "ValueError: it broke" in line
    assert "not to be shown" not in line
