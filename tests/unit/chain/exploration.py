"""Explores every history of a chain, or a random one."""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.unit.chain.fact import NotAllowed
from tests.unit.chain.model import Model

from spincycle.chain.chain_graph import JobNode, SequenceNode
from spincycle.chain.chain_state import ChainState
from spincycle.chain.commands import NOT_STARTED, Command, TryEnd
from spincycle.chain.rebuild import rebuild
from spincycle.chain.scheduler_state import Mode
from spincycle.chain.try_outcome import StopCause
from spincycle.chain.validation import check_resumed
from spincycle.model.job_chain import ChainJob, JobChain, SuspendedJobChain
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State

Event = tuple[str, str | int]

_ENDS = {
    "completes": TryEnd(State.COMPLETE, started_at=1, finished_at=2),
    "fails": TryEnd(State.FAIL, error="no", started_at=1, finished_at=2),
    "ignores stop": TryEnd(State.FAIL, ignored_stop=True, started_at=1, finished_at=2),
    "refuses": TryEnd(State.FAIL, do_not_resume=True, started_at=1, finished_at=2),
    "stops": TryEnd(State.STOPPED, started_at=1, finished_at=2),
    "never began": NOT_STARTED,
}


@dataclass(slots=True)
class World:
    """State of one history: the chain, the code under test and the model that checks it."""

    state: ChainState
    model: Model
    once: frozenset[str]
    epoch: int = 1
    happened: list[Event] = field(default_factory=list)

    @classmethod
    def of(cls, chain: JobChain, once: frozenset[str]) -> World:
        """Return the initial world; `once` has the events that may happen once, such as crash."""
        world = cls(ChainState.new(chain, 1, float), Model(chain), once)
        world._execute(world.state.start(1))
        return world

    def events(self) -> Iterator[Event]:
        """Yield the events that can happen next."""
        model = self.model
        if model.report is not None:
            return
        if model.saved is not None:
            yield ("resume", "")
            return
        for job_id in model.running:
            yield ("completes", job_id)
            yield ("fails", job_id)
            stop_cause = self.state._graph.jobs[job_id].stop_cause.value
            if stop_cause != "none":
                yield ("stops", job_id)
                if "stubborn" in self.once:
                    yield ("ignores stop", job_id)
                    yield ("refuses", job_id)
            if job_id in model.stopping:
                yield ("never began", job_id)
        waiting = [entry for entry in model.entries if entry.position > model.committed]
        real = [e.position for e in waiting if not model.chain.jobs[e.job_id].structural]
        if waiting:
            yield ("commit", real[0] if real else waiting[-1].position)
        for token, timed in list(self.state._scheduler._timers.items()):
            if isinstance(timed, JobNode) or "overdue" in self.once:
                yield ("elapse", token)
        for event in ("stop", "suspend", "crash"):
            if event in self.once:
                yield (event, "")

    def apply(self, event: Event) -> None:
        """Apply an event and check the resulting commands with the model."""
        self.happened.append(event)
        name, subject = event
        if name in _ENDS:
            self.model.end_try(str(subject), _ENDS[name])
            self._execute(self.state.ended(str(subject), _ENDS[name], 3))
        elif name == "commit":
            self.model.committed = int(subject)
            self._execute(self.state.committed(int(subject), 3))
        elif name == "elapse":
            self._elapse(int(subject))
        elif name == "resume":
            suspended = self.model.saved
            assert suspended is not None
            self._resume(suspended, self.model.resume)
        elif name == "crash":
            self.once -= {name}
            self.model.crash()
            self._resume(rebuild(self.model.chain, self.model.entries, self.epoch), None)
        else:
            self.once -= {name}
            self.model.control(name)
            commands = self.state.stop("why", 3) if name == "stop" else self.state.suspend(3)
            self._execute(commands)

    def _elapse(self, token: int) -> None:
        timed = self.state._scheduler._timers[token]
        self.model.waits.discard(token)
        if isinstance(timed, SequenceNode):
            self.once -= {"overdue"}
            self.model.overdue.add(timed.first.job.id)
        elif not isinstance(timed, JobNode):
            self.once -= {"overdue"}
            self.model.control("overdue")
        self._execute(self.state.elapsed(token, 3))

    def _resume(
        self, suspended: SuspendedJobChain, before_start: Callable[[], None] | None
    ) -> None:
        saved = pickle.loads(pickle.dumps(suspended))
        check_resumed(saved.job_chain)
        if before_start is not None:
            before_start()
        self.epoch += 1
        self.state = ChainState.resumed(saved, self.epoch, float)
        if before_start is None:
            try:
                self._count_on(saved)
            except NotAllowed as error:
                raise NotAllowed(f"{error}\nafter {self.happened}") from None
        self._execute(self.state.start(3))

    def _execute(self, commands: list[Command]) -> None:
        try:
            self.model.execute(commands)
            self._must_not_hang()
        except NotAllowed as error:
            raise NotAllowed(f"{error}\nafter {self.happened}") from None

    def _count_on(self, rebuilt: SuspendedJobChain) -> None:
        """Check that the crashed runner's numbers are not reused; earlier runners are fenced."""
        model = self.model
        for job_id, job in model.chain.jobs.items():
            total = rebuilt.total_job_tries.get(job_id, 0)
            used = model.numbers.get(job_id, 0) if job_id in model.given else 0
            if total < used and not job.structural:
                raise NotAllowed(f"{job_id}: {total} tries after a crash, were {model.numbers}")
            model.numbers[job_id] = total
            cut_off = rebuilt.job_chain.jobs[job_id].state is State.RUNNING
            if cut_off and job_id in rebuilt.sequence_tries:
                model.sequence_tries[job_id] = rebuilt.sequence_tries[job_id]
        model.given.clear()

    def _must_not_hang(self) -> None:
        model = self.model
        if (
            model.report is None
            and model.saved is None
            and not (
                model.running
                or any(isinstance(t, JobNode) for t in self.state._scheduler._timers.values())
                or any(entry.position > model.committed for entry in model.entries)
            )
        ):
            raise NotAllowed("the chain hangs")

    def key(self) -> object:
        """Return exactly the state on which the future depends."""
        scheduler, graph = self.state._scheduler, self.state._graph
        record = scheduler.record
        return (
            self.model.key(),
            self.once,
            scheduler.mode,
            record.complete,
            record.ever_complete,
            tuple(
                (
                    node.state,
                    node.waiting,
                    node.settled,
                    node.latest,
                    node.wait is None,
                    node.after > record.committed,
                    node.position > record.committed,
                    node.stop_cause,
                )
                for node in graph.jobs.values()
            ),
            tuple(
                (s.tries, s.waited, s.failing, s.overdue, s.remaining, s.running, s.timer is None)
                for s in graph.sequences.values()
            ),
            tuple(
                (w.in_flight, tuple(w.queue), tuple((e.admitted, e.closed) for e in w.elements))
                for w in graph.windows
            ),
        )


class Snapshots:
    """Copies of a world that share immutable objects."""

    def __init__(self) -> None:
        _SHARED.clear()
        kinds = (ChainJob, JobChain, JournalEntry, TryEnd, State, StopCause, Mode)
        self._table = copyreg.dispatch_table | dict.fromkeys(kinds, self._share)

    def take(self, world: World) -> bytes:
        """Return a snapshot of the world."""
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer, protocol=5)
        pickler.dispatch_table = self._table
        pickler.dump(world)
        return buffer.getvalue()

    def restore(self, snapshot: bytes) -> World:
        """Return a new world from a snapshot."""
        world = pickle.loads(snapshot)
        assert isinstance(world, World)
        return world

    def _share(self, thing: object) -> tuple[Callable[[int], object], tuple[int]]:
        _SHARED[id(thing)] = thing
        return _shared_thing, (id(thing),)


_SHARED: dict[int, object] = {}


def _shared_thing(number: int) -> object:
    return _SHARED[number]


def explore(chain: JobChain, once: frozenset[str], limit: int = 200_000) -> int:
    """Explore every history; return the number of distinct states.

    Raises:
        NotAllowed: a history violates the rules.
    """
    snapshots = Snapshots()
    first = World.of(chain, once)
    seen = {first.key()}
    pending = [snapshots.take(first)]
    while pending:
        snapshot = pending.pop()
        world = snapshots.restore(snapshot)
        for number, event in enumerate(list(world.events())):
            if number:
                world = snapshots.restore(snapshot)
            world.apply(event)
            key = world.key()
            if key not in seen:
                seen.add(key)
                pending.append(snapshots.take(world))
        if len(seen) > limit:
            raise AssertionError(f"more than {limit} states")
    return len(seen)
