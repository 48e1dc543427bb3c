"""How long spinc takes from its start to its first byte, and to its end.

Run it with python -m tests.bench.spinc_start [--out FILE] [--runs 20]. Services that answer from
memory stand behind it, so that only spinc is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cli_samples import ID, greet_spec, request
from tests.integration.cli.fake_services import FakeServices, Memory

SPINC = str(Path(sys.executable).parent / "spinc")

COMMANDS = {"listing": [], "help": ["help"], "status": ["status", ID], "find": ["find"]}


@dataclass(frozen=True)
class Result:
    """One command over all runs, in milliseconds.

    Attributes:
        command: name of the command.
        first_byte: median from its start to the first byte that it writes.
        end: median from its start to its exit.
        best: the shortest of those.
        cpu: median of the processor time of the process, which a busy machine changes little.
    """

    command: str
    first_byte: float
    end: float
    best: float
    cpu: float


def measure(name: str, args: list[str], runs: int, environment: dict[str, str]) -> Result:
    """Run a command again and again."""
    firsts: list[float] = []
    ends: list[float] = []
    busy: list[float] = []
    for _ in range(runs):
        before = _children()
        began = time.perf_counter()
        with subprocess.Popen([SPINC, *args], env=environment, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.read(1)
            firsts.append(time.perf_counter() - began)
            child.stdout.read()
        ends.append(time.perf_counter() - began)
        busy.append(_children() - before)
    figures = (*map(statistics.median, (firsts, ends)), min(ends), statistics.median(busy))
    return Result(name, *(round(1000 * figure, 1) for figure in figures))


def _children() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure all commands and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()

    def fill(memory: Memory) -> None:
        memory.specs = [greet_spec()]
        memory.requests[ID] = request()

    with FakeServices() as services:
        services.update(fill)
        environment = dict(os.environ, SPINC_ADDR=services.address, SPINC_CONFIG=os.devnull)
        results = [
            measure(name, args, options.runs, environment) for name, args in COMMANDS.items()
        ]
    heads = ("first byte", "end", "best", "cpu")
    sys.stdout.write("command   " + "".join(f"{head:>12}" for head in heads) + "  (ms)\n")
    for one in results:
        figures = (one.first_byte, one.end, one.best, one.cpu)
        sys.stdout.write(f"{one.command:<10}" + "".join(f"{f:>12}" for f in figures) + "\n")
    if options.out:
        options.out.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
