from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.cli_samples import COMPLETE, ID, request
from tests.integration.cli.conftest import SPINC
from tests.integration.cli.fake_services import FakeServices, Memory
from tests.integration.cli.test_commands import with_plan

from spincycle.cli.reference import examples, reference

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "spinc.md"


def test_the_page_is_what_the_commands_say_of_themselves() -> None:
    assert PAGE.read_text() == reference()


def test_help_reads_well_at_eighty_columns(environment: dict[str, str]) -> None:
    from spincycle.cli.commands import COMMANDS

    for args in ([], *([name] for name in COMMANDS)):
        ran = subprocess.run(
            [SPINC, "help", *args], env=environment, capture_output=True, text=True, check=True
        )
        assert max(map(len, ran.stdout.splitlines())) <= 80, args


@pytest.mark.parametrize("example", examples())
def test_every_example_does_what_it_says(
    services: FakeServices, environment: dict[str, str], example: str
) -> None:
    with_plan(services)
    services.request(ID, state=COMPLETE)
    Path(environment["SPINC_CONFIG"]).write_text("contexts: {prod: {}, staging: {}}\n")

    def fill(memory: Memory) -> None:
        memory.requests[memory.next_id] = request(id=memory.next_id, state=COMPLETE)

    services.tell(fill)
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

    # The request of the examples has ended, which a stop warns of.
    complaints = [line for line in ran.stderr.splitlines() if not line.startswith("warning: ")]
    assert (ran.returncode, complaints) == (0, [])
