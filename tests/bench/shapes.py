"""The requests that are timed: specs in YAML, written for a run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SMALL = """
sequences:
  one-noop:
    request: true
    nodes:
      only: {category: job, type: noop}
---
sequences:
  sleepers:
    request: true
    args: {required: [{name: duration}]}
    nodes:
      only: {category: job, type: sleep, args: [{expected: duration}]}
---
sequences:
  with-argument:
    request: true
    args: {optional: [{name: host, default: none}]}
    nodes:
      only: {category: job, type: noop}
---
sequences:
  test:
    request: true
    args: {optional: [{name: sleepTime, default: "1000"}]}
    nodes:
      noop: {category: job, type: noop}
      wait-1: {category: sequence, type: wait, args: [{expected: sleepTime}], deps: [noop]}
      wait-2: {category: sequence, type: wait, args: [{expected: sleepTime}], deps: [noop]}
  wait:
    args: {required: [{name: sleepTime}]}
    nodes:
      wait: {category: job, type: sleep, args: [{expected: duration, given: sleepTime}]}
---
sequences:
  nested:
    request: true
    args: {required: [{name: racks}, {name: hosts}]}
    nodes:
      racks:
        category: sequence
        type: rack
        each: ["racks:rack"]
        args: [{expected: hosts}]
  rack:
    args: {required: [{name: rack}, {name: hosts}]}
    nodes:
      hosts:
        category: sequence
        type: host
        each: ["hosts:host"]
        args: [{expected: rack}]
  host:
    args: {required: [{name: rack}, {name: host}]}
    nodes:
      one: {category: job, type: noop}
      two: {category: job, type: noop, deps: [one]}
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of request.

    Attributes:
        name: as reports call it.
        type: name of its spec.
        args: arguments of every request.
    """

    name: str
    type: str
    args: dict[str, Any] = field(default_factory=dict, hash=False)


NOOP = Shape("one no-op", "one-noop")
TEST = Shape("test, sleep 0", "test", {"sleepTime": "0"})


def chain(size: int) -> Shape:
    """No-ops that follow one another."""
    return Shape(f"chain of {size}", f"chain-{size}")


def fan(size: int) -> Shape:
    """No-ops side by side."""
    return Shape(f"fan of {size}", f"fan-{size}")


def nested(size: int) -> Shape:
    """Repeated sequences within repeated sequences, of about so many jobs."""
    hosts = 10
    # A host is 2 jobs between a begin and an end; a rack has a begin and an end, too.
    racks = max(1, size // (hosts * 4 + 2))
    args = {"racks": [f"r{n}" for n in range(racks)], "hosts": [f"h{n}" for n in range(hosts)]}
    return Shape(f"nested each of {size}", "nested", args)


def write_specs(directory: Path, sizes: tuple[int, ...]) -> None:
    """Write specs of the small requests, and of chains and fans of these sizes."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(_SMALL.split("---\n")):
        (directory / f"small-{number}.yaml").write_text(text)
    for size in sizes:
        (directory / f"chain-{size}.yaml").write_text(_spec(f"chain-{size}", size, follow=True))
        (directory / f"fan-{size}.yaml").write_text(_spec(f"fan-{size}", size, follow=False))


def _spec(name: str, size: int, *, follow: bool) -> str:
    lines = [f"sequences:\n  {json.dumps(name)}:\n    request: true\n    nodes:\n"]
    for number in range(size):
        deps = f", deps: [n{number - 1}]" if follow and number else ""
        lines.append(f"      n{number}: {{category: job, type: noop{deps}}}\n")
    return "".join(lines)
