from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.cli_samples import COMPLETE, ID, request
from tests.integration.cli.conftest import SPINC
from tests.integration.cli.creation import with_plan
from tests.integration.cli.fake_services import FakeServices, Memory

from spincycle.cli.reference import examples, reference

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "spinc.md"


def test_the_page_is_generated_from_the_commands() -> None:
    assert PAGE.read_text() == reference()


def test_help_fits_eighty_columns(environment: dict[str, str]) -> None:
    from spincycle.cli.commands import COMMANDS

    for args in ([], *([name] for name in COMMANDS)):
        ran = subprocess.run(
            [SPINC, "help", *args], env=environment, capture_output=True, text=True, check=True
        )
        assert max(map(len, ran.stdout.splitlines())) <= 80, args


@pytest.mark.parametrize(
    # A login needs an issuer.
    "example",
    [example for example in examples() if not example.startswith("spinc login ")],
)
def test_every_example_runs_without_error(
    services: FakeServices, environment: dict[str, str], example: str
) -> None:
    with_plan(services)
    services.request(ID, state=COMPLETE)
    Path(environment["SPINC_CONFIG"]).write_text("contexts: {prod: {}, staging: {}}\n")

    def fill(memory: Memory) -> None:
        memory.requests[memory.next_id] = request(id=memory.next_id, state=COMPLETE)

    services.update(fill)
    path = f"{Path(SPINC).parent}:{environment['PATH']}"

    ran = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {example}"],
        env=environment | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    # Stopping the request of the examples, which has ended, prints a warning.
    complaints = [line for line in ran.stderr.splitlines() if not line.startswith("warning: ")]
    assert (ran.returncode, complaints) == (0, [])
