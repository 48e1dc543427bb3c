"""Features of chains that a runner must support to run them as they were planned."""

from __future__ import annotations

from collections.abc import Iterable

from spincycle.errors import FeatureNotSupported

SUPPORTED: frozenset[str] = frozenset()
"""Names of the features that this version runs; see JobChain.required_features of the contract.
Jobs, sequences, retries, timeouts and parallel limits need none."""


def check_features(
    request_id: str, required: Iterable[str], supported: frozenset[str] = SUPPORTED
) -> None:
    """Check that a chain requires nothing that this version would ignore.

    Raises:
        FeatureNotSupported: it requires a feature that is not supported; all such are named.
    """
    missing = sorted(set(required) - supported)
    if missing:
        raise FeatureNotSupported(request_id, ", ".join(missing))
