"""Expands a request type and its arguments into a job chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spincycle.graph.chain_builder import ChainBuilder, Limits
from spincycle.graph.instance import Child, Expanded, Instance
from spincycle.graph.job_ids import JobIds
from spincycle.graph.job_maker import JobMaker, SpecPlace
from spincycle.graph.job_paths import JobPaths
from spincycle.graph.memory import ChainMemory, MemoryBudget
from spincycle.graph.plan_hash import plan_hash
from spincycle.graph.request_args import (
    CheckedArgs,
    are_small,
    check_args,
    find_request,
    pattern_steps,
)
from spincycle.graph.simple_requests import SimpleRequests
from spincycle.graph.values import json_copy
from spincycle.graph.worker_threads import StepMonitor, StepTimeout, WorkerThreads
from spincycle.model.job_chain import NOOP, ChainJob
from spincycle.model.scrubber import Scrubber
from spincycle.model.secret_forms import texts_of
from spincycle.runtime.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spincycle.graph.job_maker import CreatedJob, JobFactory
    from spincycle.model.job_chain import JobChain, Value
    from spincycle.model.request_arg import RequestArg
    from spincycle.spec.spec_set import SpecSet
    from spincycle.spec.template import TemplateNode

QUICK_STEPS = 2**22
"""Maximum steps of pattern matching on the event loop: at most about 40 ms."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """Result of an expansion.

    Attributes:
        args: declared arguments with their final values: required, optional, static.
        plan_hash: hash of the chain without ids; see plan_hash.
    """

    chain: JobChain
    args: list[RequestArg]
    plan_hash: str


class Expander:
    """Builds chains; keeps no state per request.

    `on_secrets` receives the scrubber of a request with secret arguments before code of jobs runs;
    the scrubber lives until the chain is built.
    """

    def __init__(
        self,
        jobs: JobFactory,
        limits: Limits | None = None,
        threads: WorkerThreads | None = None,
        on_secrets: Callable[[Scrubber], None] | None = None,
    ) -> None:
        self._jobs = jobs
        self._limits = limits or Limits()
        self._threads = threads or WorkerThreads()
        self._on_secrets = on_secrets
        self._chains = MemoryBudget(self._limits.max_bytes)
        self._simple = SimpleRequests(jobs.creates_immediately)

    async def expand(
        self, specs: SpecSet, request_type: str, args: Mapping[str, Value], request_id: str
    ) -> Expansion:
        """Build the chain of a request.

        The expansion runs on a thread, so that a blocking `create` does not block the event loop;
        an `async def create` runs on the caller's event loop. A simple request is expanded on the
        event loop, which takes less time than a thread switch.

        Raises:
            UnknownRequestType: there is no request of this name.
            InvalidArgs: arguments are invalid; it has one violation per argument.
            ChainNotBuilt: a job rejected its arguments or took too long to create, or the
                arguments do not match the specs.
            PlanTooLarge: the chain has too many jobs or edges, or needs too much memory.
            Overloaded: other chains currently use the memory of this process.
            CreateStuck: too many `create` calls hang.
        """
        request = find_request(specs, request_type)
        is_quick = are_small(args) and pattern_steps(request, args) <= QUICK_STEPS
        # RE2 releases the GIL, so that a long match does not block other calls.
        checked = await off_loop(not is_quick, lambda: check_args(request, args))

        secrets = [arg.value for arg in checked.args if arg.secret]
        scrubber = Scrubber(list(texts_of(secrets))) if secrets and self._on_secrets else None
        if scrubber is not None and self._on_secrets is not None:
            self._on_secrets(scrubber)

        def work(monitor: StepMonitor) -> Expansion:
            maker = JobMaker(self._jobs, request_id, monitor)
            memory = ChainMemory(self._chains)
            builder = ChainBuilder(request_id, self._limits, JobIds(), memory)
            try:
                expansion = _Expansion(specs, request_type, builder, maker).run(checked)
            except BaseException:
                memory.release()
                raise
            memory.release_with(expansion.chain)
            return expansion

        if is_quick and self._simple.contains(specs, request_type, checked.values.values()):
            return work(StepMonitor())
        try:
            return await self._threads.run(work, self._limits.create_timeout)
        except StepTimeout as error:
            place = error.step
            if not isinstance(place, SpecPlace):
                raise
            raise place.error(
                f"cannot build job: creating '{place.job_type} {place.node}' job did not end "
                f"within {self._limits.create_timeout:g} s",
                cause="create timed out",
            )

    def close(self) -> None:
        """Stop the idle threads."""
        self._threads.close()


class _Expansion:
    """One expansion, iterative: nested sequences use an explicit stack."""

    def __init__(
        self, specs: SpecSet, request_type: str, builder: ChainBuilder, maker: JobMaker
    ) -> None:
        self._specs = specs
        self._request_type = request_type
        self._builder = builder
        self._maker = maker
        self._paths = JobPaths()
        self._stack: list[Instance] = []

    def run(self, checked: CheckedArgs) -> Expansion:
        template = self._specs.templates[self._request_type]
        name = f"request_{self._request_type}"
        place = SpecPlace(self._request_type, self._request_type, name)
        begin = self._structural(f"{name}_begin", self._paths.of_begin(""), place)
        begin.sequence_id = begin.id
        begin.sequence_retry_wait = "0s"
        self._builder.add(begin, (), place)
        root = Instance(self._request_type, name, "", template, begin)
        root.enter(checked.values, (), place)
        self._stack.append(root)
        while self._stack:
            self._advance(self._stack[-1])
        chain = self._builder.chain
        chain.timeout = template.sequence.timeout
        return Expansion(chain, checked.args, plan_hash(chain))

    def _advance(self, instance: Instance) -> None:
        if instance.next_node == len(instance.template.nodes):
            self._close(instance)
            return
        node = instance.template.nodes[instance.next_node]
        place = self._place(instance, node)
        expanded = instance.expanded or instance.expand(node, place, hide=self._hides(node))
        for child in expanded.waiting:
            path = self._paths.of_node(instance.path, node.node.name, child.label)
            own_place = _of_element(place, child, path)
            if node.node.category == "job":
                self._add_job(instance, node, expanded, child, own_place)
            else:
                self._open(instance, node, expanded, child, own_place)
                return
        if node.node.parallel:
            self._builder.add_limit(node.node.parallel, expanded.elements)
        instance.finish(node, expanded, place)

    def _add_job(
        self,
        instance: Instance,
        node: TemplateNode,
        expanded: Expanded,
        child: Child,
        place: SpecPlace,
    ) -> None:
        spec = node.node
        job_id = self._builder.new_id(place)
        made = self._maker.make(place, job_id, child.args, child.secret)
        own_rule = spec.interruption == "fail"
        job = ChainJob(
            id=job_id,
            name=spec.name,
            type=spec.type,
            bytes=made.bytes,
            args=child.args or None,
            retry=spec.retry,
            retry_wait=spec.retry_wait,
            sequence_id=instance.begin.id,
            timeout=spec.timeout,
            backoff=spec.backoff,
            fail_if_interrupted=own_rule
            or (not spec.interruption and self._maker.fails_if_interrupted(spec.type)),
            secret_args=child.secret,
            path=place.path,
        )
        self._builder.add(job, expanded.parents, place)
        expanded.elements.append((job_id, job_id))
        self._collect_sets(node, expanded, child, made, place)

    def _collect_sets(
        self,
        node: TemplateNode,
        expanded: Expanded,
        child: Child,
        made: CreatedJob,
        place: SpecPlace,
    ) -> None:
        for index, target in enumerate(node.sets):
            name = target.entry.arg
            if name not in made.args:
                raise place.error(
                    f"expected {place.job_type} to set {name} in jobargs", argument=name
                )
            try:
                value = json_copy(made.args[name])
            except ValueError as error:
                cause = self._maker.scrubbed(str(error))
                raise place.error(
                    f"{place.job_type} set {name} to a value that cannot be stored: {cause}",
                    argument=name,
                    cause=cause,
                )
            self._builder.reserve_value(value, place)
            expanded.results[index].append(value)
            expanded.secret_results[index] |= name in child.secret or self._maker.holds_secret(
                value, child.args, child.secret
            )

    def _open(
        self,
        instance: Instance,
        node: TemplateNode,
        expanded: Expanded,
        child: Child,
        place: SpecPlace,
    ) -> None:
        spec = node.node
        called = spec.type
        if spec.category == "conditional":
            called = instance.branch(node, place)
        template = self._specs.templates[called]
        name = f"{spec.category}_{spec.name}"
        begin = self._structural(f"{name}_begin", self._paths.of_begin(place.path), place)
        begin.sequence_id = begin.id
        begin.parent_sequence_id = instance.begin.id
        begin.sequence_retry = spec.retry
        begin.sequence_retry_wait = spec.retry_wait
        begin.backoff = spec.backoff
        begin.sequence_timeout = _shorter(spec.timeout, template.sequence.timeout)
        self._builder.add(begin, expanded.parents, place)
        inner = Instance(self._request_type, name, place.path, template, begin)
        inner.enter(child.args, child.secret, place)
        self._stack.append(inner)

    def _close(self, instance: Instance) -> None:
        self._stack.pop()
        place = SpecPlace(
            self._request_type, instance.template.sequence.name, instance.name, path=instance.path
        )
        end = self._structural(f"{instance.name}_end", self._paths.of_end(instance.path), place)
        end.sequence_id = instance.begin.id
        open_ends = [
            job_id for job_id in instance.leaf_exits() if not self._builder.has_successor(job_id)
        ]
        self._builder.add(end, open_ends, place)
        if not self._stack:
            return
        caller = self._stack[-1]
        node = caller.template.nodes[caller.next_node]
        assert caller.expanded is not None
        caller.expanded.elements.append((instance.begin.id, end.id))
        for index, target in enumerate(node.sets):
            value, secret = instance.value(target.entry.arg)
            caller.expanded.results[index].append(value)
            caller.expanded.secret_results[index] |= secret

    def _structural(self, name: str, path: str, place: SpecPlace) -> ChainJob:
        job_id = self._builder.new_id(place)
        return ChainJob(id=job_id, name=name, type=NOOP, structural=True, path=path)

    def _hides(self, node: TemplateNode) -> bool:
        """Return whether a sequence that a repeated node calls declares the element as secret."""
        if node.each is None:
            return False
        element = node.each[0][1]
        called = (self._specs.sequences[name] for name in node.node.calls())
        return any(
            arg.secret and arg.name == element for sequence in called for arg in sequence.args.all()
        )

    def _place(self, instance: Instance, node: TemplateNode) -> SpecPlace:
        spec = node.node
        job_type = spec.type if spec.category == "job" else ""
        sequence = instance.template.sequence.name
        return SpecPlace(self._request_type, sequence, spec.name, job_type, around=instance.path)


def _of_element(place: SpecPlace, child: Child, path: str) -> SpecPlace:
    if child.element:
        return replace(place, element=child.element, path=path)
    place.path = path
    return place


def _shorter(first: float | None, second: float | None) -> float | None:
    given = [timeout for timeout in (first, second) if timeout is not None]
    return min(given, default=None)
