from __future__ import annotations

from typing import Any

import pytest
from tests.cli_samples import entry

from spincycle.cli.transport.output_deduplicator import (
    STDERR,
    STDOUT,
    JobOutput,
    OutputDeduplicator,
)
from spincycle.job.bounded_output import bounded_text


def piece(data: bytes | str, offset: int = 0, stream: Any = STDOUT) -> JobOutput:
    raw = data.encode() if isinstance(data, str) else data
    made = JobOutput(job_id="A000", name="drain", stream=stream, offset=offset, data=raw)
    made.try_number = 1
    return made


def delivered(deduplicator: OutputDeduplicator, *pieces: JobOutput) -> list[tuple[int, bytes]]:
    unseen = [deduplicator.unseen(one) for one in pieces]
    return [(one.offset, one.data) for one in unseen if one]


def remaining(
    deduplicator: OutputDeduplicator, stdout: str, stderr: str = "", **more: Any
) -> list[tuple[int, str]]:
    ended = entry("A000", "drain", stdout=stdout, stderr=stderr)
    return [(one.offset, one.data.decode()) for one in deduplicator.remaining(ended, **more)]


def test_repeated_output_is_delivered_once() -> None:
    assert delivered(
        OutputDeduplicator(),
        piece("one\n"),
        piece("one\n"),
        piece("e\ntwo\n", 2),
        piece("one\ntwo\nx"),
    ) == [(0, b"one\n"), (4, b"two\n"), (8, b"x")]


def test_the_offset_shows_missing_output() -> None:
    assert delivered(OutputDeduplicator(), piece("one\n"), piece("nine\n", 40)) == [
        (0, b"one\n"),
        (40, b"nine\n"),
    ]


def test_each_stream_has_its_own_position() -> None:
    assert delivered(OutputDeduplicator(), piece("one\n"), piece("bad\n", stream=STDERR)) == [
        (0, b"one\n"),
        (0, b"bad\n"),
    ]


@pytest.mark.parametrize("text", ["é", "€", "🙂", "a€b"])
def test_no_character_is_split(text: str) -> None:
    raw = text.encode()
    for cut in range(len(raw) + 1):
        parts = delivered(OutputDeduplicator(), piece(raw[:cut]), piece(raw[cut:], cut))
        assert "".join(data.decode() for _, data in parts) == text


def test_the_entry_completes_the_output_after_the_last_piece() -> None:
    deduplicator = OutputDeduplicator()
    delivered(deduplicator, piece("one\n"))

    assert remaining(deduplicator, "one\ntwo\n", "bad\n") == [(4, "two\n"), (0, "bad\n")]
    assert delivered(deduplicator, piece("two\n", 4)) == []


def test_complete_output_is_not_repeated_by_the_entry() -> None:
    deduplicator = OutputDeduplicator()
    delivered(deduplicator, piece("one\n"))

    assert remaining(deduplicator, "one\n") == []


def test_output_of_a_try_without_live_pieces_is_only_in_its_entry() -> None:
    assert remaining(OutputDeduplicator(), "one\n") == []
    assert remaining(OutputDeduplicator(), "one\n", whole=True) == [(0, "one\n")]


def test_remaining_output_is_found_after_the_cut_of_a_long_output() -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    kept = bounded_text(text, 400)
    deduplicator = OutputDeduplicator()
    place = len(text) - 100
    delivered(deduplicator, piece(text[place - 50 : place], place - 50))

    assert remaining(deduplicator, kept) == [(place, text[place:])]


def test_remaining_output_that_begins_in_the_cut_shows_the_cut() -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    kept = bounded_text(text, 400)
    deduplicator = OutputDeduplicator()
    delivered(deduplicator, piece(text[:1000]))

    ((_, data),) = remaining(deduplicator, kept)
    assert data == kept[kept.index("[... ") :]


def test_remaining_output_is_found_after_bytes_that_are_not_text() -> None:
    raw = b"\xff\xfe one\ntwo\n"
    deduplicator = OutputDeduplicator()
    delivered(deduplicator, piece(raw[:7]))

    assert [text for _, text in remaining(deduplicator, raw.decode(errors="replace"))] == ["two\n"]


def test_a_journal_that_differs_from_the_live_output_is_delivered_whole() -> None:
    deduplicator = OutputDeduplicator()
    delivered(deduplicator, piece("working\n"))

    assert [text for _, text in remaining(deduplicator, "summary\n")] == ["summary\n"]
