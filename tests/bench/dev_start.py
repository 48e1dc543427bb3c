"""How long `spincycle dev` takes from exec to the gateway's first answer."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.bench.http_client import HttpConnection

from spincycle.dev.ports import free_port

_PATIENCE = 60.0


async def take_dev_start(runs: int) -> float:
    """Seconds, the median, with a data directory that was used before."""
    data = Path(tempfile.mkdtemp(prefix="spincycle-bench-dev-"))
    data.chmod(0o755)
    try:
        await _start_and_stop(data)
        return median([await _start_and_stop(data) for _ in range(runs)])
    finally:
        shutil.rmtree(data, ignore_errors=True)


async def _start_and_stop(data: Path) -> float:
    port = free_port()
    command = [str(Path(sys.executable).parent / "spincycle"), "dev", "--data", str(data)]
    options = ("--request-manager-port", "--job-runner-port", "--job-log-port")
    command += ["--gateway-port", str(port)]
    command += [part for option in options for part in (option, str(free_port()))]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await _until_answered(port, child)
        return time.perf_counter() - began
    finally:
        child.send_signal(signal.SIGINT)
        await asyncio.to_thread(child.wait, _PATIENCE)


async def _until_answered(port: int, child: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while child.poll() is None:
            try:
                connection = await HttpConnection.open("127.0.0.1", port)
                await connection.get("/api/v1/request-list")
            except (OSError, RuntimeError):
                await asyncio.sleep(0.01)
            else:
                connection.close()
                return
    raise RuntimeError(f"spincycle dev ended with {child.returncode}")
