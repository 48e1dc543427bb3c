"""Every operation of every role has the same outcome in every way into the installation."""

from __future__ import annotations

import pytest
from tests.integration.access_ways.people import CALLERS
from tests.integration.access_ways.ways import (
    DENIED,
    HIDDEN,
    NAMES,
    OK,
    UNKNOWN,
    Subject,
    Ways,
)

TABLE = """
             outsider viewer starter stopper owner admin nobody
view         hidden   ok     ok      ok      ok    ok    unknown
start        denied   denied ok      denied  ok    ok    unknown
start-again  hidden   denied ok      denied  ok    ok    unknown
stop         hidden   denied denied  ok      ok    ok    unknown
suspend      hidden   denied denied  ok      ok    ok    unknown
resume       hidden   denied denied  ok      ok    ok    unknown
rerun        hidden   denied ok      denied  ok    ok    unknown
skip         hidden   denied ok      denied  ok    ok    unknown
admin        denied   denied denied  denied  denied ok   unknown
"""
"""Outcome by operation and caller. The ACL of the type names view, start and stop for one role
each: every grant includes view, start includes rerun and skip, stop includes suspend and resume."""

HEAD, *ROWS = (line.split() for line in TABLE.strip().splitlines())
EXPECTED = {operation: dict(zip(HEAD, outcomes, strict=True)) for operation, *outcomes in ROWS}


def test_the_table_is_complete() -> None:
    assert tuple(HEAD) == CALLERS
    assert {outcome for row in EXPECTED.values() for outcome in row.values()} == {
        OK,
        DENIED,
        HIDDEN,
        UNKNOWN,
    }


@pytest.mark.parametrize("way", NAMES)
@pytest.mark.parametrize("caller", CALLERS)
def test_an_operation_has_the_outcome_of_the_table(
    ways: Ways, subject: Subject, way: str, caller: str
) -> None:
    operations = ways[way].operations

    outcomes = {
        operation: ways[way].attempt(operation, caller, subject) for operation in operations
    }

    assert outcomes == {operation: {EXPECTED[operation][caller]} for operation in operations}
