from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from spincycle.errors import InvalidArgs
from spincycle.graph import CheckedArgs, check_args, declared_args
from spincycle.spec import Sequence, Source, check_sources

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value

SPEC = """
sequences:
  r:
    request: true
    args:
      required:
        - {name: hosts, desc: where, type: list, min: 1, max: 3, pattern: "[a-z0-9.]+"}
        - {name: count, type: int, min: 1, max: 10}
      optional:
        - {name: mode, enum: [fast, safe], default: fast}
        - {name: force, type: bool, default: no}
        - {name: wait, type: duration, max: 1h, default: 10s}
        - {name: note, type: string, max: 5, default: ""}
        - {name: token, secret: true, pattern: "[a-f]+", default: abc}
        - {name: anything, default: 1.50}
      static:
        - {name: channel, default: "#ops"}
    nodes:
      n:
        category: job
        type: t
        args:
          - {expected: a, given: hosts}
          - {expected: b, given: count}
          - {expected: c, given: mode}
          - {expected: d, given: force}
          - {expected: e, given: wait}
          - {expected: f, given: note}
          - {expected: g, given: token}
          - {expected: h, given: anything}
          - {expected: i, given: channel}
"""


def request(text: str = SPEC) -> Sequence:
    result = check_sources([Source("test.yaml", dedent(text))])
    assert result.specs is not None, result.findings
    return result.specs.sequences["r"]


def checked(**given: Value) -> CheckedArgs:
    return check_args(request(), {"hosts": ["x"], "count": 1, **given})


def problems(**given: Value) -> dict[str, str]:
    with pytest.raises(InvalidArgs) as error:
        checked(**given)
    return {violation.field: violation.description for violation in error.value.violations}


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("hosts", "a, b,c", ["a", "b", "c"]),
        ("hosts", ["a"], ["a"]),
        ("count", "5", 5),
        ("count", 5.0, 5),
        ("force", "Yes", True),
        ("force", False, False),
        ("wait", "1m", "1m"),
        ("anything", {"a": [1]}, {"a": [1]}),
        ("anything", None, None),
        ("mode", "safe", "safe"),
    ],
)
def test_a_value_is_converted_to_its_type(name: str, given: Value, value: Value) -> None:
    assert checked(**{name: given}).values[name] == value


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("hosts", "", "must be at least 1 elements long"),
        ("hosts", "a,b,c,d", "must be at most 3 elements long"),
        ("hosts", ["A!"], "must match the pattern"),
        ("hosts", 5, "must be a list"),
        ("count", "many", "must be a whole number"),
        ("count", 1.5, "must be a whole number"),
        ("count", True, "must be a whole number"),
        ("count", "99999999999999999999", "use the type string for larger ones"),
        ("count", 11, "must be at most 10"),
        ("mode", "slow", "must be one of fast, safe"),
        ("mode", None, "must be a string or a number"),
        ("force", "perhaps", "must be true or false"),
        ("wait", "2h", "must be at most 1h"),
        ("wait", "soon", "must be a duration"),
        ("wait", 10, "must be a duration"),
        ("note", "too long", "must be at most 5 characters long"),
        ("note", 5, "must be a string"),
        ("channel", "#dev", "is static and cannot be given"),
        ("anything", float("inf"), "is not finite"),
        ("anything", 2**53, "write it as text"),
        ("anything", -(2**53), "write it as text"),
        ("anything", 1234567890123456789, 'argument "anything": a number beyond'),
        ("anything", 1.5e16, "write it as text"),
        ("anything", 1e300, "write it as text"),
        ("count", 2**60, "write it as text"),
        ("count", float(2**60), "write it as text"),
    ],
)
def test_an_invalid_value_is_rejected_with_the_reason(
    name: str, given: Value, problem: str
) -> None:
    assert problem in problems(**{name: given})[f"args.{name}"]


@pytest.mark.parametrize("number", [2**53 - 1, -(2**53) + 1, float(2**53 - 1), 0.5, -0.0, True])
def test_a_number_up_to_the_bound_is_accepted(number: float) -> None:
    assert checked(anything=[number]).values["anything"] == [number]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ([1, 2**53], "[1]"),
        ([{"id": 1.5e16}], "[0].id"),
        ({"a": {"b": [[-(2**53)]]}}, ".a.b[0][0]"),
    ],
)
def test_a_number_beyond_the_bound_is_found_within_lists_and_maps(given: Value, path: str) -> None:
    found = problems(anything=given)

    assert list(found) == [f"args.anything{path}"]
    assert path.removeprefix(".") in found[f"args.anything{path}"]
    assert str(2**53) not in found[f"args.anything{path}"]


def test_an_extra_argument_may_not_hold_a_number_beyond_the_bound_either() -> None:
    open_request = request(SPEC.replace("request: true", "request: true\n    allow_extra: true"))
    needed: dict[str, Value] = {"hosts": ["x"], "count": 1}

    assert "extra" not in check_args(open_request, {**needed, "extra": 5}).values
    with pytest.raises(InvalidArgs) as error:
        check_args(open_request, {**needed, "extra": {"most": [2**53]}, "other": float("nan")})

    assert [violation.field for violation in error.value.violations] == [
        "args.extra.most[0]",
        "args.other",
    ]


@pytest.mark.parametrize("kind", ["optional", "static"])
def test_a_large_number_in_a_spec_is_the_text_that_was_written(kind: str) -> None:
    spec = f"""
    sequences:
      r:
        request: true
        args:
          {kind}:
            - {{name: id, default: 1234567890123456789}}
        nodes:
          n: {{category: job, type: t, args: [{{expected: id}}]}}
    """

    assert check_args(request(spec), {}).values == {"id": "1234567890123456789"}


@pytest.mark.parametrize("default", ["1234567890123456789", "9007199254740992"])
def test_a_default_of_type_int_beyond_the_bound_is_a_finding(default: str) -> None:
    spec = SPEC.replace(
        "{name: anything, default: 1.50}", f"{{name: a, type: int, default: {default}}}"
    )

    found = check_sources([Source("test.yaml", dedent(spec))]).findings

    assert [finding.code for finding in found if finding.code == "default-invalid"]


def test_all_violations_are_reported_at_once() -> None:
    with pytest.raises(InvalidArgs) as error:
        check_args(request(), {"count": "x", "chanel": 1, "hots": 2})

    assert [violation.field for violation in error.value.violations] == [
        "args.chanel",
        "args.hots",
        "args.hosts",
        "args.count",
    ]
    assert "required arg 'hosts' not set" in error.value.message


def test_an_undeclared_argument_is_named_with_the_nearest_one() -> None:
    assert problems(cuont=1)["args.cuont"] == (
        'request r has no argument "cuont" (did you mean "count"?)'
    )


def test_allow_extra_lets_undeclared_arguments_pass_but_not_static_ones() -> None:
    sequence = request(SPEC.replace("request: true", "request: true\n    allow_extra: true"))

    given: dict[str, Value] = {"hosts": ["x"], "count": 1, "more": 1}
    assert "more" not in check_args(sequence, given).values
    with pytest.raises(InvalidArgs, match="static"):
        check_args(sequence, given | {"channel": "x"})


def test_the_record_lists_the_declared_arguments_with_place_and_description() -> None:
    args = {arg.name: arg for arg in checked(wait="1s").args}

    hosts, wait, channel = args["hosts"], args["wait"], args["channel"]
    assert (hosts.pos, hosts.desc, hosts.type, hosts.given) == (0, "where", "required", True)
    assert (hosts.value, hosts.default, hosts.value_type) == (["x"], None, "list")
    assert (wait.pos, wait.given, wait.default, wait.value) == (2, True, "10s", "1s")
    assert (channel.given, channel.default, channel.value) == (False, None, "#ops")
    assert (args["force"].given, args["force"].value) == (False, False)
    assert args["anything"].value == "1.50"
    assert args["token"].secret


def test_a_null_counts_as_given_for_a_required_argument_without_type() -> None:
    sequence = request("""
    sequences:
      r:
        request: true
        args: {required: [{name: x}]}
        nodes: {n: {category: job, type: t, args: [{expected: x}]}}
    """)

    assert check_args(sequence, {"x": None}).values == {"x": None}


def test_a_violation_does_not_contain_a_secret_value() -> None:
    assert "hunter2" not in problems(token="hunter2")["args.token"]


def test_static_arguments_are_not_in_the_list_of_arguments() -> None:
    assert "channel" not in {arg.name for arg in declared_args(request())}
