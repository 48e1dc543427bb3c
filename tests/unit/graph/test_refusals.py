from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.unit.graph.shapes import named

from spincycle.errors import (
    ChainNotBuilt,
    CreateStuck,
    InvalidArgs,
    PlanTooLarge,
    UnknownRequestType,
)
from spincycle.graph import Expander, Limits
from spincycle.graph.worker_threads import WorkerThreads
from spincycle.job import ArgNotSet, JobTypes

if TYPE_CHECKING:
    from tests.unit.graph.conftest import Workbench

    from spincycle.model.job_chain import Value

ONE = """
sequences:
  r:
    request: true
    args: {optional: [{name: x, default: ""}]}
    nodes:
      n: {category: job, type: t, args: [{expected: x}]}
  inner: {nodes: {m: {category: job, type: t}}}
"""


async def test_an_unknown_request_is_named_with_the_nearest_one(bench: Workbench) -> None:
    text = ONE.replace("  r:", "  restart:")

    with pytest.raises(UnknownRequestType, match="cannot find specs for request: restrat") as e:
        await bench.expand(text, "restrat")

    assert 'did you mean "restart"?' in str(e.value)


async def test_a_sequence_that_is_not_a_request_cannot_be_started(bench: Workbench) -> None:
    with pytest.raises(UnknownRequestType, match="inner is not a request"):
        await bench.expand(ONE, "inner")


async def test_a_job_that_rejects_its_args_is_named_with_sequence_node_type_and_cause(
    bench: Workbench,
) -> None:
    def refuse(args: dict[str, Value]) -> None:
        raise ArgNotSet("host")

    bench.jobs.creates["t"] = refuse

    with pytest.raises(ChainNotBuilt) as e:
        await bench.expand(ONE)

    error = e.value
    assert (error.type, error.sequence, error.node, error.job_type) == ("r", "r", "n", "t")
    assert error.cause == "host not set in job args"
    assert str(error) == (
        "in seq r, node n: cannot build job: error creating 't n' job: host not set in job args"
    )


async def test_an_unknown_job_type_fails_the_expansion(bench: Workbench) -> None:
    expander = Expander(JobTypes())

    with pytest.raises(ChainNotBuilt, match="error making 't n' job: unknown job type"):
        await expander.expand(bench.specs(ONE), "r", {}, "id")

    expander.close()


@pytest.mark.parametrize("kind", ["blocking", "async"])
async def test_a_hanging_create_is_abandoned_and_others_continue(
    bench: Workbench, kind: str
) -> None:
    release = threading.Event()

    async def hang(args: dict[str, Value]) -> None:
        await asyncio.Event().wait()

    bench.limits = Limits(create_timeout=0.05)
    bench.jobs.creates["t"] = hang if kind == "async" else lambda _: release.wait()
    expander = bench.expander()
    specs = bench.specs(ONE)

    with pytest.raises(ChainNotBuilt, match=r"in seq r, node n: .* did not end within 0\.05 s"):
        await expander.expand(specs, "r", {}, "id")

    bench.jobs.creates["t"] = lambda args: None
    assert (await expander.expand(specs, "r", {}, "id")).chain.jobs
    release.set()


async def test_a_slow_expansion_is_not_a_hanging_one(bench: Workbench) -> None:
    bench.limits = Limits(create_timeout=0.2)
    pause = threading.Event()
    bench.jobs.creates["t"] = lambda _: pause.wait(0.02)
    nodes = "".join(f"      n{i}: {{category: job, type: t}}\n" for i in range(20))

    chain = await bench.chain(f"sequences:\n  r:\n    request: true\n    nodes:\n{nodes}")

    assert len(chain.jobs) == 22


async def test_when_too_many_creates_hang_further_ones_are_rejected_until_some_end(
    bench: Workbench,
) -> None:
    release = threading.Event()
    bench.jobs.creates["t"] = lambda _: release.wait()
    threads = WorkerThreads(limit=4, abandoned_limit=1)
    expander = Expander(bench.jobs, Limits(create_timeout=0.02), threads)
    specs = bench.specs(ONE)
    with pytest.raises(ChainNotBuilt):
        await expander.expand(specs, "r", {}, "id")

    with pytest.raises(CreateStuck):
        await expander.expand(specs, "r", {}, "id")

    release.set()
    while threads.abandoned:  # noqa: ASYNC110 - there is nothing else to wait for
        await asyncio.sleep(0)
    assert (await expander.expand(specs, "r", {}, "id")).chain.jobs
    expander.close()


async def test_a_cancelled_caller_ends_the_expansion(bench: Workbench) -> None:
    entered, release = threading.Event(), threading.Event()

    def hold(args: dict[str, Value]) -> None:
        entered.set()
        release.wait()

    bench.jobs.creates["t"] = hold
    text = """
    sequences:
      r:
        request: true
        nodes:
          a: {category: job, type: t}
          b: {category: job, type: u, deps: [a]}
    """
    task = asyncio.create_task(bench.expand(text))
    await asyncio.to_thread(entered.wait)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    release.set()
    assert [made.type for made in bench.jobs.made] == ["t"]


async def test_an_async_create_runs_on_the_callers_loop(bench: Workbench) -> None:
    loops = []

    async def create(args: dict[str, Value]) -> None:
        loops.append(asyncio.get_running_loop())

    bench.jobs.creates["t"] = create

    await bench.expand(ONE)

    assert loops == [asyncio.get_running_loop()]


async def test_a_job_that_exits_the_process_only_fails_the_expansion(bench: Workbench) -> None:
    def leave(args: dict[str, Value]) -> None:
        raise SystemExit(3)

    bench.jobs.creates["t"] = leave

    with pytest.raises(ChainNotBuilt, match="error creating 't n' job"):
        await bench.expand(ONE)


async def test_create_cannot_change_what_other_jobs_are_given(bench: Workbench) -> None:
    def grow(args: dict[str, Value]) -> None:
        hosts = args["hosts"]
        assert isinstance(hosts, list)
        hosts.append("more")

    bench.jobs.creates["t"] = grow
    chain = await bench.chain(
        """
        sequences:
          r:
            request: true
            args: {required: [{name: hosts}]}
            nodes:
              a: {category: job, type: t, args: [{expected: hosts}]}
              b: {category: job, type: t, args: [{expected: hosts}], deps: [a]}
        """,
        hosts=["x"],
    )

    assert named(chain, "a").args == named(chain, "b").args == {"hosts": ["x"]}


SETS = """
sequences:
  r:
    request: true
    args: {required: [{name: xs}]}
    nodes:
      a: {category: job, type: t, each: ["xs:x"], sets: [out]}
      b: {category: job, type: u, args: [{expected: out}], deps: [a]}
"""


async def test_a_job_must_set_what_its_node_declares(bench: Workbench) -> None:
    with pytest.raises(ChainNotBuilt, match="expected t to set out in jobargs") as e:
        await bench.expand(SETS, xs=["1", "2"])

    assert (e.value.node, e.value.argument) == ("a", "out")
    assert "node a, element 1 (a 1):" in str(e.value)


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), {1: 2}, 2**64, "\ud800"])
async def test_a_value_that_json_cannot_represent_is_rejected(
    bench: Workbench, value: Value
) -> None:
    bench.jobs.creates["t"] = lambda args: args.update(out=value)

    with pytest.raises(ChainNotBuilt, match="t set out to a value that cannot be stored"):
        await bench.expand(SETS, xs=["1"])


async def test_a_name_that_an_empty_each_did_not_set_is_an_error_where_it_is_used(
    bench: Workbench,
) -> None:
    with pytest.raises(ChainNotBuilt, match="out has no value: the node that sets it was repeat"):
        await bench.expand(SETS, xs=[])


async def test_an_empty_each_keeps_what_was_set_before(bench: Workbench) -> None:
    bench.jobs.creates["t"] = lambda args: args.update(out="early")
    text = SETS.replace('each: ["xs:x"], sets: [out]', "sets: [out]").replace(
        "deps: [a]", "deps: [m]"
    )
    text += '      m: {category: job, type: v, each: ["xs:x"], sets: [out], deps: [a]}\n'

    chain = await bench.chain(text, xs=[])

    assert named(chain, "b").args == {"out": "early"}


async def test_collecting_over_an_empty_list_gives_an_empty_list(bench: Workbench) -> None:
    text = SETS.replace("sets: [out]", "sets: [{arg: out, collect: true}]")

    chain = await bench.chain(text, xs=[])

    assert named(chain, "b").args == {"out": []}


@pytest.mark.parametrize("value", ["text", None, 3, {"a": 1}])
async def test_each_over_anything_but_a_list_is_rejected(bench: Workbench, value: Value) -> None:
    with pytest.raises(ChainNotBuilt, match="each requires a list for x"):
        await bench.expand(SETS, xs=value)


async def test_each_lists_of_different_lengths_are_named(bench: Workbench) -> None:
    text = """
    sequences:
      r:
        request: true
        args: {required: [{name: xs}, {name: ys}]}
        nodes: {a: {category: job, type: t, each: ["xs:x", "ys:y"]}}
    """

    with pytest.raises(ChainNotBuilt, match="different lengths: xs has 2, ys has 1"):
        await bench.expand(text, xs=[1, 2], ys=[1])


CONDITIONAL = """
sequences:
  r:
    request: true
    args: {required: [{name: x}]}
    nodes: {c: {category: conditional, if: x, eq: {b: noop, a: noop}}}
"""


async def test_a_value_without_a_branch_is_named_with_the_options(bench: Workbench) -> None:
    with pytest.raises(ChainNotBuilt) as e:
        await bench.expand(CONDITIONAL, x="z")

    assert "'if: x' value 'z' does not match any options: a, b" in str(e.value)


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}])
async def test_a_conditional_requires_a_string(bench: Workbench, value: Value) -> None:
    with pytest.raises(ChainNotBuilt, match="'if: x' must be a string"):
        await bench.expand(CONDITIONAL, x=value)


async def test_a_small_spec_cannot_create_an_unlimited_chain(bench: Workbench) -> None:
    levels = "".join(
        f"  s{n}: {{nodes: {{n: {{category: sequence, type: s{n + 1}, each: ['xs:x']}}}}, "
        "args: {static: [{name: xs, type: list, default: [a, b, c, d, e, f, g, h, i, j]}]}}\n"
        for n in range(9)
    )
    text = f"sequences:\n{levels}  s9: {{nodes: {{n: {{category: job, type: t}}}}}}\n".replace(
        "s0: {", "s0: {request: true, "
    )
    bench.limits = replace(bench.limits, max_jobs=500)

    with pytest.raises(PlanTooLarge, match="more than 500 jobs"):
        await bench.expand(text, "s0")


async def test_links_between_repeated_nodes_are_limited_with_a_hint(bench: Workbench) -> None:
    bench.limits = replace(bench.limits, max_edges=1_000)
    text = """
    sequences:
      r:
        request: true
        args: {required: [{name: xs}]}
        nodes:
          a: {category: job, type: t, each: ["xs:x"]}
          b: {category: job, type: t, each: ["xs:x"], deps: [a]}
    """

    with pytest.raises(PlanTooLarge, match="add a noop job between repeated nodes"):
        await bench.expand(text, xs=list(range(100)))


async def test_sequences_may_be_nested_deeper_than_pythons_stack(bench: Workbench) -> None:
    levels = "".join(
        f"  s{n}: {{nodes: {{n: {{category: sequence, type: s{n + 1}}}}}}}\n" for n in range(2_000)
    )
    text = f"sequences:\n{levels}  s2000: {{nodes: {{n: {{category: job, type: t}}}}}}\n".replace(
        "s0: {", "s0: {request: true, "
    )

    assert len((await bench.chain(text, "s0")).jobs) == 4_003


async def test_nothing_is_made_when_the_args_are_wrong(bench: Workbench) -> None:
    with pytest.raises(InvalidArgs):
        await bench.expand(ONE, y="1")

    assert bench.jobs.made == []


async def test_one_thread_serves_one_request_after_another(bench: Workbench) -> None:
    threads: set[int] = set()
    bench.jobs.creates["t"] = lambda _: threads.add(threading.get_ident())
    expander = bench.expander()
    specs = bench.specs(ONE)

    for _ in range(5):
        await expander.expand(specs, "r", {}, "id")

    assert len(threads) == 1
    assert threading.get_ident() not in threads
