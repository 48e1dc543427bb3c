"""Time without heartbeats of runners, measured by the monotonic clock of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spincycle.request_manager.storage.heartbeats import HeartbeatId, LiveRunner


@dataclass(frozen=True, slots=True)
class SilenceTimeouts:
    """Timeouts after which a silent runner is evicted, in seconds.

    Attributes:
        silence: without a heartbeat.
        replaced: without a heartbeat, if another runner has registered at the same address since.
        scan_gap: longest time between two scans of this process; after a longer one silence is
            counted from the next scan on.
    """

    silence: float
    replaced: float
    scan_gap: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Time without heartbeats of a runner.

    Attributes:
        seconds: since this process first saw its last heartbeat.
        is_exact: False if that heartbeat may be older than this process.
    """

    seconds: float
    is_exact: bool


@dataclass(slots=True)
class _Seen:
    """The last heartbeat of a runner, and when it, and the runner, were first seen here."""

    heartbeat: HeartbeatId
    at: float
    runner_at: float
    is_exact: bool
    timeout: float


class SilenceMonitor:
    """Records when this process first saw the last heartbeat of each runner.

    Clocks of other machines are not used: a runner is overdue once this process has read the same
    heartbeat for the whole timeout by its own clock, without a gap between its scans. A heartbeat
    is first seen after the runner sent it, so no runner is overdue while its lease holds.
    """

    def __init__(
        self, timeouts: SilenceTimeouts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeouts = timeouts
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._scanned_at = float("-inf")
        self._scanning_since = float("-inf")

    def received(self, runner_id: str, heartbeat: HeartbeatId) -> None:
        """Record a heartbeat that this process received and stored."""
        self._record(runner_id, heartbeat, self._clock(), is_exact=True)

    def read(self, heartbeats: Mapping[str, HeartbeatId]) -> None:
        """Record the last heartbeats of runners in the database, by runner id."""
        now = self._clock()
        for runner_id, heartbeat in heartbeats.items():
            self._record(runner_id, heartbeat, now, is_exact=runner_id in self._seen)

    def silence(self, runner_id: str) -> Silence:
        """Return the silence of a runner; 0 s if the runner is unknown."""
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
            if now - self._silent_since(seen) >= seen.timeout
        }

    def scanned(self, live: Sequence[LiveRunner]) -> float | None:
        """Record the result of a scan: all live runners.

        Return the seconds until the first of them can be overdue; None if there are none.
        """
        now = self._clock()
        if self._has_gap(now):
            self._scanning_since = now
        self._scanned_at = now
        for runner in live:
            is_known = runner.runner_id in self._seen
            self._record(runner.runner_id, runner.heartbeat, now, is_exact=is_known)
        self._seen = {runner.runner_id: self._seen[runner.runner_id] for runner in live}
        self._set_timeouts(live)
        if not live:
            return None
        # Any of them may be replaced before the next scan.
        first = min(self._silent_since(seen) for seen in self._seen.values())
        return first + self._timeouts.replaced - now

    def _record(
        self, runner_id: str, heartbeat: HeartbeatId, now: float, *, is_exact: bool
    ) -> None:
        seen = self._seen.get(runner_id)
        if seen is None:
            self._seen[runner_id] = _Seen(heartbeat, now, now, is_exact, self._timeouts.silence)
        elif seen.heartbeat != heartbeat:
            seen.heartbeat, seen.at, seen.is_exact = heartbeat, now, is_exact

    def _set_timeouts(self, live: Sequence[LiveRunner]) -> None:
        """Shorten the timeout of runners that are silent since another registered at their address.

        A live process keeps its address. Only the same identity replaces a runner: another one may
        advertise the address without having it.
        """
        newest: dict[tuple[str, str], LiveRunner] = {}
        for runner in sorted(live, key=lambda runner: runner.registration):
            newest[runner.address, runner.identity] = runner
        for runner in live:
            seen = self._seen[runner.runner_id]
            other = newest[runner.address, runner.identity]
            is_replaced = (
                other.registration > runner.registration
                and seen.at <= self._seen[other.runner_id].runner_at
            )
            seen.timeout = self._timeouts.replaced if is_replaced else self._timeouts.silence

    def _has_gap(self, now: float) -> bool:
        return now - self._scanned_at > self._timeouts.scan_gap

    def _silent_since(self, seen: _Seen) -> float:
        return max(seen.at, self._scanning_since)
