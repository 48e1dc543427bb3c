from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

import pytest

from spincycle.request_manager.runners.silence import Silence, SilenceMonitor, SilenceTimeouts
from spincycle.request_manager.storage.heartbeats import HeartbeatId, LiveRunner

TIMEOUTS = SilenceTimeouts(silence=8.0, replaced=3.0, scan_gap=4.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Database:
    """Runners and their last heartbeats, as request managers read them."""

    def __init__(self) -> None:
        self._runners: dict[str, LiveRunner] = {}
        self._registrations = count(1)
        self._numbers = count(1)

    def register(self, runner_id: str, address: str = "", identity: str = "") -> None:
        self._runners[runner_id] = LiveRunner(
            runner_id, address or runner_id, next(self._registrations), self._heartbeat(), identity
        )

    def beat(self, runner_id: str) -> HeartbeatId:
        known = self._runners[runner_id]
        heartbeat = self._heartbeat()
        self._runners[runner_id] = LiveRunner(
            runner_id, known.address, known.registration, heartbeat
        )
        return heartbeat

    def live(self) -> Sequence[LiveRunner]:
        return list(reversed(self._runners.values()))

    def heartbeats(self) -> Mapping[str, HeartbeatId]:
        return {id_: runner.heartbeat for id_, runner in self._runners.items()}

    def _heartbeat(self) -> HeartbeatId:
        return HeartbeatId("another", next(self._numbers))


class RequestManager:
    """Scans the runners by a clock that the test advances."""

    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        self.monitor = SilenceMonitor(TIMEOUTS, self.clock)
        self._database = database

    def scan(self) -> float | None:
        return self.monitor.scanned(self._database.live())

    def scan_for(self, seconds: int) -> None:
        """Scan once per second."""
        for _ in range(seconds):
            self.clock.now += 1.0
            self.scan()


@pytest.fixture
def database() -> Database:
    database = Database()
    database.register("r")
    return database


@pytest.fixture
def manager(database: Database) -> RequestManager:
    manager = RequestManager(database)
    manager.scan()
    return manager


def test_a_runner_is_overdue_once_the_same_heartbeat_was_read_for_the_whole_timeout(
    manager: RequestManager, database: Database
) -> None:
    manager.scan_for(7)
    manager.clock.now += 0.9
    assert manager.monitor.overdue() == {}

    manager.clock.now += 0.1

    assert manager.monitor.overdue() == database.heartbeats()


def test_each_new_heartbeat_resets_the_silence(manager: RequestManager, database: Database) -> None:
    for _ in range(30):
        manager.scan_for(1)
        database.beat("r")

    assert manager.monitor.overdue() == {}
    manager.scan_for(8)
    assert manager.monitor.overdue() == {}
    manager.scan_for(1)
    assert manager.monitor.overdue() == database.heartbeats()


def test_a_request_manager_that_has_just_started_waits_a_whole_timeout(
    manager: RequestManager, database: Database
) -> None:
    manager.scan_for(60)
    second = RequestManager(database)

    second.scan()
    second.scan_for(7)
    assert second.monitor.overdue() == {}
    second.scan_for(1)

    assert second.monitor.overdue() == database.heartbeats()


@pytest.mark.parametrize(("gap", "is_overdue"), [(3.9, True), (4.1, False)])
def test_a_gap_between_two_scans_resets_silence(
    manager: RequestManager, gap: float, is_overdue: bool
) -> None:
    manager.scan_for(7)

    manager.clock.now += gap
    assert bool(manager.monitor.overdue()) is is_overdue
    manager.scan()

    assert bool(manager.monitor.overdue()) is is_overdue
    manager.scan_for(7)
    assert bool(manager.monitor.overdue()) is is_overdue
    manager.scan_for(1)
    assert manager.monitor.overdue()


def test_a_heartbeat_that_this_process_received_counts_from_then(
    manager: RequestManager, database: Database
) -> None:
    manager.scan_for(5)
    manager.clock.now += 0.5
    manager.monitor.received("r", database.beat("r"))

    manager.scan_for(7)
    assert manager.monitor.overdue() == {}
    manager.scan_for(1)

    assert manager.monitor.overdue() == database.heartbeats()


def test_a_database_that_lost_heartbeats_makes_no_runner_overdue(
    manager: RequestManager, database: Database
) -> None:
    forgotten = database.live()
    database.beat("r")
    manager.scan_for(5)

    manager.monitor.scanned(forgotten)
    manager.scan_for(7)
    assert manager.monitor.overdue() == {}


def test_a_runner_that_was_replaced_at_its_address_is_overdue_sooner(
    manager: RequestManager, database: Database
) -> None:
    database.register("after", address="r")
    manager.scan_for(3)
    assert manager.monitor.overdue() == {"r": database.heartbeats()["r"]}


def test_a_runner_of_another_identity_at_its_address_does_not_replace_a_runner(
    manager: RequestManager, database: Database
) -> None:
    database.register("after", address="r", identity="another")

    manager.scan_for(7)
    assert manager.monitor.overdue() == {}


def test_live_runners_that_share_an_address_have_the_whole_timeout(
    manager: RequestManager, database: Database
) -> None:
    database.register("after", address="r")
    manager.scan_for(2)
    database.beat("r")
    database.beat("after")

    manager.scan_for(8)
    assert manager.monitor.overdue() == {}
    manager.scan_for(1)
    assert manager.monitor.overdue() == database.heartbeats()


def test_of_two_runners_at_an_address_the_one_registered_earlier_was_replaced(
    database: Database,
) -> None:
    database.register("after", address="r")
    manager = RequestManager(database)
    manager.scan()

    manager.scan_for(3)

    assert manager.monitor.overdue() == {"r": database.heartbeats()["r"]}


def test_a_scan_returns_when_the_next_runner_can_be_overdue(
    manager: RequestManager, database: Database
) -> None:
    manager.clock.now += 1.0
    assert manager.scan() == pytest.approx(2.0)
    database.register("s")
    manager.clock.now += 1.5
    assert manager.scan() == pytest.approx(0.5)


def test_without_runners_no_eviction_is_due() -> None:
    assert RequestManager(Database()).scan() is None


def test_the_silence_of_a_runner_is_exact_once_a_heartbeat_arrived_between_scans(
    manager: RequestManager, database: Database
) -> None:
    manager.scan_for(2)
    assert manager.monitor.silence("r") == Silence(2.0, is_exact=False)

    database.beat("r")
    manager.scan_for(1)
    manager.clock.now += 0.5

    assert manager.monitor.silence("r") == Silence(0.5, is_exact=True)


def test_deregistered_runners_are_forgotten(manager: RequestManager) -> None:
    manager.scan_for(8)
    manager.monitor.scanned([])

    assert manager.monitor.overdue() == {}
    assert manager.monitor.silence("r") == Silence(0.0, is_exact=False)
