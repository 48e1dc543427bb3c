from __future__ import annotations

import pytest

from spincycle.job import live_output
from spincycle.job.live_output import STDERR, STDOUT, TAIL_LIMIT, LiveOutput
from spincycle.model.scrubber import Scrubber


def test_the_bytes_after_an_offset_are_returned() -> None:
    output = LiveOutput()
    output.write(STDOUT, b"one ")
    output.write(STDERR, b"oh")
    output.write(STDOUT, b"two")

    assert output.after(STDOUT, 0) == (0, b"one two")
    assert output.after(STDOUT, 4) == (4, b"two")
    assert output.after(STDOUT, 7) == (7, b"")
    assert output.after(STDERR, 0) == (0, b"oh")


def test_only_the_tail_of_large_output_is_kept_and_the_offset_shows_the_gap() -> None:
    output = LiveOutput()
    for _ in range(100):
        output.write(STDOUT, b"x" * TAIL_LIMIT)
    output.write(STDOUT, b"end")

    offset, data = output.after(STDOUT, 10)
    assert (offset, len(data)) == (100 * TAIL_LIMIT + 3 - TAIL_LIMIT, TAIL_LIMIT)
    assert data.endswith(b"end")


def test_a_secret_is_replaced_and_offsets_count_what_is_released() -> None:
    output = LiveOutput(Scrubber(["hunter2"]))
    output.write(STDOUT, b"with hun")
    output.write(STDERR, b"no.\n")
    output.write(STDOUT, b"ter2 in")

    assert output.after(STDOUT, 0) == (0, b"with (secret) in")
    assert output.after(STDOUT, 13) == (13, b" in")
    assert output.after(STDERR, 0) == (0, b"no.\n")


def test_the_possible_beginning_of_a_secret_is_released_when_nothing_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = LiveOutput(Scrubber(["hunter2"]))
    output.write(STDOUT, b"go on the hunt")

    assert output.after(STDOUT, 0) == (0, b"go on the ")
    monkeypatch.setattr(live_output, "HOLD_TIME", 0.0)
    assert output.after(STDOUT, 10) == (10, b"hunt")
