from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from spincycle.kubernetes_jobs.log_lines import MAX_BUFFERED, LogLines

Line = tuple[str, bytes]


class Sink:
    def __init__(self) -> None:
        self.text = b""

    def __call__(self, part: bytes) -> None:
        self.text += part


def served(lines: list[Line], since: str) -> bytes:
    """Return the API server's response, which starts at a whole second."""
    return b"".join(time.encode() + b" " + text for time, text in lines if time[:19] >= since[:19])


def test_lines_lose_their_times() -> None:
    sink = Sink()
    lines = LogLines(sink)
    lines.feed(b"2026-11-25T22:00:00.1Z one\n2026-11-25T22:00:00.2Z tw")
    lines.feed(b"o\n2026-11-25T22:00:01Z \n")
    assert sink.text == b"one\ntwo\n\n"
    assert lines.since == "2026-11-25T22:00:01Z"


def test_a_zone_is_kept_for_the_next_request() -> None:
    lines = LogLines(Sink())
    lines.feed(b"2026-11-25T22:00:00.123456789+02:00 one\n")
    assert lines.since == "2026-11-25T22:00:00+02:00"


def test_an_incomplete_line_is_delivered_when_the_log_ends() -> None:
    sink = Sink()
    lines = LogLines(sink)
    lines.feed(b"2026-11-25T22:00:00Z no end")
    assert sink.text == b""
    lines.finish()
    assert sink.text == b"no end"


def test_a_very_long_line_is_delivered_in_parts_and_only_once() -> None:
    sink = Sink()
    lines = LogLines(sink)
    line = b"2026-11-25T22:00:00Z " + b"x" * 3 * MAX_BUFFERED + b"\n"
    lines.feed(line[: 2 * MAX_BUFFERED])
    assert len(sink.text) > MAX_BUFFERED
    lines.interrupt()
    lines.feed(line[: MAX_BUFFERED + 100])
    lines.interrupt()
    lines.feed(line + b"2026-11-25T22:00:00Z next\n")
    assert sink.text == b"x" * 3 * MAX_BUFFERED + b"\nnext\n"


def test_lines_that_a_shortened_log_no_longer_has_do_not_hide_later_ones() -> None:
    sink = Sink()
    lines = LogLines(sink)
    lines.feed(b"2026-11-25T22:00:00.1Z a\n2026-11-25T22:00:00.2Z b\n")
    lines.interrupt()
    lines.feed(b"2026-11-25T22:00:00.3Z c\n2026-11-25T22:00:00.4Z d\n")
    assert sink.text == b"a\nb\nc\nd\n"


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 3)), max_size=12),
    st.integers(0, 2**32),
)
def test_every_line_is_delivered_once_however_often_the_stream_breaks(
    moments: list[tuple[int, int, int]], seed: int
) -> None:
    draw = random.Random(seed)
    log = [
        (f"2026-11-25T22:00:{second:02}.{part}Z", b"." * length + b"\n")
        for second, part, length in sorted(moments)
    ]
    for first in range(len(log) - 1):  # Two writers can overtake one another a little.
        if draw.random() < 0.2 and log[first][0][:19] == log[first + 1][0][:19]:
            log[first], log[first + 1] = log[first + 1], log[first]
    sink = Sink()
    lines = LogLines(sink)
    for _ in range(4):
        written = log[: draw.randint(0, len(log))]
        stream = served(written, lines.since)
        for at in range(0, draw.randint(0, len(stream)), 7):
            lines.feed(stream[at : at + 7])
        lines.interrupt()
    lines.feed(served(log, lines.since))
    lines.finish()
    assert sink.text == b"".join(text for _, text in log)
