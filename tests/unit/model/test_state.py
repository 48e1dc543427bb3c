from __future__ import annotations

from pathlib import Path

from spincycle.model.state import FINAL, LIVE, State, diagram, may_become

SEMANTICS = Path(__file__).parents[3] / "docs" / "explanation" / "semantics.md"


def test_the_diagram_in_the_docs_is_the_table_of_transitions() -> None:
    assert f"```mermaid\n{diagram()}\n```" in SEMANTICS.read_text()


def test_a_final_state_has_no_transitions() -> None:
    assert {State.COMPLETE, State.FAIL, State.STOPPED} == FINAL
    assert not FINAL & LIVE
    assert may_become(State.COMPLETE) == [State.RUNNING]
