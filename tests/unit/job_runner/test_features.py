"""A runner rejects a chain that requires an unsupported feature."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Stage

from spincycle.chain.chain_graph import ChainGraph
from spincycle.chain.chain_record import ChainRecord
from spincycle.chain.features import SUPPORTED, check_features
from spincycle.chain.suspension import save
from spincycle.errors import FeatureNotSupported
from spincycle.graph.plan_hash import plan_hash
from spincycle.model.job_chain import SuspendedJobChain
from spincycle.model.state import State

GATED = replace(chain("a > b"), required_features=("gates", "locks"))


@pytest.mark.parametrize("ran_before", [False, True])
async def test_a_chain_that_requires_an_unknown_feature_is_refused_and_all_are_named(
    stage: Stage, ran_before: bool
) -> None:
    def start() -> None:
        if ran_before:
            stage.runner.resume(SuspendedJobChain("request", GATED), 1)
        else:
            stage.runner.run(GATED, 1)

    with pytest.raises(FeatureNotSupported, match="gates, locks") as refused:
        start()

    assert refused.value.request_id == "request"
    assert stage.runner.chains == 0
    assert stage.runs == []


async def test_a_chain_that_requires_nothing_runs(stage: Stage) -> None:
    stage.runner.run(chain("a"), 1)

    assert (await stage.reports.end()).state is State.COMPLETE


def test_a_suspended_chain_still_requires_what_it_did() -> None:
    saved = save(ChainGraph(GATED), ChainRecord("request", 1, 0))

    assert saved.job_chain.required_features == GATED.required_features


def test_supported_features_are_not_missed() -> None:
    check_features("request", ["gates"], SUPPORTED | {"gates"})
    with pytest.raises(FeatureNotSupported, match="locks"):
        check_features("request", ["gates", "locks"], SUPPORTED | {"gates"})


def test_the_plan_hash_covers_required_features() -> None:
    hashes = {
        plan_hash(replace(GATED, required_features=features))
        for features in ((), ("gates",), ("gates", "locks"))
    }

    assert len(hashes) == 3
