"""Secrets of requests are removed from log lines, for people and for machines."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spincycle.runtime.log_scrubber import LogScrubber

LOGS = """
import logging
import threading
import structlog
from spincycle.model.scrubber import Scrubber
from spincycle.runtime.config import LogConfig
from spincycle.runtime.log_scrubber import LogScrubber
from spincycle.runtime.logs import configure_logs

configure_logs(LogConfig(format={format!r}), "here")
log_scrubber = LogScrubber()
log_scrubber.install()
scrubber = Scrubber(["hunter2"])
log_scrubber.add(scrubber)

def fail():
    raise ValueError("no hunter2")

try:
    fail()
except ValueError as error:
    structlog.get_logger().exception("failed", request_id="hunter2-id", cause=["hunter2", error])
    logging.getLogger("job").exception("login with %s", "hunter2")
thread = threading.Thread(target=fail, name="of a job")
thread.start()
thread.join()
del scrubber
structlog.get_logger().error("later", word="hunter2")
"""


@pytest.mark.parametrize("format_", ["human", "json"])
def test_no_line_has_a_secret_while_its_request_is_known(format_: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOGS.format(format=format_)],
        capture_output=True,
        text=True,
        check=True,
    )

    *lines, later = ran.stderr.splitlines()
    known = "\n".join(lines)
    assert "hunter2" not in known.replace("hunter2-id", "")
    assert known.count("ValueError: no (secret)") == 3
    assert "login with (secret)" in known
    assert "thread failed" in known
    assert "hunter2-id" in known
    assert "hunter2" in later


def test_a_line_is_unchanged_while_no_request_has_secrets() -> None:
    event = {"event": "registered", "exc_info": True}

    assert LogScrubber()(None, "info", event) is event
