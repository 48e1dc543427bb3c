"""A host: a small HTTP server that runs in the background and keeps its files in a directory.

    python web_host.py DIRECTORY

The command prints the server's address and returns once the server listens. The directory
contains `release` (what to serve), `pid` and `address` of the running server, and `log`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Host(ThreadingHTTPServer):
    """Serves until it is terminated or its directory is deleted."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), HealthHandler)
        self.directory = directory
        self.release = (directory / "release").read_text().strip()
        self.warm = False

    def service_actions(self) -> None:
        """End the process if the directory was deleted, so that no host outlives its fleet."""
        if not self.directory.is_dir():
            os._exit(0)


class HealthHandler(BaseHTTPRequestHandler):
    """Serves GET /health: 503 once, as if the server were warming up, then 200."""

    server: Host

    def do_GET(self) -> None:  # name required by the base class
        """Handle a GET request."""
        if self.path != "/health":
            return self._respond(404, "no such page")
        if not self.server.warm:
            self.server.warm = True
            return self._respond(503, "warming up")
        return self._respond(200, "healthy")

    def _respond(self, status: int, text: str) -> None:
        body = json.dumps(
            {"host": self.server.directory.name, "release": self.server.release, "status": text}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(directory: Path) -> None:
    """Start the server in a background process."""
    host = Host(directory)
    address = f"127.0.0.1:{host.server_port}"
    child = os.fork()
    if child:
        (directory / "address").write_text(address)
        (directory / "pid").write_text(str(child))
        sys.stdout.write(f"listening on {address}\n")
        return
    os.setsid()
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    # Close inherited pipes: the reader of the command's output waits until all are closed.
    os.closerange(3, host.fileno())
    os.closerange(host.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    host.serve_forever(poll_interval=0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
