"""How long runners have been silent, measured by this request manager's own monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spincycle.request_manager.storage.heartbeats import HeartbeatId, LiveRunner


@dataclass(frozen=True, slots=True)
class SilenceLimits:
    """When a runner is silent for too long; all in seconds.

    Attributes:
        limit: without a heartbeat.
        limit_if_replaced: likewise, if another runner registered since at the same address.
        gap: without a look of this request manager, after which silence counts anew.
    """

    limit: float
    limit_if_replaced: float
    gap: float


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a runner has been silent.

    Attributes:
        seconds: since this process first saw its last heartbeat.
        is_exact: False if that heartbeat may be older than this process.
    """

    seconds: float
    is_exact: bool


@dataclass(slots=True)
class _Seen:
    """The last heartbeat of a runner and when it, and the runner, were first seen here."""

    heartbeat: HeartbeatId
    at: float
    runner_at: float
    is_exact: bool
    limit: float


class SilenceMonitor:
    """Remembers when this process first saw the last heartbeat of each runner.

    The clocks of other machines play no part: a runner is overdue once this process has read the
    same heartbeat for the whole limit by its own clock, and has looked all that time. A heartbeat
    is first seen after the runner sent it, so no runner is overdue while its lease holds.
    """

    def __init__(self, limits: SilenceLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._looked_at = float("-inf")
        self._looking_since = float("-inf")

    def received(self, runner_id: str, heartbeat: HeartbeatId) -> None:
        """Note a heartbeat that this process received itself; it is stored."""
        self._note(runner_id, heartbeat, self._clock(), is_exact=True)

    def read(self, heartbeats: Mapping[str, HeartbeatId]) -> None:
        """Note the last heartbeats of runners, by runner id, as the database has them."""
        now = self._clock()
        for runner_id, heartbeat in heartbeats.items():
            self._note(runner_id, heartbeat, now, is_exact=runner_id in self._seen)

    def silence(self, runner_id: str) -> Silence:
        """How long a runner has been silent; 0 s for one of which nothing is known."""
        seen = self._seen.get(runner_id)
        if seen is None:
            return Silence(0.0, is_exact=False)
        return Silence(self._clock() - seen.at, seen.is_exact)

    def overdue(self) -> dict[str, HeartbeatId]:
        """Return the runners to evict now, each with the heartbeat that must still be its last."""
        now = self._clock()
        if self._has_gap(now):
            return {}
        return {
            runner_id: seen.heartbeat
            for runner_id, seen in self._seen.items()
            if now - self._silent_since(seen) >= seen.limit
        }

    def looked(self, live: Sequence[LiveRunner]) -> float | None:
        """Note what a look has read: all live runners.

        Return the seconds until the first of them can be overdue; None if there are none.
        """
        now = self._clock()
        if self._has_gap(now):
            self._looking_since = now
        self._looked_at = now
        for runner in live:
            known = runner.runner_id in self._seen
            self._note(runner.runner_id, runner.heartbeat, now, is_exact=known)
        self._seen = {runner.runner_id: self._seen[runner.runner_id] for runner in live}
        self._set_limits(live)
        if not live:
            return None
        # Any of them may have been replaced by the next look.
        first = min(self._silent_since(seen) for seen in self._seen.values())
        return first + self._limits.limit_if_replaced - now

    def _note(self, runner_id: str, heartbeat: HeartbeatId, now: float, *, is_exact: bool) -> None:
        seen = self._seen.get(runner_id)
        if seen is None:
            self._seen[runner_id] = _Seen(heartbeat, now, now, is_exact, self._limits.limit)
        elif seen.heartbeat != heartbeat:
            seen.heartbeat, seen.at, seen.is_exact = heartbeat, now, is_exact

    def _set_limits(self, live: Sequence[LiveRunner]) -> None:
        """Shorten the limit of runners that are silent since another one came to their address.

        A process that lives does not give its address away.
        """
        newest: dict[str, LiveRunner] = {}
        for runner in sorted(live, key=lambda runner: runner.registration):
            newest[runner.address] = runner
        for runner in live:
            seen, other = self._seen[runner.runner_id], newest[runner.address]
            is_replaced = (
                other.registration > runner.registration
                and seen.at <= self._seen[other.runner_id].runner_at
            )
            limits = self._limits
            seen.limit = limits.limit_if_replaced if is_replaced else limits.limit

    def _has_gap(self, now: float) -> bool:
        return now - self._looked_at > self._limits.gap

    def _silent_since(self, seen: _Seen) -> float:
        return max(seen.at, self._looking_since)
