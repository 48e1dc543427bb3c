from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from spincycle.spec.ancestry import Ancestry
from spincycle.spec.cycles import find_cycles
from spincycle.spec.model import NOWHERE as AT
from spincycle.spec.model import Dep, Node, NodeSet, Sequence
from spincycle.spec.sources import Sources

if TYPE_CHECKING:
    Graph = list[list[int]]


@st.composite
def graphs(draw: st.DrawFn, largest: int = 12) -> Graph:
    size = draw(st.integers(1, largest))
    return [[p for p in range(v) if draw(st.integers(0, 3)) == 0] for v in range(size)]


def ancestors(parents: Graph) -> list[set[int]]:
    found: list[set[int]] = []
    for own in parents:
        found.append(set(own).union(*(found[parent] for parent in own)))
    return found


@given(graphs())
def test_a_vertex_is_before_another_exactly_if_a_path_leads_there(parents: Graph) -> None:
    ancestry = Ancestry(parents)

    for vertex, before in enumerate(ancestors(parents)):
        found = {a for a in range(len(parents)) if a != vertex and ancestry.before(a, vertex)}
        assert found == before


@given(graphs(), st.data())
def test_a_node_reads_a_name_from_the_ancestor_that_set_it_last(
    parents: Graph, data: st.DataObject
) -> None:
    setters = data.draw(st.sets(st.integers(0, len(parents) - 1)))
    nodes = [
        Node(
            f"n{v}",
            deps=tuple(Dep(f"n{p}", AT) for p in before),
            sets=(NodeSet("x", "x", collect=False, at=AT, as_at=AT),) if v in setters else (),
        )
        for v, before in enumerate(parents)
    ]
    sources = Sources(Sequence("s"), nodes, [tuple(before) for before in parents])

    for vertex, before in enumerate(ancestors(parents)):
        expected = max(before & setters, default=None)
        slot = None if expected is None else sources.set_slot(expected, "x")
        assert sources.find("x", vertex) == slot


@given(st.dictionaries(st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefgh"))))
def test_cycles_are_found_if_and_only_if_there_are_any(edges: dict[str, list[str]]) -> None:
    found = find_cycles(edges)

    for cycle in found:
        assert all(b in edges[a] for a, b in zip(cycle, cycle[1:] + cycle[:1], strict=True))
    remaining = {name: set(targets) & edges.keys() for name, targets in edges.items()}
    while free := [name for name, targets in remaining.items() if not targets & remaining.keys()]:
        for name in free:
            del remaining[name]
    assert bool(found) == bool(remaining)
