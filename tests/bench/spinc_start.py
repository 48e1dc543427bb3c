"""How long spinc takes from its start to its first byte, and to its end.

Run it with python -m tests.bench.spinc_start [--out FILE] [--runs 20]. Services that answer from
memory stand behind it, so that only spinc is measured.
"""

from __future__ import annotations

import argparse
import json
import os
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
    """Medians over all runs of one command, in milliseconds."""

    command: str
    first_byte: float
    end: float


def measure(name: str, args: list[str], runs: int, environment: dict[str, str]) -> Result:
    """Run a command again and again."""
    firsts: list[float] = []
    ends: list[float] = []
    for _ in range(runs):
        began = time.perf_counter()
        with subprocess.Popen([SPINC, *args], env=environment, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.read(1)
            firsts.append(time.perf_counter() - began)
            child.stdout.read()
        ends.append(time.perf_counter() - began)
    return Result(name, *(round(1000 * statistics.median(one), 1) for one in (firsts, ends)))


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
        services.tell(fill)
        environment = dict(os.environ, SPINC_ADDR=services.address, SPINC_CONFIG="/nonexistent")
        results = [
            measure(name, args, options.runs, environment) for name, args in COMMANDS.items()
        ]
    sys.stdout.write(f"{'command':<10}{'first byte':>12}{'end':>10}  (ms, median)\n")
    for result in results:
        sys.stdout.write(f"{result.command:<10}{result.first_byte:>12}{result.end:>10}\n")
    if options.out:
        options.out.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
