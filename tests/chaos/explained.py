"""Whether everything that is not final always has a reason in `explain`."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from tests.chaos.load import CALL_AGAIN, FINAL, Load

from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import status_pb2

EMPTY_IN_A_ROW = 10
"""Samples, 0.2 s apart, after which an empty explanation is no longer a job between two tries."""

MADE_AGAIN = CALL_AGAIN | {grpc.StatusCode.NOT_FOUND}


class Explained:
    """Samples explanations of acknowledged requests that have not ended.

    Attributes:
        empty: requests that were not final, ran no job, and had no explanation.
        texts: what requests waited for as a whole, and how often that was seen.
    """

    def __init__(self, load: Load, seed: int = 1) -> None:
        self._load = load
        self._draw = random.Random(seed)
        self._ended: set[str] = set()
        self.empty: list[str] = []
        self.texts: Counter[str] = Counter()

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            open_ = sorted(self._load.acknowledged.keys() - self._ended)
            if open_:
                await self._sample(self._draw.choice(open_))
            await asyncio.sleep(0.2)

    async def _sample(self, request_id: str) -> None:
        for _ in range(EMPTY_IN_A_ROW):
            try:
                if await self._has_reason(request_id):
                    return
            except grpc.aio.AioRpcError as failure:
                if failure.code() not in MADE_AGAIN:
                    text = f"explain {request_id}: {failure.code().name}: {failure.details()}"
                    self._load.wrong.append(text)
                return
            await asyncio.sleep(0.2)
        self.empty.append(request_id)

    async def _has_reason(self, request_id: str) -> bool:
        stub = self._load.stub
        explained = await stub.Explain(rpc.ExplainRequest(request_id=request_id), timeout=10)
        if explained.state in FINAL:
            self._ended.add(request_id)
            return True
        if explained.message:
            self.texts[explained.message.replace(request_id, "ID")] += 1
            return True
        if explained.jobs:
            return True
        asked = rpc.ListRunningJobsRequest(filter=status_pb2.StatusFilter(request_id=request_id))
        return bool((await stub.ListRunningJobs(asked, timeout=10)).status.jobs)


@asynccontextmanager
async def explaining(load: Load) -> AsyncIterator[Explained]:
    """Samples for as long as the context lasts."""
    explained = Explained(load)
    sampling = asyncio.create_task(explained.run())
    try:
        yield explained
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
