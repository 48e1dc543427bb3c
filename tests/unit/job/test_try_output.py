from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.job import Job, JobId, Return, State, Value, try_output
from spincycle.job.bounded_output import OUTPUT_LIMIT
from spincycle.job.current_job import enter_job, leave_job
from spincycle.job.try_output import STDERR, STDOUT, TAIL_LIMIT, TryOutput
from spincycle.model.scrubber import Scrubber

OWNER = JobId("t", "n", "aaaa", "r")


class Printing(Job):
    def run(self, data: dict[str, Value]) -> Return:
        self.prints("out", b"err")
        return Return(State.COMPLETE)


def test_the_bytes_after_an_offset_are_returned() -> None:
    output = TryOutput()
    output.write(STDOUT, b"one ")
    output.write(STDERR, b"oh")
    output.write(STDOUT, b"two")

    assert output.after(STDOUT, 0) == (0, b"one two")
    assert output.after(STDOUT, 4) == (4, b"two")
    assert output.after(STDOUT, 7) == (7, b"")
    assert output.after(STDERR, 0) == (0, b"oh")


def test_only_the_tail_of_large_output_is_live_and_the_offset_shows_the_gap() -> None:
    output = TryOutput()
    for _ in range(100):
        output.write(STDOUT, b"x" * TAIL_LIMIT)
    output.write(STDOUT, b"end")

    offset, data = output.after(STDOUT, 10)
    assert (offset, len(data)) == (100 * TAIL_LIMIT + 3 - TAIL_LIMIT, TAIL_LIMIT)
    assert data.endswith(b"end")


@given(
    st.lists(st.tuples(st.binary(max_size=60), st.booleans())),
    st.integers(min_value=2, max_value=100),
)
def test_each_byte_that_is_read_live_is_at_its_offset(
    steps: list[tuple[bytes, bool]], limit: int
) -> None:
    output, whole, reached = TryOutput(limit), b"", 0
    for chunk, is_read in steps:
        output.write(STDOUT, chunk)
        whole += chunk
        if is_read:
            offset, data = output.after(STDOUT, reached)
            assert offset >= reached
            assert data == whole[offset : offset + len(data)]
            reached = offset + len(data)
    while data := output.after(STDOUT, reached)[1]:
        reached = output.after(STDOUT, reached)[0] + len(data)
    assert reached == len(whole)


def test_output_that_is_not_bounded_is_stored_with_its_head_and_tail() -> None:
    output = TryOutput()
    for _ in range(100_000):
        output.write(STDERR, b"0123456789")
    output.write(STDERR, b"the end")

    text = output.close()[1]
    assert text.startswith("0123456789")
    assert text.endswith("the end")
    assert f"[... {1_000_007 - OUTPUT_LIMIT} bytes cut ...]" in text


def test_what_is_written_after_the_end_is_discarded_and_reported_once() -> None:
    discarded: list[JobId] = []
    for early in (b"", b"early"):
        output = TryOutput(owner=OWNER, on_discard=discarded.append)
        output.write(STDOUT, early)
        assert output.close() == (early.decode(), "")

        output.write(STDOUT, b"late")
        output.write(STDERR, b"later")

        assert output.close() == ("", "")
    assert discarded == [OWNER, OWNER]


def test_threads_that_print_at_once_lose_nothing() -> None:
    output = TryOutput()
    begin = threading.Barrier(8)

    def write() -> None:
        begin.wait()
        for _ in range(1_000):
            output.write(STDOUT, b"line\n")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert output.close()[0] == "line\n" * 8_000


def test_text_that_needs_a_line_of_its_own_ends_the_one_before() -> None:
    output = TryOutput()
    output.write_lines(STDERR, "one\n")
    output.write_lines(STDERR, "two")
    output.write_lines(STDERR, "three\n")

    assert output.text(STDERR) == "one\ntwo\nthree\n"


def test_a_job_that_no_runner_runs_has_its_output() -> None:
    job = Printing()
    job.run({})

    assert job.output is not None
    assert (job.output.text(STDOUT), job.output.text(STDERR)) == ("out", "err")


@pytest.mark.parametrize("runs_itself", [True, False])
def test_what_a_job_prints_is_output_of_the_try_in_which_it_runs(*, runs_itself: bool) -> None:
    outer, inner, current = Printing(), Printing(), TryOutput()
    enter_job(inner if runs_itself else outer, current)
    try:
        inner.run({})
    finally:
        leave_job()

    assert current.text(STDOUT) == "out"
    assert (inner.output is None) is runs_itself


def test_a_secret_is_replaced_and_offsets_count_what_is_released() -> None:
    output = TryOutput(scrubber=Scrubber(["hunter2"]))
    output.write(STDOUT, b"with hun")
    output.write(STDERR, b"no.\n")
    output.write(STDOUT, b"ter2 in")

    assert output.after(STDOUT, 0) == (0, b"with (secret) in")
    assert output.after(STDOUT, 13) == (13, b" in")
    assert output.after(STDERR, 0) == (0, b"no.\n")


def test_the_possible_beginning_of_a_secret_is_released_when_nothing_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = TryOutput(scrubber=Scrubber(["hunter2"]))
    output.write(STDOUT, b"go on the hunt")

    assert output.after(STDOUT, 0) == (0, b"go on the ")
    monkeypatch.setattr(try_output, "HOLD_TIME", 0.0)
    assert output.after(STDOUT, 10) == (10, b"hunt")


def test_the_possible_beginning_of_a_secret_is_stored_at_the_end_of_the_try() -> None:
    output = TryOutput(scrubber=Scrubber(["hunter2"]))
    output.write(STDERR, b"hunter2 on the hunt")

    assert output.close() == ("", "(secret) on the hunt")


def test_a_secret_in_output_that_is_cut_leaves_no_part_of_itself() -> None:
    secret = b"S3CRET-VALUE-OF-SOME-LENGTH"
    output = TryOutput(scrubber=Scrubber([secret.decode()]))
    output.write(STDOUT, b"x" * (OUTPUT_LIMIT // 2 - len(secret) // 2))
    output.write(STDOUT, secret + b"x" * (2 * OUTPUT_LIMIT))

    stdout, _ = output.close()
    assert "bytes cut" in stdout
    assert "S3CRET" not in stdout
