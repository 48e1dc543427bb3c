"""The memory of a chain is estimated well enough to reject it before memory runs out."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.unit.graph.fan_out import FAN_OUT, peak

from spincycle.errors import Overloaded, PlanTooLarge
from spincycle.graph import Limits
from spincycle.graph.memory import JOB_BYTES, UNCOUNTED_BYTES, ChainMemory, MemoryBudget
from spincycle.model.job_chain import JobChain

if TYPE_CHECKING:
    from tests.unit.graph.conftest import Workbench

    from spincycle.model.job_chain import Value

MEBIBYTE = 1024 * 1024


MEASURE = """
import asyncio, resource, sys
from tests.unit.graph.conftest import Workbench
from tests.unit.graph.fan_out import FAN_OUT, peak
from spincycle.graph.memory import ChainMemory, MemoryBudget
from spincycle.wire.chain import encode_chain

async def main():
    bench = Workbench()
    what, jobs = eval(sys.argv[1]), int(sys.argv[2])
    before = peak()
    chain = await bench.chain(FAN_OUT, xs=["x"] * jobs, what=what)
    encode_chain(chain).SerializeToString()
    memory = ChainMemory(MemoryBudget(0))
    print(peak() - before, sum(
        memory.size_of_job((job.args or {}).values(), job.bytes, job.path)
        for job in chain.jobs.values()
    ))
    bench.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("what", "jobs"),
    [
        ("'x'", 40_000),
        ("'x' * 1_000_000", 60),
        ("'ä' * 5_000", 5_000),
        ("[True] * 20_000", 60),
        ("[{'a': 1.5} for _ in range(10_000)]", 40),
        ("{str(n): 'x' for n in range(10_000)}", 60),
    ],
    ids=["jobs", "texts", "short-texts", "values", "maps", "entries"],
)
def test_a_chain_takes_no_more_memory_than_estimated(what: str, jobs: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, what, str(jobs)], check=True, capture_output=True, text=True
    )
    grown, estimated = map(int, ended.stdout.split())

    assert grown <= 1.2 * estimated + 16 * MEBIBYTE
    assert estimated <= 3 * grown


async def test_arguments_for_each_of_many_jobs_are_rejected_before_they_take_memory(
    bench: Workbench,
) -> None:
    before = peak()

    with pytest.raises(PlanTooLarge) as refused:
        await bench.expand(FAN_OUT, xs=["x"] * 10_000, what="x" * MEBIBYTE)

    error = refused.value
    assert (error.reason, error.code) == ("PLAN_TOO_LARGE", "RESOURCE_EXHAUSTED")
    assert (error.sequence, error.node, error.limit) == ("r", "one", Limits().max_bytes)
    assert error.jobs == 1 + error.limit // (3 * MEBIBYTE + JOB_BYTES)  # With the begin job.
    assert error.limit - 4 * MEBIBYTE < error.size <= error.limit
    assert "in seq r, node one, element 171: the request needs more than" in str(error)
    assert peak() - before < 100 * MEBIBYTE


async def test_values_that_jobs_set_are_counted(bench: Workbench) -> None:
    bench.limits = replace(bench.limits, max_bytes=20 * MEBIBYTE)
    bench.jobs.creates["t"] = lambda args: args.update(out="y" * MEBIBYTE)
    text = """
    sequences:
      r:
        request: true
        args: {required: [{name: xs}]}
        nodes:
          one: {category: job, type: t, each: ["xs:x"], sets: [{arg: out}]}
    """

    with pytest.raises(PlanTooLarge, match="for its first 21 jobs"):
        await bench.expand(text, xs=["x"] * 100)


async def test_a_job_that_does_not_fit_a_message_is_rejected(bench: Workbench) -> None:
    names = [f"a{n}" for n in range(20)]
    args = ", ".join(f"{{expected: {name}, given: what}}" for name in names)
    text = f"""
    sequences:
      r:
        request: true
        args: {{required: [{{name: what}}]}}
        nodes:
          one: {{category: job, type: t, args: [{args}]}}
    """

    with pytest.raises(PlanTooLarge, match="in seq r, node one: the job needs"):
        await bench.expand(text, what="x" * 4 * MEBIBYTE)


async def test_a_chain_is_rejected_while_others_use_the_memory_and_accepted_afterwards(
    bench: Workbench,
) -> None:
    bench.limits = replace(bench.limits, max_bytes=20 * MEBIBYTE)
    expander = bench.expander()
    args: dict[str, Value] = {"xs": ["x"] * 4, "what": "x" * MEBIBYTE}
    specs = bench.specs(FAN_OUT)

    first = await expander.expand(specs, "r", args, "id")
    with pytest.raises(Overloaded):
        await expander.expand(specs, "r", args, "id")
    del first
    gc.collect()
    await expander.expand(specs, "r", args, "id")


def test_memory_is_released_when_the_chain_is_garbage() -> None:
    chains = MemoryBudget(10 * UNCOUNTED_BYTES)
    chain, memory = JobChain("id"), ChainMemory(chains)
    memory.add(3 * UNCOUNTED_BYTES)
    memory.release_with(chain)

    assert chains.reserved == 3 * UNCOUNTED_BYTES
    del chain
    assert chains.reserved == 0


async def test_a_memory_error_in_create_is_not_an_error_of_the_job(bench: Workbench) -> None:
    def create(args: dict[str, Value]) -> None:
        raise MemoryError

    bench.jobs.creates["t"] = create

    with pytest.raises(MemoryError):
        await bench.expand(FAN_OUT, xs=["x"], what="x")
