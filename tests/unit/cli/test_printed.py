from __future__ import annotations

from typing import Any

import pytest
from tests.cli_samples import entry

from spincycle.cli.render.printed import STDERR, STDOUT, JobOutput, OutputDeduplicator
from spincycle.job.bounded_output import bounded_text


def piece(data: bytes | str, offset: int = 0, stream: Any = STDOUT) -> JobOutput:
    raw = data.encode() if isinstance(data, str) else data
    made = JobOutput(job_id="A000", name="drain", stream=stream, offset=offset, data=raw)
    made.try_number = 1
    return made


def told(printed: OutputDeduplicator, *pieces: JobOutput) -> list[tuple[int, bytes]]:
    new = [printed.new(one) for one in pieces]
    return [(one.offset, one.data) for one in new if one]


def rest(
    printed: OutputDeduplicator, stdout: str, stderr: str = "", **more: Any
) -> list[tuple[int, str]]:
    ended = entry("A000", "drain", stdout=stdout, stderr=stderr)
    return [(one.offset, one.data.decode()) for one in printed.rest(ended, **more)]


def test_what_comes_again_is_told_once() -> None:
    assert told(
        OutputDeduplicator(),
        piece("one\n"),
        piece("one\n"),
        piece("e\ntwo\n", 2),
        piece("one\ntwo\nx"),
    ) == [(0, b"one\n"), (4, b"two\n"), (8, b"x")]


def test_what_was_missed_shows_in_the_offset() -> None:
    assert told(OutputDeduplicator(), piece("one\n"), piece("nine\n", 40)) == [
        (0, b"one\n"),
        (40, b"nine\n"),
    ]


def test_streams_have_places_of_their_own() -> None:
    assert told(OutputDeduplicator(), piece("one\n"), piece("bad\n", stream=STDERR)) == [
        (0, b"one\n"),
        (0, b"bad\n"),
    ]


@pytest.mark.parametrize("text", ["é", "€", "🙂", "a€b"])
def test_no_character_is_torn(text: str) -> None:
    raw = text.encode()
    for cut in range(len(raw) + 1):
        parts = told(OutputDeduplicator(), piece(raw[:cut]), piece(raw[cut:], cut))
        assert "".join(data.decode() for _, data in parts) == text


def test_the_entry_gives_what_was_printed_after_the_last_piece() -> None:
    printed = OutputDeduplicator()
    told(printed, piece("one\n"))

    assert rest(printed, "one\ntwo\n", "bad\n") == [(4, "two\n"), (0, "bad\n")]
    assert told(printed, piece("two\n", 4)) == []


def test_nothing_comes_again_when_all_was_told() -> None:
    printed = OutputDeduplicator()
    told(printed, piece("one\n"))

    assert rest(printed, "one\n") == []


def test_of_a_try_that_was_not_told_all_is_in_its_entry() -> None:
    assert rest(OutputDeduplicator(), "one\n") == []
    assert rest(OutputDeduplicator(), "one\n", whole=True) == [(0, "one\n")]


def test_the_rest_is_found_behind_the_cut_of_a_long_output() -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    kept = bounded_text(text, 400)
    printed = OutputDeduplicator()
    place = len(text) - 100
    told(printed, piece(text[place - 50 : place], place - 50))

    assert rest(printed, kept) == [(place, text[place:])]


def test_a_rest_that_begins_in_the_cut_shows_the_cut() -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    kept = bounded_text(text, 400)
    printed = OutputDeduplicator()
    told(printed, piece(text[:1000]))

    ((_, data),) = rest(printed, kept)
    assert data == kept[kept.index("[... ") :]


def test_the_rest_is_found_behind_bytes_that_are_no_text() -> None:
    raw = b"\xff\xfe one\ntwo\n"
    printed = OutputDeduplicator()
    told(printed, piece(raw[:7]))

    assert [text for _, text in rest(printed, raw.decode(errors="replace"))] == ["two\n"]


def test_a_job_that_leaves_something_else_than_it_printed_is_told_both() -> None:
    printed = OutputDeduplicator()
    told(printed, piece("working\n"))

    assert [text for _, text in rest(printed, "summary\n")] == ["summary\n"]
