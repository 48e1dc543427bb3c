from __future__ import annotations

import pytest

from spincycle.request_manager.runners.recovery import RecoveryPolicy

POLICY = RecoveryPolicy(interval=1.0, silence=8.0)


@pytest.mark.parametrize(
    ("next_due", "pause"),
    [
        pytest.param(None, 2.0, id="there-is-no-runner"),
        pytest.param(60.0, 2.0, id="longer-than-others-may-wait-for-a-look"),
        pytest.param(1.5, 1.51, id="just-after-it-is-due"),
        pytest.param(0.2, 1.0, id="not-more-often-than-that"),
        pytest.param(-5.0, 1.0, id="it-was-due-and-is-there"),
    ],
)
def test_the_next_look_is_taken_when_a_runner_can_be_given_up(
    next_due: float | None, pause: float
) -> None:
    assert POLICY.pause(next_due) == pytest.approx(pause)


def test_a_pause_leaves_no_gap_after_which_silence_would_count_anew() -> None:
    assert POLICY.pause(None) < POLICY.limits.gap
