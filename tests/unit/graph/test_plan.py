from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from spincycle.graph import Plan, make_plan
from spincycle.graph.plan_diff import diff
from spincycle.graph.plan_drawing import as_dot, as_mermaid
from spincycle.graph.plan_text import as_json, as_text
from spincycle.graph.widest import widest

if TYPE_CHECKING:
    from tests.unit.graph.conftest import Workbench

    from spincycle.model.job_chain import Value

RESTART = """
sequences:
  restart:
    request: true
    args:
      required: [{name: hosts, type: list}]
      optional: [{name: mode, default: fast}]
    nodes:
      find: {category: job, type: finder, args: [{expected: mode}]}
      host:
        category: sequence
        type: one-host
        each: ["hosts:host"]
        parallel: 2
        deps: [find]
        retry: 2
        retryWait: 1m30s
      report: {category: job, type: reporter, deps: [host, find], timeout: 10s}
  one-host:
    args: {required: [{name: host}]}
    nodes:
      drain: {category: job, type: drain, args: [{expected: host}]}
      check: {category: job, type: check, args: [{expected: host}]}
      restart: {category: job, type: restart, args: [{expected: host}], deps: [drain, check]}
"""


async def plan(bench: Workbench, text: str = RESTART, **args: Value) -> Plan:
    expansion = await bench.expand(text, "restart", **args)
    return make_plan(expansion.chain, expansion.args, "rev")


async def test_a_plan_counts_and_measures_the_chain(bench: Workbench) -> None:
    found = await plan(bench, hosts=["a", "b", "c"])

    assert (found.total_jobs, found.work_jobs) == (19, 11)
    assert found.depth == 8
    assert found.widest == 4


async def test_a_plan_reads_as_a_tree(bench: Workbench) -> None:
    found = await plan(bench, hosts=["a", "b", "c"])

    assert list(as_text(found)) == [
        "request restart",
        '  hosts = ["a","b","c"]',
        "  mode = fast  (optional)",
        "19 jobs, 11 of them work; 8 deep, at most 4 at once",
        f"plan {found.hash}",
        "",
        "├─ find  finder  mode=fast",
        "├─ host a  sequence  (retry 2 after 1m30s; 3 elements, 2 at a time; after find)",
        "│  ├─ check  check  host=a",
        "│  ├─ drain  drain  host=a",
        "│  └─ restart  restart  host=a  (after check, drain)",
        "├─ host b  sequence  (retry 2 after 1m30s; after find)",
        "│  ├─ check  check  host=b",
        "│  ├─ drain  drain  host=b",
        "│  └─ restart  restart  host=b  (after check, drain)",
        "├─ host c  sequence  (retry 2 after 1m30s; after find)",
        "│  ├─ check  check  host=c",
        "│  ├─ drain  drain  host=c",
        "│  └─ restart  restart  host=c  (after check, drain)",
        "└─ report  reporter  (timeout 10s; after find, host)",
    ]


async def test_a_plan_of_a_chain_without_paths_numbers_the_elements(bench: Workbench) -> None:
    chain = (await bench.expand(RESTART, "restart", hosts=["a", "b"])).chain
    for job in chain.jobs.values():
        job.path = ""

    assert [node.label for node in make_plan(chain).root.children] == [
        "find",
        "host[1]",
        "host[2]",
        "report",
    ]


async def test_a_plan_as_json_holds_every_jobs_final_arguments(bench: Workbench) -> None:
    found = json.loads(as_json(await plan(bench, hosts=["a"])))

    assert (found["type"], found["specRevision"], found["totalJobs"]) == ("restart", "rev", 9)
    find, host, report = found["nodes"]
    assert find["args"] == {"mode": "fast"}
    assert [node["args"] for node in host["nodes"]] == [{"host": "a"}] * 3
    assert report["after"] == ["find", "host"]


async def test_drawings_hold_each_job_and_each_edge_once(bench: Workbench) -> None:
    found = await plan(bench, hosts=['a"b<c>', "d\\e"])
    edges = sum(map(len, found.chain.next_jobs.values()))

    dot, mermaid = list(as_dot(found)), list(as_mermaid(found))

    assert sum("->" in line for line in dot) == sum("-->" in line for line in mermaid) == edges
    assert sum("[shape=point]" in line or "[label=" in line for line in dot) == found.total_jobs
    assert "".join(dot).count("{") == "".join(dot).count("}")
    opened = sum(line.strip().startswith("subgraph") for line in mermaid)
    assert opened == sum(line.strip() == "end" for line in mermaid) == 3
    assert not any('a"b' in line for line in mermaid)


async def test_equal_plans_do_not_differ(bench: Workbench) -> None:
    one, two = await plan(bench, hosts=["a", "b"]), await plan(bench, hosts=["a", "b"])

    assert diff(one, two) == []


async def test_an_element_more_in_the_middle_is_one_addition(bench: Workbench) -> None:
    one, two = await plan(bench, hosts=["a", "c"]), await plan(bench, hosts=["a", "b", "c"])

    assert [(change.kind, change.path) for change in diff(one, two)] == [
        ("added", "restart / host b"),
    ]
    assert [(change.kind, change.path) for change in diff(two, one)] == [
        ("removed", "restart / host b"),
    ]


async def test_a_difference_names_node_and_field(bench: Workbench) -> None:
    one = await plan(bench, hosts=["a"])
    changed = RESTART.replace("retry: 2", "retry: 3").replace(
        "deps: [drain, check]", "deps: [drain]"
    )
    two = await plan(bench, changed, hosts=["a"], mode="safe")

    assert [str(change) for change in diff(one, two)] == [
        "~ restart / find: args.mode: fast -> safe",
        "~ restart / host a: rules: retry 2 after 1m30s -> retry 3 after 1m30s",
        "~ restart / host a / restart: after: check, drain -> drain",
    ]


async def test_a_changed_limit_is_reported_once(bench: Workbench) -> None:
    hosts: list[Value] = ["a", "b", "c", "d"]
    one = await plan(bench, hosts=hosts)
    two = await plan(bench, RESTART.replace("parallel: 2", "parallel: 3"), hosts=hosts)

    assert [str(change) for change in diff(one, two)] == ["~ restart / host: parallel: 2 -> 3"]


async def test_the_hash_changes_with_everything_that_changes_the_run(
    bench: Workbench,
) -> None:
    base = (await plan(bench, hosts=["a", "b", "c"])).hash
    for old, new in [
        ("parallel: 2", "parallel: 1"),
        ("timeout: 10s", "timeout: 11s"),
        ("retry: 2", "retry: 1"),
        ("type: drain", "type: drainer"),
        ("deps: [host, find]", "deps: [host]"),
        ("1m30s", "90s"),
    ]:
        assert (await plan(bench, RESTART.replace(old, new), hosts=["a", "b", "c"])).hash != base


def brute(weights: list[int], parents: list[list[int]]) -> int:
    before: list[set[int]] = []
    for own in parents:
        before.append(set(own).union(*(before[parent] for parent in own)))
    best = 0
    for size in range(len(weights) + 1):
        for chosen in itertools.combinations(range(len(weights)), size):
            if not any(a in before[b] for a, b in itertools.combinations(chosen, 2)):
                best = max(best, sum(weights[vertex] for vertex in chosen))
    return best


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    size = draw(st.integers(1, 9))
    weights = draw(st.lists(st.integers(1, 5), min_size=size, max_size=size))
    parents = [[p for p in range(vertex) if draw(st.booleans())] for vertex in range(size)]
    return weights, parents


@given(graphs())
def test_the_widest_set_is_the_one_found_by_trying_all(
    graph: tuple[list[int], list[list[int]]],
) -> None:
    weights, parents = graph

    assert widest(weights, parents) == brute(weights, parents)


def test_a_graph_that_cannot_be_contracted_is_measured_by_level() -> None:
    side = 60
    parents: list[list[int]] = [[] for _ in range(side)]
    parents += [[other for other in range(side) if other != vertex] for vertex in range(side)]

    assert widest([1] * (2 * side), parents) == side
