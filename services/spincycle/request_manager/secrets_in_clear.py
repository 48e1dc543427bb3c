"""Refuses to start while secrets are stored in clear."""

from __future__ import annotations

import structlog

from spincycle.errors import DatabaseUnavailable
from spincycle.request_manager.storage.secret_store import MOST_COUNTED, SecretStore
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.config import ConfigError

RETRY_INTERVAL = 1.0
"""Maximum seconds between two attempts to query the database."""


async def refuse_secrets_in_clear(store: SecretStore) -> None:
    """Check that no secrets are stored in clear; wait while the database is away.

    Raises:
        ConfigError: some are.
    """
    backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
    while True:
        try:
            found = await store.count_in_clear()
            break
        except DatabaseUnavailable:
            structlog.get_logger().debug("cannot query secrets in clear")
        await backoff.wait()
    if found:
        number = (
            f"{found} requests" if found < MOST_COUNTED else f"at least {MOST_COUNTED} requests"
        )
        raise ConfigError(
            f"the secrets of {number} are stored in clear; set secrets.key_file and run `spincycle "
            "secrets rotate`, which seals them; until then set secrets.allow_clear_rows: true, or "
            "secrets.plaintext: true to leave them as they are"
        )
