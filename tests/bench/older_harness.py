"""Runs the harness of a commit that can neither select shapes nor count RPCs.

`python older_harness.py --shapes NAMES -- OPTIONS`, in the root of that commit's tree and with the
interpreter of its environment, does what `python -m tests.bench OPTIONS` does there, with the
files of that tree, and replaces three things in the running process: the table of shapes is
reduced to NAMES, the services serve metrics, and the calls that they handle while statements are
counted are added to bench.json as "rpcs". Written for commit da93cb4; no later harness needs it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_SERVICES = ("RM", "JR", "JL")
_NO_SUCH_PART = "error: this harness has no {}; compare without --shapes, or with another base\n"


def main() -> None:
    """Run the harness of the tree in the current directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="", help="as python -m tests.bench")
    parser.add_argument("--out", type=Path, required=True)
    known, options = parser.parse_known_args()
    # In place of the directory of this file, whose modules are those of another tree.
    sys.path[0] = str(Path.cwd())
    sys.argv[1:] = [*(one for one in options if one != "--"), "--out", str(known.out)]
    try:
        harness = importlib.import_module("tests.bench.__main__")
        if known.shapes:
            _select(harness, known.shapes.split(";"))
        rpcs = _count_rpcs(harness)
    except (ImportError, AttributeError) as error:
        sys.exit(_NO_SUCH_PART.format(error))
    harness.main()
    _add_rpcs(known.out / "bench.json", rpcs)


def _select(harness: Any, names: list[str]) -> None:
    selection = _sibling("selection")
    harness._COUNTS = selection.select(harness._COUNTS, names)


def _count_rpcs(harness: Any) -> dict[str, list[dict[str, int]]]:
    """Count RPCs whenever statements are counted; the result fills while the harness runs."""
    free_port = importlib.import_module("spincycle.dev.ports").free_port
    addresses = [f"127.0.0.1:{free_port()}" for _ in _SERVICES]
    for service, address in zip(_SERVICES, addresses, strict=True):
        os.environ[f"SPINCYCLE_{service}_METRICS__LISTEN"] = address
    counter = _sibling("rpcs").RpcCounter(addresses)
    statements = importlib.import_module("tests.bench.statements").Statements
    begin, end, add = statements.begin, statements.end, harness.Results.add
    latest: dict[str, int] = {}
    found: dict[str, list[dict[str, int]]] = {}

    async def begin_with_rpcs(self: Any) -> None:
        await counter.begin()
        await begin(self)

    async def end_with_rpcs(self: Any) -> Any:
        nonlocal latest
        done = await end(self)
        latest = await counter.end()
        return done

    def add_with_rpcs(self: Any, figures: Any) -> None:
        add(self, figures)
        found.setdefault(f"{figures.shape} @ {figures.in_flight}", []).append(latest)

    statements.begin, statements.end = begin_with_rpcs, end_with_rpcs
    harness.Results.add = add_with_rpcs
    return found


def _add_rpcs(path: Path, found: dict[str, list[dict[str, int]]]) -> None:
    results = json.loads(path.read_bytes())
    for name, runs in results["shapes"].items():
        for run, rpcs in zip(runs, found.get(name, ()), strict=False):
            run["rpcs"] = rpcs
    path.write_text(json.dumps(results, indent=2))


def _sibling(name: str) -> ModuleType:
    """Load a module from the directory of this file, under a name that nothing else has."""
    spec = importlib.util.spec_from_file_location(
        f"spincycle_bench_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
