from __future__ import annotations

import pytest

from spincycle.request_manager.crash_backoff import backoff_after, losses


@pytest.mark.parametrize(
    ("epoch", "last_epoch", "lost"),
    [
        (2, 0, 1),  # assigned, taken
        (4, 0, 2),
        (2, 1, 0),  # a try had ended under the first runner
        (4, 1, 1),
        (8, 3, 2),
    ],
)
def test_losses_are_counted_since_a_try_ended(epoch: int, last_epoch: int, lost: int) -> None:
    assert losses(epoch, last_epoch) == lost


def test_the_backoff_is_zero_at_first_and_then_doubles_up_to_five_minutes() -> None:
    waits = [backoff_after(lost) for lost in range(10)]

    assert waits == [0, 0, 0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff_after(10**9) == 300
