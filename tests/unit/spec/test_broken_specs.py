from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.unit.spec.broken import MUTATIONS, broken, valid_spec, write

from spincycle.spec import CHECKS, JobTypeRule, Source, check_sources

if TYPE_CHECKING:
    from tests.unit.spec.broken import Mutation

JOB_TYPES = frozenset({"finder", "notifier", "visitor", "stepper", "other"})
ROLES = frozenset({"x", "y"})
SEEDS = range(3)


@pytest.mark.parametrize("seed", range(10))
def test_a_valid_spec_has_no_findings(seed: int) -> None:
    draw = random.Random(seed)
    text = f"sequences:\n{write(valid_spec(draw), draw, 2)}"

    result = check_sources([Source("test.yaml", text)], JobTypeRule(JOB_TYPES), roles=ROLES)

    assert result.findings == []
    assert result.specs is not None


@pytest.mark.parametrize(
    ("code", "mutate"), MUTATIONS, ids=[f"{n}-{code}" for n, (code, _) in enumerate(MUTATIONS)]
)
def test_a_fault_is_found_at_its_position(code: str, mutate: Mutation) -> None:
    for seed in SEEDS:
        case = broken(code, mutate, seed)

        result = check_sources(
            [Source("test.yaml", case.text)], JobTypeRule(JOB_TYPES), roles=ROLES
        )

        places = {
            (finding.line, finding.column, finding.end)
            for finding in result.findings
            if finding.code == code and finding.severity == CHECKS[code].severity
        }
        assert (case.line, case.column, case.end) in places, (case.text, result.findings)


def test_every_check_of_one_file_has_a_broken_spec() -> None:
    elsewhere = {
        "yaml-syntax",
        "duplicate-key",
        "extra-document",
        "unreadable-file",
        "unreadable-directory",
        "no-sequences",
        "duplicate-sequence",
        "emptied-specs",
        "too-many-findings",
    }

    assert {code for code, _ in MUTATIONS} == CHECKS.keys() - elsewhere
