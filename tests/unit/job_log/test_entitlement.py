from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spincycle.batching.lru import Lru
from spincycle.errors import NotYours
from spincycle.identity.append_grants import AppendGrant, GrantKeys
from spincycle.job_log.entitlement import KEPT_GRANTS, Entitlement
from spincycle.job_runner.journal_stream import MAX_BATCH, SHOWN_GRANTS, _PendingEntry, _Stream
from spincycle.v1.job_log_pb2 import JobLog

RUNNER = "spiffe://spincycle/spincycle/job-runner/1"
OLD, NEW = GrantKeys({"1": b"o" * 32}), GrantKeys({"2": b"n" * 32})


def test_a_shown_grant_entitles_to_its_request_and_epoch_only() -> None:
    entitlement = Entitlement(RUNNER, lambda: OLD)
    entitlement.show([OLD.grant("r", 2, RUNNER)])

    entitlement.check([("r", 2), ("r", 2)])
    for assignment in (("r", 1), ("r", 0), ("other", 2)):
        with pytest.raises(NotYours, match="has shown no grant") as refused:
            entitlement.check([("r", 2), assignment])
        assert refused.value.request_id == assignment[0]


@pytest.mark.parametrize(
    "grant",
    [
        OLD.grant("r", 2, RUNNER + "1"),
        NEW.grant("r", 2, RUNNER),
        replace(OLD.grant("r", 2, RUNNER), epoch=3),
        replace(OLD.grant("r", 2, RUNNER), request_id="r2"),
        replace(OLD.grant("r", 2, RUNNER), code=b""),
    ],
)
def test_a_grant_that_is_not_valid_is_refused_when_it_is_shown(grant: AppendGrant) -> None:
    entitlement = Entitlement(RUNNER, lambda: OLD)

    with pytest.raises(NotYours) as refused:
        entitlement.show([grant])

    assert refused.value.request_id == grant.request_id
    with pytest.raises(NotYours):
        entitlement.check([(grant.request_id, grant.epoch)])


def test_a_grant_ends_with_its_key_and_outlives_other_keys() -> None:
    keys = [OLD]
    entitlement = Entitlement(RUNNER, lambda: keys[-1])
    entitlement.show([OLD.grant("r", 1, RUNNER)])

    keys.append(GrantKeys({"2": b"n" * 32, "1": b"o" * 32}))
    entitlement.check([("r", 1)])
    keys.append(NEW)
    with pytest.raises(NotYours, match='there is no grant key "1"'):
        entitlement.check([("r", 1)])


def test_a_grant_is_verified_once_however_many_entries_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verified: list[AppendGrant] = []
    verify = GrantKeys.verify

    def counted(keys: GrantKeys, grant: AppendGrant, runner: str) -> str:
        verified.append(grant)
        return verify(keys, grant, runner)

    monkeypatch.setattr(GrantKeys, "verify", counted)
    entitlement = Entitlement(RUNNER, lambda: OLD)
    entitlement.show([OLD.grant("r", 1, RUNNER)])
    entitlement.check([("r", 1)] * 1000)

    assert len(verified) == 1


def test_output_needs_a_grant_of_the_same_message_for_each_of_its_requests() -> None:
    entitlement = Entitlement(RUNNER, lambda: OLD)
    grants = [OLD.grant("a", 1, RUNNER), OLD.grant("b", 2, RUNNER)]

    entitlement.check_output(grants, ["a", "b", "a"])
    with pytest.raises(NotYours, match="may not act for request b: it has shown no grant"):
        entitlement.check_output(grants[:1], ["a", "b"])
    with pytest.raises(NotYours, match="request c at epoch 1: the grant is not for this runner"):
        entitlement.check_output([replace(grants[0], request_id="c")], ["c"])


class Listener:
    """A chain that has a grant."""

    def __init__(self, request: int) -> None:
        self.append_grant = OLD.grant(str(request), 1, RUNNER)

    def committed(self, position: int) -> None: ...

    def refused(self, error: Exception) -> None: ...


LISTENERS = [Listener(request) for request in range(12)]
BATCH = 3


def pending(request: int) -> _PendingEntry:
    return _PendingEntry(JobLog(request_id=str(request), epoch=1), LISTENERS[request], 0, 0)


@given(
    # One chain has many entries, so that its grant is shown long before it is last used.
    st.lists(st.lists(st.just(0) | st.integers(0, 11), min_size=1, max_size=BATCH), max_size=60),
    st.integers(1, 5),
)
@example([[0, request] for request in range(1, 12)], 2)
def test_a_job_log_still_has_every_grant_that_a_runner_does_not_show_again(
    batches: list[list[int]], shown: int
) -> None:
    stream = _Stream(shown=Lru(shown))
    entitlement = Entitlement(RUNNER, lambda: OLD, kept=shown + BATCH)
    for batch in batches:
        entries = [pending(request) for request in batch]
        entitlement.show(stream.unshown_grants(entries))
        entitlement.check((each.entry.request_id, each.entry.epoch) for each in entries)


def test_a_job_log_keeps_the_grants_of_a_runner_and_of_one_more_batch() -> None:
    assert KEPT_GRANTS >= SHOWN_GRANTS + MAX_BATCH


def test_a_runner_shows_each_grant_once_on_a_stream() -> None:
    stream = _Stream()

    shown = [stream.unshown_grants([pending(1), pending(2), pending(1)]) for _ in range(2)]

    assert [[grant.request_id for grant in grants] for grants in shown] == [["1", "2"], []]
