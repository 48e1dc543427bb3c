"""Features that a chain may require of its runner."""

from __future__ import annotations

from collections.abc import Iterable

from spincycle.errors import FeatureNotSupported

SUPPORTED: frozenset[str] = frozenset()
"""Names of the features that this version supports; see JobChain.required_features of the contract.
Jobs, sequences, retries, timeouts and parallel limits require none."""


def check_features(
    request_id: str, required: Iterable[str], supported: frozenset[str] = SUPPORTED
) -> None:
    """Check that all features that a chain requires are supported.

    Raises:
        FeatureNotSupported: some are not; the error lists them.
    """
    missing = sorted(set(required) - supported)
    if missing:
        raise FeatureNotSupported(request_id, ", ".join(missing))
