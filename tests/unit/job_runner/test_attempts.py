from __future__ import annotations

from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Scripted, Stage, returns, turns, works_until_stopped

from spincycle.chain.rebuild import rebuild
from spincycle.job import Attempt, Return, State
from spincycle.model.job_chain import JobChain, Value

COMPLETE, FAIL = State.COMPLETE, State.FAIL

SEQUENCES = chain(
    "A > B > c > d > E > F",
    sequences={"B": "B c d E"},
    jobs={"c": {"retry": 1}, "B": {"sequence_retry": 1}, "A": {"sequence_retry": 1}},
)


class Attempts:
    """Records the attempts of a job and returns the given states in turn."""

    def __init__(self, stage: Stage, job_id: str, *states: State | None) -> None:
        self.made: list[Attempt] = []
        self._states = list(states)
        stage.plays[job_id] = [self._play]

    @property
    def keys(self) -> list[str]:
        return [attempt.key for attempt in self.made]

    async def _play(self, job: Scripted, data: dict[str, Value]) -> Return:
        self.made.append(job.attempt)
        state = self._states.pop(0) if self._states else COMPLETE
        if state is None:
            return await works_until_stopped(job, data)
        return Return(state)


async def resume_after_loss(stage: Stage, made: JobChain) -> None:
    stage.runner.run(made, 1)
    await turns()
    entries = list(stage.journal.entries)
    stage.runner.abandon_all()
    await turns()
    stage.open()
    stage.runner.resume(rebuild(made, entries, epoch=1), 2)
    await stage.reports.end()


async def test_each_retry_of_a_job_or_of_a_sequence_has_a_key_of_its_own(stage: Stage) -> None:
    attempts = Attempts(stage, "c", FAIL, COMPLETE, FAIL, FAIL, FAIL)
    stage.plays["d"] = [returns(FAIL), returns(COMPLETE)]

    await stage.run(SEQUENCES)

    assert [attempt.number for attempt in attempts.made] == [1, 2, 3, 4, 5, 6]
    assert attempts.keys == ["1.1.1", "1.1.2", "1.2.1", "1.2.2", "2.1.1", "2.1.2"]


async def test_the_try_after_a_lost_runner_has_the_key_of_the_interrupted_one(
    stage: Stage,
) -> None:
    attempts = Attempts(stage, "c", FAIL, None, FAIL)
    stage.plays["d"] = [returns(COMPLETE)]

    await resume_after_loss(stage, SEQUENCES)

    assert attempts.keys == ["1.1.1", "1.1.2", "1.1.2", "1.2.1"]
    numbers = [attempt.number for attempt in attempts.made]
    assert numbers == sorted(set(numbers))


async def test_a_try_whose_end_was_not_journalled_leaves_its_key_to_the_next(
    stage: Stage,
) -> None:
    attempts = Attempts(stage, "c", FAIL, COMPLETE)
    stage.runner.run(SEQUENCES, 1)
    stage.journal.disconnected = True
    await turns()
    entries: list[object] = list(stage.journal.entries)
    stage.runner.abandon_all()
    await turns()
    stage.open()
    stage.journal.disconnected = False
    stage.runner.resume(rebuild(SEQUENCES, [], epoch=1), 2)
    await stage.reports.end()

    assert entries
    assert attempts.keys[:2] == ["1.1.1", "1.1.1"]


async def test_the_try_after_a_suspension_has_the_key_of_the_one_that_was_stopped(
    stage: Stage,
) -> None:
    attempts = Attempts(stage, "c", FAIL, None, COMPLETE)
    stage.runner.run(SEQUENCES, 1)
    await turns()
    stage.runner.suspend("request")
    saved = await stage.reports.save()

    stage.runner.resume(saved, 2)
    await stage.reports.end()

    assert attempts.keys == ["1.1.1", "1.1.2", "1.1.2"]
    assert [attempt.number for attempt in attempts.made] == [1, 2, 3]
