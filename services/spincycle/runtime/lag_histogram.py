"""Histogram of the delays of an event loop."""

from __future__ import annotations

from bisect import bisect_left

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets, in seconds, without the last one, which has none."""


class LagHistogram:
    """Counts delays by the type of the job that caused them; empty if no job did."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {"": [0] * (len(BUCKETS) + 1)}
        self._sums: dict[str, float] = {"": 0.0}

    def observe(self, seconds: float, job_type: str = "") -> None:
        """Count a delay."""
        counts = self._counts.setdefault(job_type, [0] * (len(BUCKETS) + 1))
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._sums[job_type] = self._sums.get(job_type, 0.0) + seconds

    def read(self) -> dict[tuple[str, ...], tuple[list[int], float]]:
        """Return the count of each bucket and the sum of all seconds, by job type."""
        return {
            (job_type,): (list(counts), self._sums[job_type])
            for job_type, counts in self._counts.items()
        }
