"""Patterns are RE2 expressions that match whole texts in linear time."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.graph import Expander, Limits
from spincycle.graph.expansion import QUICK_STEPS
from spincycle.job.builtin import jobs
from spincycle.model.job_chain import Value
from spincycle.spec import Source, check_sources
from spincycle.spec.arg_type import ArgType
from spincycle.spec.pattern import MAX_LENGTH, MAX_STEPS, InvalidPattern, Pattern

REJECTED = [
    ("(?=a)a", "look-ahead is not supported"),
    ("(?!a)b", "list what is allowed, or use enum"),
    ("(?<=a)b", "look-behind is not supported"),
    ("(?<!a)b", "list what is allowed, or use enum"),
    (r"(a)\1", "write that part again"),
    ("(?P<n>a)(?P=n)", "write that part again"),
    ("(?>a)", "write (?: for (?>"),
    ("a++", "write +"),
    ("a*+", "write *"),
    (r"a\Z", r"write \z"),
    (r"\u00e9", r"write \x{…}"),
    (r"\N{DASH}", r"write \x{…}"),
    (r"[\b]", r"write \x08"),
    ("(?x)a b", "without spaces"),
    ("(?a)a", "always ASCII"),
    ("(?u)a", r"\p{L} is any letter"),
    ("(?#c)a", "put them into desc"),
    ("(?(1)a|b)", "alternatives with |"),
    ("a{1001}", "at most 1000"),
    ("a{2,1}", "the smaller number first"),
    (r"\pL{1,1000}", "too large"),
    ("a" * (MAX_LENGTH + 1), "at most 4096 are allowed"),
    ("\ud800", "not valid Unicode"),
    ("[", "missing ]"),
]

INTERPRETED_DIFFERENTLY = [
    ("a{,3}", "write {0,3}, or \\{,3\\}"),
    ("a{,}", "write {0,}"),
    ("a{01}", "write {1}"),
    ("a{1,02}", "write {1,2}"),
    ("a{1000000000}", "at most 1000 times"),
    (r"\p{Greek}{,3}", "write {0,3}"),
]


@pytest.mark.parametrize(("text", "advice"), REJECTED + INTERPRETED_DIFFERENTLY)
def test_a_pattern_that_re2_rejects_or_interprets_differently_is_rejected_with_a_replacement(
    text: str, advice: str
) -> None:
    with pytest.raises(InvalidPattern, match=re.escape(advice)):
        Pattern(text)


@pytest.mark.parametrize(
    "text", ["a{}", "[{,3}]", r"\{,3}", r"\x{41}{2}", r"\Qa{,3}\Eb", r"[\]{,3}]", "[]{,3}]"]
)
def test_braces_that_are_literal_in_python_too_are_accepted(text: str) -> None:
    assert not Pattern(text).check(["no match"])


def test_a_rejected_pattern_is_a_lint_error_at_its_position() -> None:
    text = (
        "sequences:\n  s:\n    args:\n      required:\n        - name: host\n"
        "          pattern: '(?!x)[a-z]+'\n"
        "    nodes:\n      n: {category: job, type: noop, args: [{expected: host}]}\n"
    )

    found = check_sources([Source("a.yaml", text)]).findings

    assert [(f.code, f.place) for f in found] == [("arg-type-invalid", "a.yaml:6:20")]


@given(st.text())
def test_any_text_is_a_pattern_or_rejected(text: str) -> None:
    with contextlib.suppress(InvalidPattern):
        Pattern(text).check(["", text])


@given(
    st.from_regex(r"([a-c]|\[a-b\]|\(a\|b\)|\.|[ab]\{1,2\}|[ab][*+?]){1,6}", fullmatch=True),
    st.text("abc"),
)
def test_a_pattern_that_both_accept_matches_as_in_python(pattern: str, text: str) -> None:
    assert Pattern(pattern).check([text]) == bool(re.fullmatch(pattern, text))


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("[a-z]+", "abc\n", False),
        ("a|b", "ab", False),
        ("a$", "a\n", False),
        (r"\d+", "٣", False),
        (r"\w+", "é", False),
        (r"\p{L}+", "é", True),
        ("[a-z]", "\ud800", False),
    ],
)
def test_the_whole_text_must_match_and_classes_are_ascii(
    pattern: str, text: str, matches: bool
) -> None:
    assert Pattern(pattern).check([text]) is matches


@pytest.mark.timed
@pytest.mark.parametrize(
    "pattern",
    [r"([a-z0-9-]+\.?)+", "(x+x+)+y", "(a*)*b", "(a|a)*b", "(.*a){20}", "(a|b)*a(a|b){1000}"],
)
def test_no_pattern_takes_more_cpu_time_than_its_steps_allow(pattern: str) -> None:
    kind = ArgType(pattern=pattern)
    for text in ("a" * 10_000 + "_", "x" * 10_000 + "_", "ab" * 5_000 + "_"):
        started = time.thread_time()
        with pytest.raises(ValueError, match="must match the pattern"):
            kind.convert(text)
        # A step takes some 10 ns; a machine may be ten times slower.
        assert time.thread_time() - started < kind.pattern_steps(text) * 1e-7 + 0.01


def test_a_text_too_long_for_its_pattern_is_rejected_before_it_is_matched() -> None:
    kind = ArgType(name="list", pattern="(a|b)*a(a|b){1000}")
    text = "a" * (MAX_STEPS // 1000)

    started = time.thread_time()
    with pytest.raises(ValueError, match=r"too long for its pattern: at most 26[0-9]{4} bytes"):
        kind.convert([text[: len(text) // 2], text[len(text) // 2 :]])
    assert time.thread_time() - started < 0.25


SPEC = """
sequences:
  r:
    request: true
    args:
      required:
        - {name: hosts, type: list, pattern: "[a-z0-9.-]+"}
        - {name: word, pattern: "(a|b)*a(a|b){1000}"}
    nodes:
      n: {category: job, type: noop, args: [{expected: hosts}]}
"""


@pytest.mark.timed
async def test_the_largest_values_with_patterns_do_not_pause_the_event_loop() -> None:
    specs = check_sources([Source("a.yaml", SPEC)]).specs
    assert specs
    args: dict[str, Value] = {
        "hosts": [f"host{n}.example" for n in range(250_000)],
        "word": "a" * 100_000,
    }
    expander = Expander(jobs, Limits())
    loop_thread = time.thread_time()
    longest = 0.0

    async def measure() -> None:
        nonlocal longest, loop_thread
        while True:
            longest = max(longest, time.thread_time() - loop_thread)
            loop_thread = time.thread_time()
            await asyncio.sleep(0.001)

    measuring = asyncio.create_task(measure())
    await expander.expand(specs, "r", args, "id")
    await asyncio.sleep(0.01)
    measuring.cancel()
    expander.close()

    assert longest < 0.25
    assert specs.sequences["r"].args.required[0].type.pattern_steps(args["hosts"]) > QUICK_STEPS
