from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.spec import Finding, LoadResult, Sequence, Severity, Source, check_sources

if TYPE_CHECKING:
    from collections.abc import Callable

    Load = Callable[..., LoadResult]
    Check = Callable[..., list[Finding]]


def sequence(result: LoadResult, name: str = "s") -> Sequence:
    assert result.specs is not None, result.findings
    return result.specs.sequences[name]


def default(load: Load, text: str) -> object:
    result = load(f"""
    sequences:
      s:
        args:
          static: [{{name: x, default: {text}}}]
        nodes:
          n: {{category: job, type: t, args: [{{expected: x}}]}}
    """)
    return sequence(result).args.static[0].default


@pytest.mark.parametrize(
    "text", ["1.50", "yes", "0x10", "2020-01-01", "1_000", "100", "on", "1e3", "0o7", ".5", "NaN"]
)
def test_a_scalar_keeps_the_text_it_was_written_with(load: Load, text: str) -> None:
    assert default(load, text) == text


@pytest.mark.parametrize("text", ['"yes"', "'yes'"])
def test_quotes_are_not_part_of_a_text(load: Load, text: str) -> None:
    assert default(load, text) == "yes"


def test_a_null_default_is_missing_and_an_empty_one_is_given(check: Check, load: Load) -> None:
    for text in ("null", "~", ""):
        findings = check(f"""
        sequences:
          s:
            args: {{optional: [{{name: x, default: {text}}}]}}
            nodes: {{n: {{category: job, type: t, args: [{{expected: x}}]}}}}
        """)
        assert [finding.code for finding in findings] == ["default-missing"]
    assert default(load, '""') == ""


def test_the_keys_of_eq_keep_their_text(load: Load) -> None:
    result = load("""
    sequences:
      s:
        args: {required: [{name: x}]}
        nodes:
          n: {category: conditional, if: x, eq: {yes: noop, 1: noop, true: noop, 1.0: noop}}
    """)

    branches = sequence(result).nodes["n"].eq
    assert [branch.value for branch in branches] == ["yes", "1", "true", "1.0"]


@pytest.mark.parametrize("word", ["true", "yes", "on", "y", "True", "YES"])
def test_the_boolean_words_of_yaml_1_1_are_true(load: Load, word: str) -> None:
    result = load(
        f"sequences: {{s: {{request: {word}, nodes: {{n: {{category: job, type: t}}}}}}}}"
    )

    assert sequence(result).request


@pytest.mark.parametrize(
    ("text", "number"),
    [("3", 3), ("2.0", 2), ("1.5", 1), ("0x10", 16), ("010", 8), ("0b11", 3), ("1_000", 1000)],
)
def test_whole_numbers_are_read_as_in_the_original(load: Load, text: str, number: int) -> None:
    result = load(f"sequences: {{s: {{nodes: {{n: {{category: job, type: t, retry: {text}}}}}}}}}")

    assert sequence(result).nodes["n"].retry == number


def test_defaults_of_a_node_are_filled_in(load: Load) -> None:
    result = load("""
    sequences:
      s:
        args: {required: [{name: a}, {name: b}]}
        nodes:
          m:
            category: job
            type: t
            args: [{expected: a}, {expected: c, given: b}]
            sets: [{arg: d}, {arg: e, as: f}]
            retry: 2
          n: {category: job, type: t, retry: 2, retryWait: 5s, deps: [m]}
          o: {category: job, type: t, args: [{expected: d}, {expected: f}], deps: [m]}
    """)

    nodes = sequence(result).nodes
    assert [(arg.expected, arg.given) for arg in nodes["m"].args] == [("a", "a"), ("c", "b")]
    assert [(entry.arg, entry.as_) for entry in nodes["m"].sets] == [("d", "d"), ("e", "f")]
    assert [nodes[name].retry_wait for name in "mno"] == ["0s", "5s", ""]
    assert [dep.name for dep in nodes["n"].deps] == ["m"]


def test_sets_can_be_written_as_plain_names(load: Load) -> None:
    result = load("""
    sequences:
      s:
        nodes:
          m: {category: job, type: t, sets: [a, {arg: b}]}
          n: {category: job, type: t, args: [{expected: a}, {expected: b}], deps: [m]}
    """)

    entries = sequence(result).nodes["m"].sets
    assert [(entry.arg, entry.as_) for entry in entries] == [("a", "a"), ("b", "b")]


def test_anchors_and_merge_keys_work_and_the_nearer_value_wins(load: Load) -> None:
    result = load("""
    sequences:
      s:
        nodes:
          m: &job {category: job, type: t, retry: 3}
          n:
            <<: *job
            type: other
          o:
            <<: [{type: first}, *job]
    """)

    nodes = sequence(result).nodes
    assert (nodes["n"].category, nodes["n"].type, nodes["n"].retry) == ("job", "other", 3)
    assert (nodes["o"].type, nodes["o"].retry) == ("first", 3)


def test_of_two_equal_keys_the_last_one_counts_with_a_warning(load: Load) -> None:
    result = load("""
    sequences:
      s: {nodes: {n: {category: job, type: a}}}
      s:
        nodes:
          n: {category: job, type: b, type: c}
    """)

    assert [(f.code, f.severity, f.line) for f in result.findings] == [
        ("duplicate-key", Severity.WARNING, 4),
        ("duplicate-key", Severity.WARNING, 6),
    ]
    assert sequence(result).nodes["n"].type == "c"


def test_only_the_first_document_is_read_with_a_warning(load: Load) -> None:
    result = load("sequences: {s: {nodes: {n: {category: job, type: a}}}}\n---\nmore: true\n")

    assert [(f.code, f.line) for f in result.findings] == [("extra-document", 3)]


def test_invalid_yaml_is_reported_at_its_position(check: Check) -> None:
    (finding,) = check("sequences:\n  s: [\n  t: {\n")

    assert (finding.code, finding.severity) == ("yaml-syntax", Severity.ERROR)
    assert finding.line >= 2


def test_all_findings_of_all_files_are_reported_in_one_run(check: Check) -> None:
    findings = check(
        a="sequences: {s: {nodes: {n: {category: jib, type: a}}}}",
        b="sequences: {t: {nodes: {n: {category: job, type: a, deps: [m], retry: x}}}}",
        c="sequences: [",
    )

    assert [(f.file, f.code) for f in findings] == [
        ("a.yaml", "category-unknown"),
        ("b.yaml", "unknown-dep"),
        ("b.yaml", "wrong-type"),
        ("c.yaml", "yaml-syntax"),
    ]


@pytest.mark.parametrize(
    "tree", ["[" * 300_000, "[" * 9_000 + "]" * 9_000, "{a: " * 300_000, "\n" + "- " * 300_000]
)
def test_a_tree_that_is_too_deep_is_an_error_and_no_crash(check: Check, tree: str) -> None:
    (finding,) = check(f"sequences: {tree}")

    assert (finding.code, finding.message) == ("yaml-syntax", "nested deeper than 200 levels")


def test_many_brackets_that_are_not_nested_are_no_depth(check: Check) -> None:
    assert not check(
        "sequences: {s: {nodes: {n: {category: job, type: t, deps: []}}}} # " + "[" * 300
    )


def test_aliases_cannot_expand_a_small_file_without_limit(check: Check) -> None:
    deps = ", ".join(["n0"] * 2_000)
    nodes = "".join(f"      n{i}: {{category: job, type: t, deps: *all}}\n" for i in range(2_000))
    text = f"sequences:\n  s:\n    nodes:\n      a: {{deps: &all [{deps}]}}\n{nodes}"

    codes = {finding.code for finding in check(text)}

    assert codes == {"yaml-syntax"}


def test_very_many_faults_are_all_reported_in_time(check: Check) -> None:
    nodes = "".join(
        f"      n{i}: {{category: job, type: t, deps: [m{i}], args: [{{expected: x{i}}}]}}\n"
        for i in range(3_000)
    )

    findings = check(f"sequences:\n  s:\n    nodes:\n{nodes}")

    assert len(findings) == 6_000


YAML_PIECES = st.sampled_from(
    [
        "sequences:",
        "nodes:",
        "s:",
        "n:",
        "category: job",
        "type: noop",
        "args:",
        "- ",
        "  ",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "each: [a:b]",
        "deps: [n]",
        "&a ",
        "*a",
        "<<: *a",
        "{",
        "}",
        "[",
        "]",
        "? ",
        ": ",
        "~",
        "'",
        '"',
        "|",
        "#",
        "!!int 3",
        "\t",
        "é",
        "\x00",
        "eq: {a: s}",
    ]
)


@given(st.lists(YAML_PIECES, max_size=40).map("".join))
def test_any_text_gives_specs_or_findings_and_never_an_exception(text: str) -> None:
    result = check_sources([Source("test.yaml", text)])

    assert (result.specs is None) == any(f.severity is Severity.ERROR for f in result.findings)
