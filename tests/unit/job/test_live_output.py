from __future__ import annotations

from spincycle.job.live_output import STDERR, STDOUT, TAIL_LIMIT, LiveOutput


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
