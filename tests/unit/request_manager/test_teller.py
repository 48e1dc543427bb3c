from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
from tests.unit.request_manager.test_watcher import a_request

from spincycle.errors import ServiceUnavailable
from spincycle.request_manager.feeds import Feeds
from spincycle.request_manager.model import Request
from spincycle.request_manager.teller import Teller
from spincycle.request_manager.tracked import Tracked
from spincycle.request_manager.views import Views
from spincycle.request_manager.watcher import Watcher
from spincycle.revision import revision_of
from spincycle.state import State
from spincycle.v1 import job_log_pb2


class NoFeeds:
    def hears(self, runner_id: str) -> bool:
        return False


class NoJournal:
    async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        raise ServiceUnavailable("job log", "127.0.0.1:1")
        yield  # pragma: no cover


def running(request_id: str) -> Tracked:
    """A request of which a runner has told something and not all."""
    row = a_request(request_id=request_id, epoch=1, state=State.RUNNING)
    return Tracked(row, told=revision_of(1, 2), settled=False)


async def test_what_could_not_be_told_counts_as_told_and_everybody_comes_again() -> None:
    teller = Teller(cast("Feeds", NoFeeds()), cast("Views", NoJournal()))
    teller.tracked = {request_id: running(request_id) for request_id in "abc"}
    watcher = Watcher()
    teller.of_all.add(watcher)
    rows: list[Request] = [
        a_request(request_id="a", epoch=1, state=State.COMPLETE),
        a_request(request_id="b", epoch=1, state=State.SUSPENDED, runner_id=""),
        a_request(request_id="c", epoch=1, state=State.FAIL),
    ]

    await teller.tell_rows("9:9:", rows)

    assert teller.seen == "9:9:"
    assert {id_: one.row.state for id_, one in teller.tracked.items()} == {"b": State.SUSPENDED}
    with pytest.raises(ServiceUnavailable):
        await anext(watcher.batches())
