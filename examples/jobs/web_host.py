"""A host: a small HTTP server in the background, which lives in a directory.

    python web_host.py DIRECTORY

The command returns when the server listens and prints its address. In the directory are
`release` (what to serve), `pid` and `address` (of the server that runs), and `log`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Host(ThreadingHTTPServer):
    """Serves until it is told to end, or its directory is gone."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.directory = directory
        self.release = (directory / "release").read_text().strip()
        self.warm = False

    def service_actions(self) -> None:
        """End when the directory is gone, so that no host outlives its fleet."""
        if not self.directory.is_dir():
            os._exit(0)


class Answer(BaseHTTPRequestHandler):
    """Answers GET /health: 503 the first time, as the server is warming up, and then 200."""

    server: Host

    def do_GET(self) -> None:  # the name is given
        """Answer."""
        if self.path != "/health":
            return self._answer(404, "no such page")
        if not self.server.warm:
            self.server.warm = True
            return self._answer(503, "warming up")
        return self._answer(200, "healthy")

    def _answer(self, status: int, text: str) -> None:
        body = json.dumps(
            {"host": self.server.directory.name, "release": self.server.release, "status": text}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(directory: Path) -> None:
    """Listen, go into the background, serve."""
    host = Host(directory)
    address = f"127.0.0.1:{host.server_port}"
    child = os.fork()
    if child:
        (directory / "address").write_text(address)
        (directory / "pid").write_text(str(child))
        sys.stdout.write(f"listens on {address}\n")
        return
    os.setsid()
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    # Whoever reads the command's output waits until nobody can write there any more.
    os.closerange(3, host.fileno())
    os.closerange(host.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    host.serve_forever(poll_interval=0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
