"""Random spec sets, compared with an independent implementation of the rules."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.graph.conftest import AnyJobs

from spincycle.graph import Expander
from spincycle.spec import Source, SpecSet, check_sources

if TYPE_CHECKING:
    from spincycle.graph import Expansion
    from spincycle.model.job_chain import JobChain

    Path = tuple[tuple[str, int], ...]
    Links = dict[Path, set[Path]]

LISTS = {"none": [], "one": ["a"], "two": ["a", "b"], "three": ["a", "b", "c"]}


@st.composite
def spec_sets(draw: st.DrawFn) -> dict[str, Any]:
    """Return sequences r, s1 …, each of which calls only later ones."""
    names = ["r", *(f"s{number}" for number in range(1, draw(st.integers(1, 4))))]
    return {name: draw(sequences(names[index + 1 :])) for index, name in enumerate(names)}


@st.composite
def sequences(draw: st.DrawFn, callable_: list[str]) -> dict[str, Any]:
    node_names = draw(st.permutations(["a", "b", "c", "d"]))[: draw(st.integers(1, 4))]
    nodes: dict[str, Any] = {}
    for index, name in enumerate(node_names):
        kinds = ["job", "sequence", "conditional"] if callable_ else ["job"]
        node: dict[str, Any] = {"category": draw(st.sampled_from(kinds))}
        if node["category"] == "job":
            node["type"] = "work"
        elif node["category"] == "sequence":
            node["type"] = draw(st.sampled_from(callable_))
        else:
            node["if"] = draw(st.sampled_from(["yes", "other"]))
            node["eq"] = {
                "yes": draw(st.sampled_from([*callable_, "noop"])),
                "default": draw(st.sampled_from(callable_)),
            }
        node["deps"] = [dep for dep in node_names[:index] if draw(st.booleans())]
        if draw(st.booleans()):
            node["each"] = [f"{draw(st.sampled_from(sorted(LISTS)))}:element"]
            if draw(st.booleans()):
                node["parallel"] = draw(st.integers(1, 3))
        nodes[name] = node
    static: list[dict[str, Any]] = [
        {"name": name, "type": "list", "default": values} for name, values in LISTS.items()
    ]
    static += [{"name": "yes", "default": "yes"}, {"name": "other", "default": "unheard of"}]
    return {"request": True, "args": {"static": static}, "nodes": nodes}


def expected_links(specs: dict[str, Any]) -> Links:
    """Return the parents of each job of request r according to the rules."""
    links: Links = {}

    def expand(sequence: str, path: Path, parents: set[Path]) -> Path:
        begin, end = (*path, ("begin", 0)), (*path, ("end", 0))
        links[begin] = parents
        exits: dict[str, set[Path]] = {}
        nodes = {"noop": {"category": "job", "type": "noop"}}
        if sequence != "noop":
            nodes = specs[sequence]["nodes"]
        inside: set[Path] = {begin}
        while len(exits) < len(nodes):
            for name, node in nodes.items():
                deps: Any = node.get("deps", [])
                if name in exits or any(dep not in exits for dep in deps):
                    continue
                before = set().union(*(exits[dep] for dep in deps)) if deps else {begin}
                count = len(LISTS[node["each"][0].split(":")[0]]) if "each" in node else 1
                exits[name] = before if count == 0 else set()
                for index in range(count):
                    own = (*path, (name, index))
                    if node["category"] == "job":
                        links[own] = before
                        exits[name].add(own)
                    else:
                        called = node.get("type") or branch(node)
                        exits[name].add(expand(called, own, before))
                    inside |= exits[name]
        used = {parent for parents in links.values() for parent in parents}
        links[end] = {job for job in inside if job not in used}
        return end

    def branch(node: dict[str, Any]) -> str:
        return str(node["eq"]["yes" if node["if"] == "yes" else "default"])

    expand("r", (), set())
    return links


def actual_links(chain: JobChain) -> Links:
    paths: dict[str, Path] = {}
    seen: dict[Path, int] = {}
    for job in chain.jobs.values():
        if not job.structural:
            around = paths[job.sequence_id][:-1]
            paths[job.id] = numbered((*around, (job.name, 0)), seen)
        elif job.sequence_id != job.id:
            paths[job.id] = (*paths[job.sequence_id][:-1], ("end", 0))
        elif job.parent_sequence_id:
            name = job.name.removesuffix("_begin").partition("_")[2]
            around = paths[job.parent_sequence_id][:-1]
            paths[job.id] = (*numbered((*around, (name, 0)), seen), ("begin", 0))
        else:
            paths[job.id] = (("begin", 0),)
    links: Links = {path: set() for path in paths.values()}
    for job_id, following in chain.next_jobs.items():
        assert len(set(following)) == len(following)
        for successor in following:
            links[paths[successor]].add(paths[job_id])
    return links


def numbered(path: Path, seen: dict[Path, int]) -> Path:
    number = seen.get(path, 0)
    seen[path] = number + 1
    return (*path[:-1], (path[-1][0], number))


def loaded(files: list[dict[str, Any]]) -> SpecSet:
    sources = [
        Source(f"{number}.yaml", json.dumps({"sequences": sequences_}))
        for number, sequences_ in enumerate(files)
    ]
    result = check_sources(sources)
    assert result.specs is not None, result.findings
    return result.specs


def expanded(specs: SpecSet) -> Expansion:
    expander = Expander(AnyJobs())
    try:
        return asyncio.run(expander.expand(specs, "r", {}, "request-id"))
    finally:
        expander.close()


@settings(max_examples=100)
@given(spec_sets())
def test_every_job_has_exactly_the_parents_in_deps(specs: dict[str, Any]) -> None:
    chain = expanded(loaded([specs])).chain

    assert actual_links(chain) == expected_links(specs)


@settings(max_examples=60)
@given(spec_sets())
def test_a_chain_has_one_source_and_one_sink_and_its_order_is_topological(
    specs: dict[str, Any],
) -> None:
    chain = expanded(loaded([specs])).chain

    place = {job_id: number for number, job_id in enumerate(chain.jobs)}
    edges = [(a, b) for a, following in chain.next_jobs.items() for b in following]
    assert all(place[a] < place[b] for a, b in edges)
    first, last = next(iter(chain.jobs)), next(reversed(chain.jobs))
    assert set(chain.jobs) - {b for _, b in edges} == {first}
    assert set(chain.jobs) - {a for a, _ in edges} == {last}
    begins = {job.id for job in chain.jobs.values() if job.sequence_id == job.id}
    assert all(job.sequence_id in begins for job in chain.jobs.values())


@settings(max_examples=40)
@given(spec_sets(), st.randoms(use_true_random=False))
def test_the_order_of_files_keys_and_nodes_changes_nothing(
    specs: dict[str, Any], draw: Any
) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = draw.sample(list(value), len(value))
            return {key: shuffled(value[key]) for key in keys}
        return value

    other = shuffled(specs)
    files = [{name: body} for name, body in other.items()]

    one, two = expanded(loaded([specs])), expanded(loaded(files))

    assert one.plan_hash == two.plan_hash
    assert [job.name for job in one.chain.jobs.values()] == [
        job.name for job in two.chain.jobs.values()
    ]
