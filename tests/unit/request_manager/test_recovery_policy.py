from __future__ import annotations

import pytest

from spincycle.request_manager.runners.recovery import RecoveryPolicy

POLICY = RecoveryPolicy(interval=1.0, silence_timeout=8.0)


@pytest.mark.parametrize(
    ("next_due", "pause"),
    [
        pytest.param(None, 2.0, id="no-runners"),
        pytest.param(60.0, 2.0, id="longest-interval"),
        pytest.param(1.5, 1.51, id="just-after-it-is-due"),
        pytest.param(0.2, 1.0, id="shortest-interval"),
        pytest.param(-5.0, 1.0, id="overdue"),
    ],
)
def test_the_next_scan_is_made_when_an_eviction_is_due(
    next_due: float | None, pause: float
) -> None:
    assert POLICY.pause(next_due) == pytest.approx(pause)


def test_a_pause_is_shorter_than_the_gap_that_resets_silence() -> None:
    assert POLICY.pause(None) < POLICY.timeouts.scan_gap
