from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spincycle.dev.ports import free_port
from spincycle.dev.services import Service, local
from spincycle.dev.stack_processes import MARK, end_processes

PROGRAM = """#!{python}
import http.server, os, signal, sys

class Version(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *said):
        pass

{before}
server = http.server.HTTPServer(("127.0.0.1", {port}), Version)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("listening", flush=True)
server.serve_forever()
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """Makes a service of a small program that does `before` and then responds to requests."""

    def make(before: str) -> Service:
        port = free_port()
        program = tmp_path / "program"
        program.write_text(PROGRAM.format(python=sys.executable, before=before, port=port))
        program.chmod(0o755)
        return Service("small", str(program), local(port), "http", {MARK: str(tmp_path)})

    yield make
    end_processes(tmp_path, 0.0)
