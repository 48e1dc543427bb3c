from __future__ import annotations

import io
import os
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import copy_context

import pytest
import structlog

from spincycle.job.builtin.noop import Noop
from spincycle.job.current_job import enter_job
from spincycle.job.try_output import STDOUT, TryOutput
from spincycle.job_runner import standard_streams
from spincycle.job_runner.standard_streams import JobStream


class Streams:
    """Standard output of a process, and the output of a try."""

    def __init__(self) -> None:
        self._process = io.BytesIO()
        text = io.TextIOWrapper(self._process, encoding="latin-1", errors="strict")
        self.stream = JobStream(text, STDOUT)
        self.output = TryOutput()

    def in_job(self, call: Callable[[], object]) -> None:
        context = copy_context()
        context.run(enter_job, Noop(), self.output)
        context.run(call)

    @property
    def text(self) -> str:
        return self.output.text(STDOUT)

    @property
    def of_process(self) -> bytes:
        self.stream.flush()
        return self._process.getvalue()


# Not a fixture: pytest sets sys.stdout between the setup of a test and its call.
@contextmanager
def installed() -> Iterator[Streams]:
    streams = Streams()
    with redirect_stdout(streams.stream):
        yield streams


def test_a_job_prints_into_the_output_of_its_try() -> None:
    with installed() as streams:
        streams.in_job(lambda: print("one", flush=True))
        streams.in_job(lambda: print("part", end=""))
        streams.in_job(lambda: sys.stdout.writelines([" of", " a line\n"]))

        assert streams.text == "one\npart of a line\n"
        assert streams.of_process == b""


def test_without_a_job_all_goes_to_the_process_unchanged() -> None:
    with installed() as streams:
        print("é")
        sys.stdout.flush()
        sys.stdout.buffer.write(b"\xff")

        assert streams.of_process == b"\xe9\n\xff"
        assert sys.stdout.encoding == "latin-1"
        assert sys.stdout.errors == "strict"
        with pytest.raises(UnicodeEncodeError):
            print("\u20ac")
        assert not streams.output.used


def test_a_job_can_write_bytes() -> None:
    with installed() as streams:
        streams.in_job(lambda: sys.stdout.buffer.write(b"\xff\x00 "))
        streams.in_job(lambda: sys.stdout.buffer.write(memoryview(array("H", [0x4142]))))
        streams.in_job(sys.stdout.buffer.flush)

        assert streams.output.after(STDOUT, 0)[1][:3] == b"\xff\x00 "
        assert len(streams.output.after(STDOUT, 0)[1]) == 5
        assert streams.of_process == b""


def test_a_job_can_print_every_text() -> None:
    with installed() as streams:
        streams.in_job(lambda: print("\u20ac", os.fsdecode(b"\xff"), "\ud800"))
        assert streams.text == "\u20ac ? ?\n"


def test_a_job_that_writes_no_text_gets_the_error_of_a_stream() -> None:
    with installed() as streams:
        with pytest.raises(TypeError, match="write\\(\\) argument must be str, not bytes"):
            streams.in_job(lambda: sys.stdout.write(b"x"))  # type: ignore[arg-type] # on purpose
        with pytest.raises(TypeError, match="a bytes-like object is required, not 'str'"):
            streams.in_job(lambda: sys.stdout.buffer.write("x"))  # type: ignore[call-overload] # likewise


def test_a_job_sees_utf_8_and_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with installed() as streams:
        terminal = streams.stream._process_stream
        monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
        seen: list[object] = []
        streams.in_job(lambda: seen.extend([sys.stdout.encoding, sys.stdout.isatty()]))

        assert seen == ["utf-8", False]
        assert sys.stdout.isatty()


def test_a_job_that_closes_the_stream_closes_it_for_nobody() -> None:
    with installed() as streams:
        streams.in_job(sys.stdout.close)
        streams.in_job(sys.stdout.buffer.close)
        streams.in_job(lambda: print("of the job"))
        print("of the process")

        assert streams.text == "of the job\n"
        assert streams.of_process == b"of the process\n"


def test_the_descriptor_is_that_of_the_process() -> None:
    stream = JobStream(sys.__stdout__, STDOUT)  # type: ignore[arg-type] # it is not None here
    assert stream.fileno() == stream.buffer.fileno() == 1
    assert stream.name == "<stdout>"


def test_a_reference_kept_since_the_import_of_a_module_is_as_good() -> None:
    with installed() as streams:
        kept, write = sys.stdout, sys.stdout.write
        streams.in_job(lambda: print("a", file=kept))
        streams.in_job(lambda: write("b"))
        assert streams.text == "a\nb"


def test_structlog_writes_where_the_job_prints() -> None:
    with installed() as streams:
        text = structlog.PrintLoggerFactory(sys.stdout)()
        lines = structlog.BytesLoggerFactory(sys.stdout.buffer)()
        streams.in_job(lambda: text.info("of the job"))
        streams.in_job(lambda: lines.info(b"{}"))
        text.info("of the runner")

        assert streams.text == "of the job\n{}\n"
        assert streams.of_process == b"of the runner\n"


def test_threads_of_two_jobs_do_not_mix_their_output() -> None:
    with installed():
        outputs = [TryOutput() for _ in range(4)]
        begin = threading.Barrier(len(outputs))

        def run(name: str, output: TryOutput) -> None:
            enter_job(Noop(), output)
            begin.wait()
            for _ in range(500):
                print(name, name)

        threads = [
            threading.Thread(target=run, args=(f"job{number}", output))
            for number, output in enumerate(outputs)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        for number, output in enumerate(outputs):
            assert output.text(STDOUT) == f"job{number} job{number}\n" * 500


def test_a_forked_child_writes_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with installed() as streams:
        monkeypatch.setattr(standard_streams, "_forked", False)
        standard_streams._pass_through()

        streams.in_job(lambda: print("of a child"))

        assert streams.of_process == b"of a child\n"
