"""Every job of a chain has a path that names it to a person."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.graph.conftest import AnyJobs

from spincycle.errors import ChainNotBuilt, PlanTooLarge
from spincycle.graph import Expander, plan_hash
from spincycle.graph.job_paths import JobPaths, element_labels
from spincycle.model.job_path import PATH_BYTES
from spincycle.spec import Source, check_sources

if TYPE_CHECKING:
    from tests.unit.graph.conftest import Workbench

    from spincycle.model.job_chain import JobChain, Value

UPGRADE = """
sequences:
  r:
    request: true
    args: {required: [{name: hosts}], optional: [{name: disks, type: list, default: [sda, sdb]}]}
    nodes:
      prepare: {category: job, type: t}
      upgrade:
        category: sequence
        type: host
        each: [hosts:host]
        args: [{expected: disks, given: disks}]
        deps: [prepare]
  host:
    args: {required: [{name: host}, {name: disks}]}
    nodes:
      verify: {category: job, type: t, args: [{expected: host, given: host}], deps: [check]}
      check: {category: job, type: t, each: [disks:disk]}
"""


def paths(chain: JobChain) -> list[str]:
    return [job.path for job in chain.jobs.values()]


async def test_a_path_has_the_node_and_the_element_of_each_level(bench: Workbench) -> None:
    chain = await bench.chain(UPGRADE, hosts=["h01", "h02"])

    assert paths(chain) == [
        "(begin)",
        "prepare",
        "upgrade h01 / (begin)",
        "upgrade h01 / check sda",
        "upgrade h01 / check sdb",
        "upgrade h01 / verify",
        "upgrade h01 / (end)",
        "upgrade h02 / (begin)",
        "upgrade h02 / check sda",
        "upgrade h02 / check sdb",
        "upgrade h02 / verify",
        "upgrade h02 / (end)",
        "(end)",
    ]


async def test_a_conditional_and_a_sequence_called_twice_are_named_by_their_nodes(
    bench: Workbench,
) -> None:
    text = """
    sequences:
      r:
        request: true
        args: {optional: [{name: fast, default: "yes"}]}
        nodes:
          choose: {category: conditional, if: fast, eq: {"yes": one, default: noop}}
          first: {category: sequence, type: one, deps: [choose]}
          second: {category: sequence, type: one, deps: [first]}
      one:
        nodes:
          step: {category: job, type: t}
    """

    work = [job.path for job in (await bench.chain(text)).jobs.values() if not job.structural]

    assert work == ["choose / step", "first / step", "second / step"]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["a", 7, 1.5, 2.0], ["a", "7", "1.5", "2"]),
        (["a", "a", "b"], ["[1]", "[2]", "b"]),
        ([1, "1"], ["[1]", "[2]"]),
        ([True, None, [1], {"a": 1}, ""], ["[1]", "[2]", "[3]", "[4]", "[5]"]),
        (["  db \n 1 ", "db 2"], ["db 1", "db 2"]),
        (["x" * 40, "x" * 41, "y" * 10_000], ["x" * 40, "[2]", "[3]"]),
        (["[2]", "a / b", "a/b", "\x07", "\u202e"], ["[1]", "[2]", "a/b", "[4]", "[5]"]),
    ],
)
def test_an_element_is_shown_by_its_value_if_that_is_short_and_unique(
    values: list[Value], labels: list[str]
) -> None:
    assert element_labels(values, secret=False) == labels


SECRETS = """
sequences:
  r:
    request: true
    args:
      required: [{name: keys, secret: true}, {name: open}]
    nodes:
      direct: {category: job, type: t, each: [keys:key]}
      passed: {category: sequence, type: inner, args: [{expected: keys, given: keys}]}
      hidden: {category: sequence, type: hides, each: [open:token]}
  inner:
    args: {required: [{name: keys}]}
    nodes:
      use: {category: job, type: t, each: [keys:key]}
  hides:
    args: {required: [{name: token, secret: true}]}
    nodes:
      use: {category: job, type: t, args: [{expected: token, given: token}]}
"""


async def test_a_secret_element_is_shown_by_its_position(bench: Workbench) -> None:
    chain = await bench.chain(SECRETS, keys=["hunter1", "hunter2"], open=["hunter3"])

    work = [job.path for job in chain.jobs.values() if not job.structural]
    assert sorted(work) == [
        "direct [1]",
        "direct [2]",
        "hidden [1] / use",
        "passed / use [1]",
        "passed / use [2]",
    ]
    assert "hunter" not in " ".join(paths(chain))


async def test_a_secret_result_of_a_job_is_shown_by_its_position(bench: Workbench) -> None:
    bench.jobs.creates["make"] = lambda args: args.update(made=["hunter1"], key=args["key"])
    text = """
    sequences:
      r:
        request: true
        args: {required: [{name: key, secret: true}]}
        nodes:
          make:
            category: job
            type: make
            args: [{expected: key, given: key}, {expected: made, given: key}]
            sets: [{arg: made, as: found}]
          use: {category: job, type: t, each: [found:one], deps: [make]}
    """

    assert "use [1]" in paths(await bench.chain(text, key="hunter"))


async def test_paths_do_not_change_the_hash_of_a_plan(bench: Workbench) -> None:
    chain = await bench.chain(UPGRADE, hosts=["h01", "h02"])
    before = plan_hash(chain)

    for job in chain.jobs.values():
        job.path = "another"

    assert plan_hash(chain) == before


async def test_an_error_in_a_repeated_sequence_names_the_path(bench: Workbench) -> None:
    def create(args: dict[str, Value]) -> None:
        if args.get("host") == "h02":
            raise ValueError("no such host")

    bench.jobs.creates["t"] = create

    with pytest.raises(
        ChainNotBuilt, match=r"^in seq host, node verify \(upgrade h02 / verify\): "
    ):
        await bench.chain(UPGRADE, hosts=["h01", "h02"])


async def test_a_path_counts_towards_the_memory_of_its_chain(bench: Workbench) -> None:
    hosts: list[Value] = [f"h{number:03}" for number in range(250)]
    bench.limits = replace(bench.limits, max_bytes=250 * 5 * 2_500)
    await bench.chain(UPGRADE, hosts=hosts)

    with pytest.raises(PlanTooLarge, match="bytes of memory"):
        await bench.chain(UPGRADE.replace("upgrade", "u" * 190), hosts=hosts)


def test_a_long_path_is_shortened_in_its_middle_and_stays_unique() -> None:
    assigned = JobPaths()
    around = ""
    for level in range(100):
        around = assigned.of_node(around, f"level-{level}")

    long = [assigned.of_node(around, "verify", f"h{number}") for number in range(3)]

    assert all(path.startswith("level-0 / level-1 / ") for path in long)
    assert [path.rpartition(" / ")[2] for path in long] == ["verify h0", "verify h1", "verify h2"]
    assert all(len(path.encode()) <= PATH_BYTES for path in long)
    same = [assigned.of_node(around[:300], "x" * 199 + "y" + str(n) + "z" * 199) for n in range(3)]
    assert len({*same, *long}) == 6
    assert same[1].endswith(" #2")


names = st.sampled_from(
    [
        "a",
        "b",
        "a b",
        "b / a",
        "a /",
        "(begin)",
        "(end)",
        "\x01\n",
        "#2",
        "ä" * 150,
        "a" * 199 + "b",
    ]
) | st.text(st.characters(max_codepoint=0xD7FF), min_size=1, max_size=5)
elements = st.sampled_from(["a", "b", " a", "a b", "[1]", "/ a", "", 1, 1.5, True])


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Return sequences r, s1 …, each of which calls only the next one."""
    depth = draw(st.integers(1, 4))
    found: dict[str, Any] = {}
    for level in range(depth):
        nodes: dict[str, Any] = {}
        for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
            node: dict[str, Any] = {"category": "job", "type": "t"}
            if level + 1 < depth and draw(st.booleans()):
                node = {"category": "sequence", "type": f"s{level + 1}"}
            if draw(st.booleans()):
                node["each"] = ["secrets:x" if draw(st.booleans()) else "values:x"]
            nodes[name] = node
        args = [
            {"name": "values", "type": "list", "default": draw(st.lists(elements, max_size=4))},
            {"name": "secrets", "type": "list", "default": ["hunter", "2"], "secret": True},
        ]
        found["r" if level == 0 else f"s{level}"] = {
            "request": level == 0,
            "args": {"static": args},
            "nodes": nodes,
        }
    return found


@settings(max_examples=150)
@given(specs())
def test_paths_are_unique_printable_and_bounded_and_show_no_secret(
    sequences: dict[str, Any],
) -> None:
    result = check_sources([Source("test.yaml", json.dumps({"sequences": sequences}))])
    assert result.specs is not None, result.findings
    expander = Expander(AnyJobs())
    try:
        chain = asyncio.run(expander.expand(result.specs, "r", {}, "request-id")).chain
    finally:
        expander.close()

    found = paths(chain)

    assert len(set(found)) == len(found)
    assert all(0 < len(path.encode()) <= PATH_BYTES for path in found)
    assert all(path.isprintable() for path in found)
    assert not any("hunter" in path for path in found)
