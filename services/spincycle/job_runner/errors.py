"""Why a runner refuses a chain, or gives one up."""

from __future__ import annotations


class RunnerError(Exception):
    """The base of the runner's refusals."""


class InvalidChain(RunnerError):
    """The chain can never be run."""


class RunnerFull(RunnerError):
    """The runner has as many chains as it may; another one can take this chain."""

    def __init__(self, max_chains: int) -> None:
        self.max_chains = max_chains
        super().__init__(f"the runner has {max_chains} chains, as many as it may")


class RunnerDraining(RunnerError):
    """The runner takes no chains because it is about to end."""

    def __init__(self) -> None:
        super().__init__("the Job Runner is shutting down")


class StaleEpoch(RunnerError):
    """Another runner owns the request now. A journal raises it to stop a chain for good."""

    def __init__(self, request_id: str, epoch: int, current: int) -> None:
        self.request_id = request_id
        self.epoch = epoch
        self.current = current
        super().__init__(f"request {request_id} is at epoch {current}, not {epoch}")


class UnfitJobData(RunnerError):
    """Job data cannot be handed to the next job."""
