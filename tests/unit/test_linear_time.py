"""Reading texts of callers and of specs takes time linear in their length."""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from spincycle.cli.transport.output_deduplicator import _CUT
from spincycle.dev.console import _CONTROL
from spincycle.gateway.scanner import first_value
from spincycle.kubernetes_jobs.arguments import _CPU, _DNS_NAME, _KEY_NAME, _MEMORY
from spincycle.model.duration import _WHOLE, parse_duration
from spincycle.model.scrubber import Scrubber
from spincycle.request_manager.watch.cursor import parse_cursor, parse_id_cursor
from spincycle.rest_codec.times import parse_time
from spincycle.rpc.status import _TOO_LARGE
from spincycle.spec import Source, check_sources
from spincycle.spec.arg_type import ArgType
from spincycle.spec.fields import _FLOAT, _UINT
from spincycle.spec.pattern import compiled

pytestmark = pytest.mark.timed

MEASURABLE = 0.003
"""Seconds of CPU time from which growth can be measured."""

_SPEC = "sequences: {s: {nodes: {n: {retry: 1x}}}}"


def argument(pattern: str) -> Callable[[str], object]:
    """Match an argument of a caller with a pattern of a spec."""
    return lambda text: compiled(pattern).check([text])


def lint(text: str) -> object:
    """Check one spec file."""
    return check_sources([Source("a.yaml", text)])


READERS: list[tuple[str, Callable[[str], object], Callable[[int], str]]] = [
    ("pattern", argument(r"([a-z0-9-]+\.?)+"), lambda n: "a" * n + "_"),
    ("nested pattern", argument("(x+x+)+y"), lambda n: "x" * n),
    ("int", ArgType("int").convert, lambda n: " " * n + "1"),
    ("bound", ArgType("int").bound, lambda n: "1" * n + "x"),
    ("list", ArgType("list").convert, lambda n: " ," * n),
    ("bool", ArgType("bool").convert, lambda n: " " * n + "yes"),
    ("duration", parse_duration, lambda n: "1" * n + "x"),
    ("duration notation", _WHOLE.fullmatch, lambda n: "1" * n + "x"),
    ("durations", _WHOLE.fullmatch, lambda n: "1.1s" * n + "x"),
    ("number in a spec", _FLOAT.fullmatch, lambda n: "1" * n + "x"),
    ("fraction in a spec", _FLOAT.fullmatch, lambda n: "1." + "1" * n + "ex"),
    ("whole number in a spec", _UINT.fullmatch, lambda n: "0" * n + "x"),
    ("spec of digits", lint, lambda n: _SPEC.replace("1", "1" * n)),
    ("spec of brackets", lint, lambda n: "[" * n),
    ("spec of dashes", lint, lambda n: "- " * n),
    ("spec of spaces", lint, lambda n: "a:\n" + " " * n + "b"),
    ("spec of lines", lint, lambda n: "a\n" * n),
    ("cursor", parse_cursor, lambda n: "a1:1:" + ",".join(["1"] * n) + ","),
    ("cursor of runners", parse_cursor, lambda n: "a1:1:" + ".r=1" * n + "."),
    ("named cursor", lambda text: parse_id_cursor(text, ()), lambda n: "1," * n),
    ("time", parse_time, lambda n: "2026-01-01T00:00:00." + "1" * n),
    ("JSON of spaces", lambda text: first_value(text.encode()), lambda n: " " * n),
    ("JSON of escapes", lambda text: first_value(text.encode()), lambda n: '"' + '\\"' * n),
    ("JSON of digits", lambda text: first_value(text.encode()), lambda n: "1" * n),
    ("JSON of lists", lambda text: first_value(text.encode()), lambda n: "[" + "[]," * n),
    ("DNS name", _DNS_NAME.fullmatch, lambda n: "a." * n + "_"),
    ("DNS name of one label", _DNS_NAME.fullmatch, lambda n: "a-" * n + "_"),
    ("key", _KEY_NAME.fullmatch, lambda n: "a." * n),
    ("CPU", _CPU.fullmatch, lambda n: "1" * n + "x"),
    ("memory", _MEMORY.fullmatch, lambda n: "1" * n + "x"),
    ("gRPC's refusal", _TOO_LARGE.search, lambda n: "message larger than max (1" * n),
    ("terminal control", lambda text: _CONTROL.sub("", text), lambda n: "\x1b[1" * n),
    ("secrets", Scrubber(["hunter2", "aaaa"]).text, lambda n: "hunter" * n),
    ("overlapping secrets", Scrubber(["aaaa", "aaab"]).text, lambda n: "a" * n),
    ("cut", lambda text: _CUT.search(text.encode()), lambda n: "\n[... 1" * n),
]


@pytest.fixture(autouse=True)
def _without_garbage_collection() -> Iterator[None]:
    """A full collection costs what the whole test process holds, at every few objects read."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("read", "text"), [case[1:] for case in READERS], ids=[case[0] for case in READERS]
)
def test_twice_the_text_takes_about_twice_the_cpu_time(
    read: Callable[[str], object], text: Callable[[int], str]
) -> None:
    def cpu_time(n: int) -> float:
        given = text(n)
        return min(once(given) for _ in range(4))

    def once(given: str) -> float:
        begun = time.thread_time()
        with contextlib.suppress(Exception):
            read(given)
        return time.thread_time() - begun

    n = 16
    # In small steps: with one that doubles, an exponential reader would never return.
    while once(text(n)) < MEASURABLE and n < 600_000:
        n = n * 5 // 4

    assert cpu_time(n * 5 // 4) < 3 * cpu_time(n) + MEASURABLE, f"exponential from {n}"
    # Where memory comes from changes with the size, and other processes use the caches: one of
    # three steps is linear if the reader is, and none if it is quadratic.
    times = [cpu_time(n * factor) for factor in (1, 2, 4, 8)]
    steps = [later / earlier for earlier, later in itertools.pairwise(times)]
    assert min(steps) < 3, f"not linear from {n}: {times}"
