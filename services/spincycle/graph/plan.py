"""Plan of a job chain: a tree of nodes with arguments, dependencies and counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from spincycle.graph.plan_hash import plan_hash
from spincycle.graph.widest import widest
from spincycle.model.job_path import last_part, node_of_begin
from spincycle.model.redaction import redacted, redacted_args

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.model.job_chain import ChainJob, JobChain, Value
    from spincycle.model.request_arg import RequestArg

Kind: TypeAlias = Literal["request", "sequence", "conditional", "job"]
_KINDS: tuple[Kind, ...] = ("request", "sequence", "conditional")


@dataclass(slots=True)
class PlanNode:
    """One job, or one sequence with its contents.

    Attributes:
        job: the job, or the sequence's begin job.
        args: final arguments of a job; secret ones are redacted.
        element: number of the element of a repeated node, from 1; 0 if it is the only one.
        elements: number of elements.
        parallel: maximum elements in flight; 0 means no limit.
        after: names of the sibling nodes that it depends on.
        children: nodes of a sequence, in creation order.
    """

    kind: Kind
    name: str
    job: ChainJob
    args: dict[str, Value] = field(default_factory=dict)
    element: int = 0
    elements: int = 1
    parallel: int = 0
    after: tuple[str, ...] = ()
    children: list[PlanNode] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Last part of its path; in a chain without paths its name and number."""
        if self.job.path and self.kind != "request":
            return last_part(node_of_begin(self.job.path))
        return f"{self.name}[{self.element}]" if self.element else self.name


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request would run, or has run.

    Attributes:
        args: arguments of the request; secret ones are redacted.
        hash: see plan_hash.
        total_jobs: number of jobs, including begin and end jobs.
        work_jobs: number of jobs, excluding begin and end jobs.
        widest: maximum number of jobs that can run at once, under the parallel limits.
        depth: number of jobs on the longest path from the first job to the last.
        spec_revision: revision of the specs from which the chain was built; empty if unknown.
    """

    type: str
    args: tuple[RequestArg, ...]
    root: PlanNode
    chain: JobChain
    hash: str
    total_jobs: int
    work_jobs: int
    widest: int
    depth: int
    spec_revision: str = ""


def make_plan(chain: JobChain, args: Iterable[RequestArg] = (), spec_revision: str = "") -> Plan:
    """Return the plan of a new or an archived chain.

    Raises:
        ValueError: the chain has no begin job, so it was not built by an expansion.
    """
    tree = _Tree(chain)
    return Plan(
        type=tree.root.name,
        args=tuple(redacted_args(args)),
        root=tree.root,
        chain=chain,
        hash=plan_hash(chain),
        total_jobs=len(chain.jobs),
        work_jobs=sum(not job.structural for job in chain.jobs.values()),
        widest=tree.widest(),
        depth=_depth(chain),
        spec_revision=spec_revision,
    )


class _Tree:
    def __init__(self, chain: JobChain) -> None:
        self._chain = chain
        self._parents = _parents(chain)
        self._sequences: dict[str, PlanNode] = {}
        self._owner: dict[str, PlanNode] = {}
        for job in chain.jobs.values():
            self._place(job)
        if not self._sequences:
            raise ValueError(f"the chain of request {chain.request_id} has no begin job")
        self.root = next(iter(self._sequences.values()))
        limits = {limit.elements[0][0]: limit.limit for limit in chain.parallel_limits}
        for sequence in self._sequences.values():
            _number(sequence, limits)
            for node in sequence.children:
                node.after = self._after(node)

    def widest(self) -> int:
        """Return the width, computed from the innermost sequences outwards, each as one vertex."""
        width: dict[int, int] = {}
        for sequence in reversed(self._sequences.values()):
            groups = _groups(sequence)
            number = {name: index for index, name in enumerate(groups)}
            weights = [_weight(group, width) for group in groups.values()]
            parents = [
                [number[name] for name in group[0].after if name in number]
                for group in groups.values()
            ]
            width[id(sequence)] = max(1, widest(weights, parents))
        return width[id(self.root)]

    def _place(self, job: ChainJob) -> None:
        if job.structural:
            if job.sequence_id != job.id:
                self._owner[job.id] = self._sequences[job.sequence_id]
                return
            node = _sequence_node(job)
            self._sequences[job.id] = node
        else:
            node = PlanNode("job", job.name, job, redacted(job.args or {}, job.secret_args))
        self._owner[job.id] = node
        around = job.parent_sequence_id if job.structural else job.sequence_id
        if around in self._sequences:
            self._sequences[around].children.append(node)

    def _after(self, node: PlanNode) -> tuple[str, ...]:
        around = node.job.parent_sequence_id if node.kind != "job" else node.job.sequence_id
        before = (parent for parent in self._parents[node.job.id] if parent != around)
        return tuple(dict.fromkeys(self._owner[parent].name for parent in before))


def _sequence_node(begin: ChainJob) -> PlanNode:
    stem = begin.name.removesuffix("_begin")
    for kind in _KINDS:
        if stem.startswith(f"{kind}_"):
            return PlanNode(kind, stem.removeprefix(f"{kind}_"), begin)
    return PlanNode("sequence", stem, begin)


def _groups(sequence: PlanNode) -> dict[str, list[PlanNode]]:
    groups: dict[str, list[PlanNode]] = {}
    for node in sequence.children:
        groups.setdefault(node.name, []).append(node)
    return groups


def _number(sequence: PlanNode, limits: dict[str, int]) -> None:
    for group in _groups(sequence).values():
        parallel = limits.get(group[0].job.id, 0)
        for index, node in enumerate(group):
            node.elements = len(group)
            node.element = index + 1 if len(group) > 1 else 0
            node.parallel = parallel


def _weight(group: list[PlanNode], width: dict[int, int]) -> int:
    weights = sorted((width.get(id(node), 1) for node in group), reverse=True)
    return sum(weights[: group[0].parallel or len(weights)])


def _parents(chain: JobChain) -> dict[str, list[str]]:
    parents: dict[str, list[str]] = {job_id: [] for job_id in chain.jobs}
    for job_id in chain.jobs:
        for following in chain.next_jobs.get(job_id, ()):
            parents[following].append(job_id)
    return parents


def _depth(chain: JobChain) -> int:
    depth = dict.fromkeys(chain.jobs, 1)
    for job_id in chain.jobs:
        beyond = depth[job_id] + 1
        for following in chain.next_jobs.get(job_id, ()):
            depth[following] = max(depth[following], beyond)
    return max(depth.values(), default=0)
