"""The silences of runners as the database shows them."""

from __future__ import annotations

import asyncpg

from spincycle.request_manager.runners.recovery import RecoveryPolicy
from spincycle.request_manager.runners.silence import SilenceMonitor
from spincycle.request_manager.storage.heartbeats import HeartbeatId

_HEARTBEATS = """
SELECT runner_id, observer, heartbeat FROM request_manager.runners WHERE deregistered_at IS NULL
"""


class Silences:
    """Samples of the runners' last heartbeats; `longest` is in seconds."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._monitor = SilenceMonitor(RecoveryPolicy().timeouts)
        self.longest = 0.0

    async def sample(self) -> None:
        """Look now."""
        rows = await self._connection.fetch(_HEARTBEATS)
        self._monitor.read(
            {row["runner_id"]: HeartbeatId(row["observer"], row["heartbeat"]) for row in rows}
        )
        for row in rows:
            silence = self._monitor.silence(row["runner_id"])
            self.longest = max(self.longest, silence.seconds)
