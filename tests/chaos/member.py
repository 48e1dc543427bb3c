"""One service process of a cluster under test: started, killed, frozen, started again."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from spincycle.dev.child import send_until_gone, until_ended
from spincycle.dev.ready import is_ready
from spincycle.dev.services import Service

_READY = 60.0


class Member:
    """A service and the process that it is at the moment.

    Args:
        planted: a fault that is put into the service; see tests.chaos.planted.
        probed: address of a listener without TLS for the readiness check; empty: the service's.
    """

    def __init__(
        self,
        service: Service,
        environment: Mapping[str, str],
        log: Path,
        planted: str = "",
        probed: str = "",
    ) -> None:
        self.service = service
        self.log = log
        self._probed = replace(service, address=probed or service.address)
        self._environment = {**environment, **service.environment}
        if service.configuration is not None:
            self._environment = service.configuration.without_variables(self._environment)
        self._planted = planted
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the process ended, or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def start(self) -> None:
        """Start a process; its log goes on in the same file."""
        command: list[str | Path] = [Path(sysconfig.get_path("scripts"), self.service.program)]
        if self._planted:
            command = [sys.executable, "-m", "tests.chaos.planted", self._planted]
        if self.service.configuration is not None:
            file = self.log.with_suffix(".yaml")
            file.write_text(json.dumps(self.service.configuration.keys))
            command.append(f"--config={file}")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    async def is_ready(self) -> bool:
        """Return whether the service reports that it serves."""
        return await is_ready(self._probed)

    async def until_ready(self) -> None:
        """Return when the service says that it serves."""
        async with asyncio.timeout(_READY):
            while not await self.is_ready():
                assert self.exit_code is None, self.tail()
                await asyncio.sleep(0.05)

    def configure(self, **settings: str) -> None:
        """Change the environment of the processes that are started from now on."""
        self._environment.update(settings)

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Take the process away without a word, as a power cut does."""
        await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals = signal.SIGTERM, patience: float = 60.0) -> int:
        """Send a signal and wait for the end; answer the exit code."""
        assert self._process is not None
        await send_until_gone(self._process.pid, [(number, patience)])
        return await until_ended(self._process)

    def tail(self) -> str:
        """The last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines()[-30:]
        return "\n".join([f"{self.service.name} says:", *lines])
