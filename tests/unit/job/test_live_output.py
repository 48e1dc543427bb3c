from __future__ import annotations

from spincycle.job.live_output import KEPT, STDERR, STDOUT, LiveOutput


def test_what_follows_an_offset_is_handed_out() -> None:
    output = LiveOutput()
    output.write(STDOUT, b"one ")
    output.write(STDERR, b"oh")
    output.write(STDOUT, b"two")

    assert output.after(STDOUT, 0) == (0, b"one two")
    assert output.after(STDOUT, 4) == (4, b"two")
    assert output.after(STDOUT, 7) == (7, b"")
    assert output.after(STDERR, 0) == (0, b"oh")


def test_only_the_end_of_a_flood_is_kept_and_the_gap_can_be_seen() -> None:
    output = LiveOutput()
    for _ in range(100):
        output.write(STDOUT, b"x" * KEPT)
    output.write(STDOUT, b"end")

    offset, data = output.after(STDOUT, 10)
    assert (offset, len(data)) == (100 * KEPT + 3 - KEPT, KEPT)
    assert data.endswith(b"end")
