"""How the time to lint and to expand grows with the size of a request.

Run it with python -m tests.bench.spec_growth [--out FILE] [--sizes 100,1000]. For each shape
and size it takes the best of several runs, in CPU time of this process. The shapes:

deep chain   one sequence whose nodes follow one another, each using what the one before set
wide fan     one sequence whose nodes all depend on the first one
nested each  a list of lists of jobs: 2 levels of repeated sequences, from a spec of 20 lines
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spincycle.graph import Expander, Limits, make_plan
from spincycle.job import Job, JobTypes, Return, State
from spincycle.spec import Source, SpecSet, check_sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.model.job_chain import Value

SIZES = (100, 1_000, 10_000, 100_000)

jobs = JobTypes()


@jobs.register("step")
class Step(Job):
    """Passes a value on, as real jobs do."""

    def create(self, args: dict[str, Value]) -> None:
        args["out"] = args.get("in")

    def serialize(self) -> bytes:
        return b"{}"

    def run(self, data: dict[str, Value]) -> Return:
        return Return(State.COMPLETE)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement.

    Attributes:
        lint: CPU seconds from text to checked spec set.
        expand: CPU seconds from spec set to chain with plan hash.
        plan: CPU seconds from chain to plan.
    """

    shape: str
    jobs: int
    lint: float
    expand: float
    plan: float


def deep_chain(size: int) -> tuple[str, dict[str, Value]]:
    lines = [
        "sequences:\n  r:\n    request: true\n    args: {required: [{name: x0}]}\n    nodes:\n"
    ]
    for number in range(1, size + 1):
        lines.append(
            f"      n{number}:\n"
            "        category: job\n"
            "        type: step\n"
            f"        args: [{{expected: in, given: x{number - 1}}}]\n"
            f"        sets: [{{arg: out, as: x{number}}}]\n"
        )
        if number > 1:
            lines.append(f"        deps: [n{number - 1}]\n")
    return "".join(lines), {"x0": "a"}


def wide_fan(size: int) -> tuple[str, dict[str, Value]]:
    lines = ["sequences:\n  r:\n    request: true\n    args: {required: [{name: x}]}\n    nodes:\n"]
    for number in range(size):
        lines.append(
            f"      n{number}:\n"
            "        category: job\n"
            "        type: step\n"
            "        args: [{expected: in, given: x}]\n"
        )
        if number:
            lines.append("        deps: [n0]\n")
    return "".join(lines), {"x": "a"}


def nested_each(size: int) -> tuple[str, dict[str, Value]]:
    inner = 10
    text = """
sequences:
  r:
    request: true
    args: {required: [{name: racks}, {name: hosts}]}
    nodes:
      racks:
        category: sequence
        type: rack
        each: ["racks:rack"]
        args: [{expected: hosts}]
        parallel: 5
  rack:
    args: {required: [{name: rack}, {name: hosts}]}
    nodes:
      first: {category: job, type: step, args: [{expected: in, given: rack}]}
      hosts:
        category: job
        type: step
        each: ["hosts:host"]
        args: [{expected: rack}]
        deps: [first]
"""
    racks: list[Value] = [f"r{number}" for number in range(max(1, size // (inner + 3)))]
    return text, {"racks": racks, "hosts": [f"h{number}" for number in range(inner)]}


SHAPES = {"deep chain": deep_chain, "wide fan": wide_fan, "nested each": nested_each}


def measure(shape: str, size: int, runs: int) -> Figure:
    """Take one figure."""
    text, args = SHAPES[shape](size)
    source = Source("bench.yaml", text)
    specs = check_sources([source]).specs
    assert specs is not None
    expander = Expander(jobs, Limits(create_timeout=600))

    def expand(specs: SpecSet = specs) -> object:
        return asyncio.run(expander.expand(specs, "r", args, "request-id"))

    expansion = asyncio.run(expander.expand(specs, "r", args, "request-id"))
    return Figure(
        shape=shape,
        jobs=len(expansion.chain.jobs),
        lint=_best(lambda: check_sources([source]), runs),
        expand=_best(expand, runs),
        plan=_best(lambda: make_plan(expansion.chain), runs),
    )


def _per_job(figure: Figure, name: str) -> float:
    return float(getattr(figure, name)) / figure.jobs


def _best(act: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        gc.collect()
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    """Print a table; write the same as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    figures = []
    print("shape           jobs    lint µs/job  expand µs/job  plan µs/job")  # noqa: T201 - a report
    for shape in SHAPES:
        for size in sizes:
            figure = measure(shape, size, runs=max(2, min(5, 20_000 // size)))
            figures.append(figure)
            per_job = [1e6 * t / figure.jobs for t in (figure.lint, figure.expand, figure.plan)]
            columns = "".join(f"{figure_:>14.1f}" for figure_ in per_job)
            print(f"{shape:12}{figure.jobs:>8}{columns}")  # noqa: T201 - a report
            sys.stdout.flush()
    for shape in SHAPES:
        taken = {figure.jobs: figure for figure in figures if figure.shape == shape}
        small = min(taken, key=lambda jobs_: abs(jobs_ - 1_000))
        for name in ("lint", "expand"):
            ratio = _per_job(taken[max(taken)], name) / _per_job(taken[small], name)
            print(f"{shape}: {name} time a job, {max(taken)} to {small} jobs: {ratio:.2f}")  # noqa: T201 - a report
    if options.out:
        options.out.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")


if __name__ == "__main__":
    main()
