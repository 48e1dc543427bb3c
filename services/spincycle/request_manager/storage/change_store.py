"""Changes of requests in PostgreSQL, in the order in which they were committed."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from spincycle.database.database import Database
from spincycle.request_manager.storage.encoded_args import EncodeArgs, EncodedArgs
from spincycle.request_manager.storage.model import ChainHolder, Request
from spincycle.request_manager.storage.request_row import request_of
from spincycle.request_manager.storage.row_values import holders_of
from spincycle.request_manager.storage.stored_args import StoredArgs


class ChangeStore:
    """Reads changes of requests.

    What it returns survives a crash of the database server, so that its snapshots stay valid.
    Every method raises DatabaseUnavailable while the database is away.

    Args:
        encode_args: encodes arguments of requests.
    """

    def __init__(self, database: Database, encode_args: EncodeArgs) -> None:
        self._database = database
        self._encode_args = encode_args

    async def now(self) -> str:
        """Return a snapshot of what is committed now, in PostgreSQL's text format."""
        row = await self._database.fetch_one("current_snapshot")
        assert row is not None
        await self._database.execute("flush")
        snapshot: str = row["snapshot"]
        return snapshot

    async def after(self, seen: str, limit: int | None = None) -> tuple[str, list[Request]]:
        """Return the snapshot of now, and the requests whose state changed after `seen`.

        At most `limit` requests, in the order of their changes.
        """
        rows = await self._changed(seen, limit, with_args=True)
        return rows[0]["snapshot"], [request_of(row) for row in rows if row["request_id"]]

    async def changed(self, seen: str, limit: int, *, with_args: bool) -> list[tuple[int, Request]]:
        """Return the same requests, each with the id of the transaction that changed it.

        Without `with_args`, `Request.given_args` of each is empty.
        """
        rows = await self._changed(seen, limit, with_args=with_args)
        return [(int(row["changed_by"]), request_of(row)) for row in rows if row["request_id"]]

    async def _changed(
        self, seen: str, limit: int | None, *, with_args: bool
    ) -> list[asyncpg.Record]:
        rows = await self._database.fetch(
            "changed_requests", seen=seen, limit=limit, with_args=with_args
        )
        if not rows[0]["is_flushed"]:
            await self._database.execute("flush")
        return rows

    async def args(self, request_ids: Sequence[str]) -> dict[str, EncodedArgs]:
        """Return the resolved arguments of requests by request id."""
        rows = await self._database.fetch("args_of_requests", request_ids=list(request_ids))
        return {
            row["request_id"]: await self._encode_args(row["request_id"], StoredArgs(row["args"]))
            for row in rows
        }

    async def holders(self, request_ids: Sequence[str]) -> dict[str, ChainHolder]:
        """Return the holders of the requests that exist, by request id."""
        return holders_of(
            await self._database.fetch("chain_holders", request_ids=list(request_ids))
        )
