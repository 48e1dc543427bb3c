"""Values that cross the boundary of a sequence, and their secrecy."""

from __future__ import annotations

import math
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from tests.unit.graph.shapes import all_named, named

from spincycle.errors import ChainNotBuilt
from spincycle.graph import Expander, make_plan, plan_hash
from spincycle.graph.plan_drawing import as_dot, as_mermaid
from spincycle.graph.plan_text import as_json, as_text
from spincycle.model.redaction import redacted_args, redacted_chain
from spincycle.model.request_arg import REDACTED
from spincycle.runtime.log_scrubber import LogScrubber

if TYPE_CHECKING:
    from tests.unit.graph.conftest import Workbench

    from spincycle.model.job_chain import Value

SCOPES = """
sequences:
  r:
    request: true
    args:
      required: [{name: x}]
      static: [{name: fixed, default: f}]
    nodes:
      call:
        category: sequence
        type: s
        args: [{expected: passed, given: x}]
        sets: [{arg: made, as: result}]
      use: {category: job, type: u, args: [{expected: result}, {expected: fixed}], deps: [call]}
  s:
    args:
      required: [{name: passed}]
      optional: [{name: own, default: o}]
      static: [{name: fixed, default: other}]
    nodes:
      make:
        category: job
        type: m
        args: [{expected: passed}, {expected: own}, {expected: fixed}]
        sets: [made]
"""


async def test_only_passed_and_set_values_cross_the_boundary_of_a_sequence(
    bench: Workbench,
) -> None:
    bench.jobs.creates["m"] = lambda args: args.update(made="m", stray="s", passed="changed")

    chain = await bench.chain(SCOPES, x=["a"])

    assert named(chain, "make").args == {"passed": ["a"], "own": "o", "fixed": "other"}
    assert named(chain, "use").args == {"result": "m", "fixed": "f"}


async def test_a_job_passes_what_create_set_and_its_plan_shows_its_arguments(
    bench: Workbench,
) -> None:
    def create(args: dict[str, Value]) -> None:
        args["x"] = "changed"

    bench.jobs.creates["t"] = create
    chain = await bench.chain(
        """
        sequences:
          r:
            request: true
            args: {required: [{name: y}]}
            nodes:
              a: {category: job, type: t, args: [{expected: x, given: y}], sets: [x]}
              b: {category: job, type: u, args: [{expected: x}], deps: [a]}
        """,
        y="given",
    )

    assert named(chain, "a").args == {"x": "given"}
    assert named(chain, "b").args == {"x": "changed"}


async def test_a_typed_argument_of_an_inner_sequence_is_checked_too(bench: Workbench) -> None:
    text = SCOPES.replace("{name: passed}", "{name: passed, type: int}").replace("m\n", "m\n")
    bench.jobs.creates["m"] = lambda args: args.update(made=args["passed"])

    chain = await bench.chain(text, x="7")

    assert named(chain, "use").args == {"result": 7, "fixed": "f"}
    with pytest.raises(ChainNotBuilt, match='argument "passed" of s: must be a whole number'):
        await bench.expand(text, x="seven")


async def test_a_conditional_sets_what_the_selected_sequence_set(bench: Workbench) -> None:
    bench.jobs.creates["m"] = lambda args: args.update(made="m")
    text = SCOPES.replace(
        "category: sequence\n        type: s",
        "category: conditional\n        if: fixed\n        eq: {f: s}",
    )

    chain = await bench.chain(text, x="a")

    assert named(chain, "use").args == {"result": "m", "fixed": "f"}


async def test_retries_of_an_element_are_its_own_and_limits_hold_sequences(
    bench: Workbench,
) -> None:
    chain = await bench.chain(
        """
        sequences:
          r:
            request: true
            args: {required: [{name: xs}]}
            timeout: 1h
            nodes:
              s:
                category: sequence
                type: t
                each: ["xs:x"]
                parallel: 1
                retry: 3
                retryWait: 10s
          t:
            args: {required: [{name: x}]}
            nodes:
              n:
                category: job
                type: j
                args: [{expected: x}]
                timeout: 90s
                interruption: fail
              m: {category: job, type: once, deps: [n]}
        """,
        xs=["a", "b"],
    )
    begins, ends = all_named(chain, "sequence_s_begin"), all_named(chain, "sequence_s_end")

    assert [(job.sequence_retry, job.sequence_retry_wait) for job in begins] == [(3, "10s")] * 2
    (limit,) = chain.parallel_limits
    assert limit.elements == tuple((b.id, e.id) for b, e in zip(begins, ends, strict=True))
    assert [job.sequence_id for job in ends] == [job.id for job in begins]
    assert chain.timeout == 3600
    assert all(job.timeout == 90 for job in all_named(chain, "n"))
    assert all(job.fail_if_interrupted for job in all_named(chain, "n"))
    assert not any(job.fail_if_interrupted for job in all_named(chain, "m"))


async def test_a_node_overrides_its_job_types_interruption(
    bench: Workbench,
) -> None:
    bench.jobs.interruptions["once"] = "fail"
    chain = await bench.chain("""
    sequences:
      r:
        request: true
        nodes:
          a: {category: job, type: once}
          b: {category: job, type: once, interruption: run-again}
    """)

    assert named(chain, "a").fail_if_interrupted
    assert not named(chain, "b").fail_if_interrupted


SECRET = """
sequences:
  r:
    request: true
    args: {required: [{name: password, secret: true}, {name: user}]}
    nodes:
      call:
        category: sequence
        type: s
        args: [{expected: word, given: password}, {expected: user}]
        sets: [{arg: word, as: again}]
      use: {category: job, type: u, args: [{expected: p, given: again}], deps: [call]}
  s:
    args: {required: [{name: word}, {name: user}]}
    nodes:
      n: {category: job, type: t, args: [{expected: pw, given: word}, {expected: user}]}
"""


async def test_a_secret_stays_secret_under_every_name_it_is_passed_as(bench: Workbench) -> None:
    expansion = await bench.expand(SECRET, password="hunter2", user="dana")
    chain = expansion.chain

    assert named(chain, "n").args == {"pw": "hunter2", "user": "dana"}
    assert named(chain, "n").secret_args == ("pw",)
    assert named(chain, "use").secret_args == ("p",)
    shown = redacted_chain(chain)
    assert named(shown, "n").args == {"pw": REDACTED, "user": "dana"}
    assert named(shown, "n").bytes == b""
    assert named(chain, "n").args == {"pw": "hunter2", "user": "dana"}
    assert redacted_args(expansion.args)[0].value == REDACTED


async def test_no_rendering_of_a_plan_shows_a_secret(bench: Workbench) -> None:
    expansion = await bench.expand(SECRET, password="hunter2", user="dana")
    plan = make_plan(expansion.chain, expansion.args)

    for text in ("\n".join(as_text(plan)), as_json(plan), *as_dot(plan), *as_mermaid(plan)):
        assert "hunter2" not in text
    assert "dana" in as_json(plan)


async def test_the_plan_hash_does_not_depend_on_a_secret(bench: Workbench) -> None:
    one = await bench.expand(SECRET, password="hunter2", user="dana")
    two = await bench.expand(SECRET, password="other", user="dana")
    three = await bench.expand(SECRET, password="hunter2", user="kim")

    assert one.plan_hash == two.plan_hash != three.plan_hash


async def test_the_error_of_a_rejecting_job_does_not_contain_a_secret(bench: Workbench) -> None:
    def refuse(args: dict[str, Value]) -> None:
        raise ValueError(f"cannot log in as {args['user']} with {args['pw']}")

    bench.jobs.creates["t"] = refuse

    with pytest.raises(ChainNotBuilt) as error:
        await bench.expand(SECRET, password="hunter2", user="dana")

    assert "as dana with (secret)" in str(error.value)
    assert "hunter2" not in error.value.cause


async def test_the_error_of_a_rejecting_job_does_not_contain_an_earlier_jobs_secret_encoded(
    bench: Workbench,
) -> None:
    given: list[Value] = []

    def keep(args: dict[str, Value]) -> None:
        given.append(args["p"])

    def refuse(args: dict[str, Value]) -> None:
        raise ValueError(f"earlier: {b64encode(str(given[0]).encode())!r}")

    bench.jobs.creates |= {"keep": keep, "t": refuse}
    specs = """
    sequences:
      r:
        request: true
        args: {required: [{name: password, secret: true}]}
        nodes:
          one: {category: job, type: keep, args: [{expected: p, given: password}]}
          two: {category: job, type: t, deps: [one]}
    """

    with pytest.raises(ChainNotBuilt, match=r"earlier: b'\(secret\)'"):
        await bench.expand(specs, password="hunter2")


async def test_what_a_job_logs_in_create_has_no_secret(bench: Workbench) -> None:
    log = LogScrubber()
    lines: list[object] = []

    def create(args: dict[str, Value]) -> None:
        line = {"event": f"log in with {args['pw']}", "library": True}
        lines.append(log(None, "error", line)["event"])

    bench.jobs.creates["t"] = create
    expander = Expander(bench.jobs, on_secrets=log.add)
    args: dict[str, Value] = {"password": "hunter2", "user": "dana"}
    await expander.expand(bench.specs(SECRET), "r", args, "request-id")
    expander.close()

    assert lines == ["log in with (secret)"]


SETS = """
sequences:
  r:
    request: true
    args: {required: [{name: password, secret: true}, {name: host}]}
    nodes:
      open:
        category: job
        type: open
        args: [{expected: password}, {expected: host}]
        sets: [{arg: url}]
      use: {category: job, type: u, args: [{expected: url}, {expected: host}], deps: [open]}
"""


@pytest.mark.parametrize(
    "url", ["https://dana:hunter2@{host}", {"header": ["Basic OmRhbmE6aHVudGVyMg=="]}]
)
async def test_a_value_that_a_job_sets_is_secret_if_it_contains_the_jobs_secret(
    bench: Workbench, url: Value
) -> None:
    bench.jobs.creates["open"] = lambda args: args.update(url=url)

    chain = await bench.chain(SETS, password="hunter2", host="web1")

    assert named(chain, "use").secret_args == ("url",)
    assert named(chain, "use").args == {"url": url, "host": "web1"}


async def test_other_values_that_a_job_with_a_secret_sets_are_shown(bench: Workbench) -> None:
    bench.jobs.creates["open"] = lambda args: args.update(url="https://web1")

    chain = await bench.chain(SETS, password="hunter2", host="web1")

    assert named(chain, "use").secret_args == ()


async def test_the_error_of_a_value_that_cannot_be_stored_does_not_contain_a_secret(
    bench: Workbench,
) -> None:
    bench.jobs.creates["open"] = lambda args: args.update(url={str(args["password"]): math.nan})

    with pytest.raises(ChainNotBuilt) as error:
        await bench.expand(SETS, password="hunter2", host="web1")

    assert "(secret): a number is not finite" in str(error.value)
    assert "hunter2" not in error.value.cause


async def test_two_expansions_of_one_request_differ_in_ids_only(bench: Workbench) -> None:
    one, two = [await bench.chain(SECRET, password="x", user="y") for _ in range(2)]

    assert one.jobs.keys() != two.jobs.keys()
    assert plan_hash(one) == plan_hash(two)
    assert [job.name for job in one.jobs.values()] == [job.name for job in two.jobs.values()]


async def test_the_plan_hash_ignores_a_request_id_that_a_job_puts_in_a_path(
    bench: Workbench,
) -> None:
    chains = []
    for request_id in ("", "dc2c0938di121n1t4i90"):
        chain = await bench.chain(SECRET, password="x", user="y")
        chain.request_id = request_id
        for job in chain.jobs.values():
            job.args = {"directory": f"/var/fleet-{request_id}", "user": "y"}
        chains.append(chain)

    plan, made = chains

    assert plan_hash(plan) == plan_hash(made)
    next(iter(made.jobs.values())).args = {"directory": "/var/fleet-another"}
    assert plan_hash(plan) != plan_hash(made)


async def test_a_secret_that_an_empty_each_keeps_stays_secret(bench: Workbench) -> None:
    chain = await bench.chain(
        """
        sequences:
          r:
            request: true
            args: {required: [{name: x, secret: true}, {name: list}]}
            nodes:
              a: {category: job, type: t, each: ["list:y"], sets: [x]}
              b: {category: job, type: u, args: [{expected: x}], deps: [a]}
        """,
        x="hunter2",
        list=[],
    )

    assert named(chain, "b").args == {"x": "hunter2"}
    assert named(chain, "b").secret_args == ("x",)


@pytest.mark.parametrize(
    ("node", "sequence", "timeout"), [("1m", "2m", 60), ("2m", "1m", 60), ("", "2m", 120)]
)
async def test_of_two_timeouts_of_a_sequence_the_shorter_one_applies(
    bench: Workbench, node: str, sequence: str, timeout: float
) -> None:
    chain = await bench.chain(f"""
    sequences:
      r: {{request: true, nodes: {{n: {{category: sequence, type: s, timeout: {node}}}}}}}
      s: {{timeout: {sequence}, nodes: {{m: {{category: job, type: t}}}}}}
    """)

    assert named(chain, "sequence_n_begin").sequence_timeout == timeout
