"""Findings that need more than one fault, or must not occur; see also broken.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.spec import Finding, JobTypeRule, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[..., list[Finding]]


def codes(findings: list[Finding], severity: Severity = Severity.ERROR) -> list[str]:
    return [finding.code for finding in findings if finding.severity is severity]


def test_an_unknown_dep_is_named_with_the_nearest_node(check: Check) -> None:
    (finding,) = check("""
    sequences:
      s:
        nodes:
          restart: {category: job, type: t}
          wait: {category: job, type: t, deps: [restrat]}
    """)

    assert (finding.code, finding.sequence, finding.node) == ("unknown-dep", "s", "wait")
    assert finding.values == ("restrat",)
    assert 'did you mean "restart"?' in finding.message


def test_using_what_a_node_sets_needs_that_node_to_come_first(check: Check) -> None:
    (finding,) = check("""
    sequences:
      s:
        nodes:
          a-setter: {category: job, type: t, sets: [x]}
          user: {category: job, type: t, args: [{expected: x}]}
    """)

    assert (finding.code, finding.node) == ("arg-not-set", "user")
    assert finding.advice == 'add "a-setter" to deps'


def test_an_ancestor_may_be_far_away(check: Check) -> None:
    assert not check("""
    sequences:
      s:
        nodes:
          d: {category: job, type: t, sets: [x]}
          c: {category: job, type: t, deps: [d]}
          e: {category: job, type: t, deps: [d]}
          b: {category: job, type: t, deps: [c, e]}
          a: {category: job, type: t, args: [{expected: x}], deps: [b]}
    """)


def test_a_cycle_is_reported_once_with_its_path(check: Check) -> None:
    (finding,) = check("""
    sequences:
      s:
        nodes:
          a: {category: job, type: t, deps: [c, start]}
          b: {category: job, type: t, deps: [a]}
          c: {category: job, type: t, deps: [b]}
          start: {category: job, type: t}
          after: {category: job, type: t, deps: [c]}
    """)

    assert finding.code == "dependency-cycle"
    assert "a -> c -> b -> a" in finding.message


def test_callers_of_a_sequence_with_errors_fail_and_others_do_not(check: Check) -> None:
    findings = check("""
    sequences:
      bad: {nodes: {n: {category: job, type: t, deps: [n]}}}
      good: {nodes: {n: {category: job, type: t}}}
      caller: {nodes: {n: {category: sequence, type: bad}}}
      chooser:
        args: {required: [{name: x}]}
        nodes: {n: {category: conditional, if: x, eq: {a: bad, default: good}}}
      far: {nodes: {n: {category: sequence, type: caller}}}
      apart: {nodes: {n: {category: sequence, type: good}}}
    """)

    failed = {f.sequence for f in findings if f.code == "sequence-failed"}
    assert failed == {"caller", "chooser", "far"}


def test_sequences_that_call_each_other_all_fail_also_through_a_conditional(check: Check) -> None:
    findings = check("""
    sequences:
      one: {nodes: {n: {category: sequence, type: two}}}
      two:
        args: {static: [{name: x, default: a}]}
        nodes: {n: {category: conditional, if: x, eq: {a: three, default: noop}}}
      three: {nodes: {n: {category: sequence, type: one}}}
    """)

    errors = [f for f in findings if f.severity is Severity.ERROR]
    assert [(f.code, f.sequence) for f in errors] == [
        ("sequence-cycle", "one"),
        ("sequence-cycle", "two"),
        ("sequence-cycle", "three"),
    ]


def test_what_a_conditional_sets_must_be_set_by_all_of_its_sequences(check: Check) -> None:
    findings = check("""
    sequences:
      s:
        request: true
        args: {required: [{name: x}]}
        nodes:
          n:
            category: conditional
            if: x
            eq: {a: both, default: one}
            sets: [p, q, r]
          m:
            category: job
            type: t
            args: [{expected: p}, {expected: q}, {expected: r}]
            deps: [n]
      both: {nodes: {n: {category: job, type: t, sets: [p, q]}}}
      one: {nodes: {n: {category: job, type: t, sets: [p]}}}
    """)

    missing = [(f.values, f.message) for f in findings if f.code == "sets-not-guaranteed"]
    assert [values for values, _ in missing] == [("q",), ("r",)]
    assert missing[0][1].startswith("one does not")
    assert missing[1][1].startswith("both and one does not")


def test_an_arg_that_one_target_needs_must_be_passed_and_the_if_arg_does_not_count(
    check: Check,
) -> None:
    findings = check("""
    sequences:
      s:
        args: {required: [{name: x}]}
        nodes: {n: {category: conditional, if: x, eq: {a: needs, default: noop}}}
      needs:
        args: {required: [{name: x}]}
        nodes: {n: {category: job, type: t, args: [{expected: x}]}}
    """)

    assert codes(findings) == ["required-arg-missing"]
    assert "needs" in findings[0].message


def test_an_arg_that_any_target_takes_is_not_superfluous(check: Check) -> None:
    assert not check("""
    sequences:
      s:
        args: {required: [{name: x}, {name: xs}]}
        nodes:
          n:
            category: conditional
            if: x
            eq: {a: required, default: optional}
            each: ["xs:y"]
            args: [{expected: x}]
      required:
        args: {required: [{name: x}]}
        nodes: {n: {category: job, type: t, args: [{expected: x}]}}
      optional:
        args: {optional: [{name: y, default: ""}]}
        nodes: {n: {category: job, type: t, args: [{expected: y}]}}
    """)


def test_a_static_arg_cannot_be_passed(check: Check) -> None:
    (finding,) = check("""
    sequences:
      s:
        args: {required: [{name: x}]}
        nodes: {n: {category: sequence, type: t, args: [{expected: x}]}}
      t:
        args: {static: [{name: x, default: a}]}
        nodes: {n: {category: job, type: t, args: [{expected: x}]}}
    """)

    assert (finding.code, finding.severity) == ("extra-arg", Severity.WARNING)
    assert "static" in finding.message


def test_branches_of_a_typed_arg_are_checked_against_what_it_can_be(check: Check) -> None:
    findings = check("""
    sequences:
      s:
        args:
          required:
            - {name: force, type: bool}
            - {name: size, enum: [small, large]}
        nodes:
          n: {category: conditional, if: force, eq: {yes: noop, default: noop}}
          m: {category: conditional, if: size, eq: {small: noop, large: noop, default: noop}}
          o: {category: conditional, if: size, eq: {small: noop}}
    """)

    assert [(f.code, f.node, f.values) for f in findings] == [
        ("unreachable-branch", "n", ("yes",)),
        ("unreachable-branch", "m", ("default",)),
        ("no-branch", "o", ("large",)),
    ]


def test_setting_a_name_twice_within_one_node_is_one_finding_only(check: Check) -> None:
    findings = check("""
    sequences:
      s: {nodes: {n: {category: job, type: t, sets: [x, x]}}}
    """)

    assert codes(findings) == ["sets-as-duplicate"]
    assert "set-twice" not in codes(findings, Severity.WARNING)


def test_an_unknown_job_type_is_a_warning_or_an_error_as_configured(check: Check) -> None:
    text = (
        "sequences: {s: {nodes: {n: {category: job, type: sleap}, m: {category: job, type: noop}}}}"
    )
    for severity in Severity:
        (finding,) = check(text, job_types=JobTypeRule(frozenset({"sleep"}), severity))
        assert (finding.code, finding.severity) == ("unknown-job-type", severity)
        assert 'did you mean "sleep"?' in finding.message
    assert not check(text)


def test_specs_may_declare_their_own_noop(check: Check) -> None:
    assert not check("sequences: {noop: {nodes: {n: {category: job, type: t}}}}")


def test_retrying_sequences_of_no_ops_is_idle_however_deep(check: Check) -> None:
    findings = check("""
    sequences:
      s:
        nodes:
          idle: {category: sequence, type: outer, retry: 1}
          busy: {category: sequence, type: works, retry: 1}
      outer: {nodes: {n: {category: sequence, type: noop}}}
      works: {nodes: {n: {category: job, type: t}}}
    """)

    assert [(f.code, f.node) for f in findings] == [("retry-never-applies", "idle")]


def test_a_set_that_a_caller_sets_is_used(check: Check) -> None:
    findings = check("""
    sequences:
      s:
        nodes:
          n: {category: sequence, type: t, sets: [x]}
          m: {category: job, type: t, args: [{expected: x}], deps: [n]}
      t: {nodes: {n: {category: job, type: t, sets: [x, y]}}}
    """)

    assert [(f.code, f.values) for f in findings] == [("unused-set", ("y",))]


def test_the_order_of_files_keys_and_nodes_changes_no_finding(check: Check) -> None:
    one = "sequences: {s: {nodes: {n: {category: job, type: a, deps: [x]}}}}"
    two = "sequences: {t: {nodes: {n: {category: sequence, type: s}}}}"

    assert check(a=one, b=two) == check(b=two, a=one)
