from __future__ import annotations

import threading

import pytest
from tests.unit.graph.conftest import Workbench

from spincycle.errors import ChainNotBuilt
from spincycle.graph.simple_requests import MAX_NODES
from spincycle.model.job_chain import Value

SMALL = """
sequences:
  r:
    request: true
    args: {optional: [{name: host, default: a}]}
    nodes:
      first: {category: job, type: quick, args: [{expected: host}]}
      inner: {category: sequence, type: s, deps: [first]}
  s:
    nodes:
      second: {category: job, type: quick}
"""

REPEATED = """
sequences:
  r:
    request: true
    nodes:
      find: {category: job, type: finds, sets: [hosts]}
      each: {category: job, type: quick, each: ["hosts:host"], deps: [find]}
"""


@pytest.fixture
def threads(bench: Workbench) -> set[threading.Thread]:
    """Record whether creates of quick and slow jobs were called on the event loop."""
    seen: set[threading.Thread] = set()

    def create(_: dict[str, Value]) -> None:
        seen.add(threading.current_thread())

    bench.jobs.immediate.add("quick")
    bench.jobs.creates |= {"quick": create, "slow": create}
    return seen


HERE = {threading.main_thread()}


async def test_a_simple_request_is_built_on_the_event_loop(
    bench: Workbench, threads: set[threading.Thread]
) -> None:
    expander, specs = bench.expander(), bench.specs(SMALL)

    for _ in range(2):
        chain = (await expander.expand(specs, "r", {}, "id")).chain
        assert len(chain.jobs) == 6

    assert threads == HERE


async def test_one_job_that_may_block_sends_the_whole_request_to_a_thread(
    bench: Workbench, threads: set[threading.Thread]
) -> None:
    await bench.chain(
        SMALL.replace("second: {category: job, type: quick}", "second: {category: job, type: slow}")
    )

    assert len(threads) == 1
    assert threads != HERE


async def test_a_repeated_node_sends_the_request_to_a_thread(
    bench: Workbench, threads: set[threading.Thread]
) -> None:
    bench.jobs.immediate.add("finds")
    bench.jobs.creates["finds"] = lambda args: args.update(hosts=["a", "b"])

    await bench.chain(REPEATED)

    assert len(threads) == 1
    assert threads != HERE


async def test_an_argument_of_any_size_sends_the_request_to_a_thread(
    bench: Workbench, threads: set[threading.Thread]
) -> None:
    await bench.chain(SMALL, host=["a"] * 3)

    assert len(threads) == 1
    assert threads != HERE


@pytest.mark.parametrize(("nodes", "on_loop"), [(MAX_NODES, True), (MAX_NODES + 1, False)])
async def test_a_request_of_many_nodes_is_built_on_a_thread(
    bench: Workbench, threads: set[threading.Thread], nodes: int, on_loop: bool
) -> None:
    calls = [f"c{number}: {{category: sequence, type: s}}" for number in range(9)]
    jobs = [f"j{number}: {{category: job, type: quick}}" for number in range(nodes - 18)]
    text = """
sequences:
  r:
    request: true
    nodes: {%s}
  s:
    nodes:
      only: {category: job, type: quick}
"""
    await bench.chain(text % ", ".join(calls + jobs))

    assert (threads == HERE) is on_loop


async def test_new_specs_are_classified_again(
    bench: Workbench, threads: set[threading.Thread]
) -> None:
    expander = bench.expander()
    await expander.expand(bench.specs(SMALL), "r", {}, "id")
    threads.clear()
    await expander.expand(bench.specs(SMALL.replace("quick", "slow")), "r", {}, "id")

    assert threads != HERE


async def test_a_create_that_is_asynchronous_against_its_declaration_is_rejected(
    bench: Workbench,
) -> None:
    async def create(_: dict[str, Value]) -> None:
        raise AssertionError

    bench.jobs.immediate.add("quick")
    bench.jobs.creates["quick"] = create

    with pytest.raises(ChainNotBuilt, match="its class declares creates_immediately"):
        await bench.chain(SMALL)
