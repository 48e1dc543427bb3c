from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spincycle.identity.append_grants import GrantKeys

RUNNER = "spiffe://spincycle/spincycle/job-runner/1"
OLD, NEW = b"o" * 32, b"n" * 32


def test_a_grant_is_valid_for_its_runner_request_and_epoch_only() -> None:
    keys = GrantKeys({"1": OLD})
    grant = keys.grant("r1", 3, RUNNER)

    assert not keys.verify(grant, RUNNER)
    assert keys.verify(grant, RUNNER + "2")
    assert keys.verify(replace(grant, request_id="r2"), RUNNER)
    assert keys.verify(replace(grant, epoch=4), RUNNER)
    assert keys.verify(replace(grant, code=b""), RUNNER)
    assert keys.verify(replace(grant, key_id="2"), RUNNER) == 'there is no grant key "2"'


def test_the_first_key_signs_and_all_of_them_verify() -> None:
    before = GrantKeys({"1": OLD, "2": NEW})
    after = GrantKeys({"2": NEW, "1": OLD})

    assert before.grant("r", 1, RUNNER).key_id == "1"
    assert after.grant("r", 1, RUNNER).key_id == "2"
    assert not after.verify(before.grant("r", 1, RUNNER), RUNNER)
    assert not before.verify(after.grant("r", 1, RUNNER), RUNNER)
    assert GrantKeys({"2": NEW}).verify(before.grant("r", 1, RUNNER), RUNNER)


@given(st.text(max_size=5), st.integers(0, 99), st.text(max_size=5))
def test_no_two_assignments_have_the_same_code(request_id: str, epoch: int, runner: str) -> None:
    keys = GrantKeys({"1": OLD})
    moved = keys.grant(request_id + str(epoch)[0], int("0" + str(epoch)[1:]), runner)

    assert keys.grant(request_id, epoch, runner).code != moved.code
