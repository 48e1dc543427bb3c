"""Decides which requests a job runner may append entries and pass on output of."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from spincycle.batching.lru import Lru
from spincycle.errors import NotYours
from spincycle.identity.append_grants import AppendGrant, GrantKeys

KEPT_GRANTS = 8192
"""Grants of one stream that are kept. Runners count on 4096, and on the entries of one batch."""

NO_GRANT = "it has shown no grant for it"


class Entitlement:
    """The grants that one job runner has shown on a stream.

    A grant is verified when it is shown, and again after the keys have changed.

    Args:
        runner: SPIFFE ID of the runner.
        keys: returns the current keys.
        kept: maximum grants that are kept; the least recently used ones are forgotten.
    """

    def __init__(self, runner: str, keys: Callable[[], GrantKeys], kept: int = KEPT_GRANTS) -> None:
        self._runner = runner
        self._keys = keys
        self._shown: Lru[tuple[str, int], tuple[AppendGrant, GrantKeys]] = Lru(kept)

    def show(self, grants: Iterable[AppendGrant]) -> None:
        """Keep the grants that a batch brings.

        Raises:
            NotYours: a grant is not valid for this runner.
        """
        keys = self._keys()
        for grant in grants:
            self._verify(grant, keys)

    def check(self, assignments: Iterable[tuple[str, int]]) -> None:
        """Check that the runner may append entries of requests; each has an id and an epoch.

        Raises:
            NotYours: it has shown no grant for one of them, or that grant is no longer valid.
        """
        keys = self._keys()
        for assignment in assignments:
            shown = self._shown.get(assignment)
            if shown is None:
                raise self._refusal(*assignment, NO_GRANT)
            grant, verified_with = shown
            if verified_with is not keys:
                self._verify(grant, keys)

    def check_output(self, grants: Iterable[AppendGrant], request_ids: Iterable[str]) -> None:
        """Check that the runner may pass on output of requests, by the grants of the same message.

        Raises:
            NotYours: a grant is not valid, or there is none for a request.
        """
        granted = set()
        keys = self._keys()
        for grant in grants:
            self._check_valid(grant, keys)
            granted.add(grant.request_id)
        for request_id in request_ids:
            if request_id not in granted:
                raise self._refusal(request_id, None, NO_GRANT)

    def _verify(self, grant: AppendGrant, keys: GrantKeys) -> None:
        self._check_valid(grant, keys)
        self._shown.put((grant.request_id, grant.epoch), (grant, keys))

    def _check_valid(self, grant: AppendGrant, keys: GrantKeys) -> None:
        problem = keys.verify(grant, self._runner)
        if problem:
            raise self._refusal(grant.request_id, grant.epoch, problem)

    def _refusal(self, request_id: str, epoch: int | None, problem: str) -> NotYours:
        request = f"request {request_id}"
        return NotYours(
            caller=self._runner,
            subject=request if epoch is None else f"{request} at epoch {epoch}",
            problem=problem,
            request_id=request_id,
        )
