from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from tests.cli_samples import ID
from tests.integration.cli.conftest import SPINC, Ran
from tests.integration.cli.fake_services import FakeServices

Spinc = Callable[..., Ran]


def test_a_context_is_set_used_and_deleted(
    services: FakeServices, spinc: Spinc, environment: dict[str, str]
) -> None:
    del environment["SPINC_ADDR"], environment["SPINC_JOB_LOG"]
    address = services.address

    assert spinc("context", "set", "here", "--addr", address, "--job-log", address).code == 0
    assert spinc("--context", "here", "status", ID).code == 0
    assert spinc("context", "use", "here").out == "OK, using context here\n"
    assert spinc("status", ID).code == 0
    assert spinc("context", "list", "-o", "name").out == "here\n"
    assert spinc("context", "delete", "here").code == 0
    assert spinc("context", "list").out == ""
    assert spinc("context", "use", "here").code == 1


def test_every_call_carries_the_token(services: FakeServices, spinc: Spinc) -> None:
    spinc("status", ID, SPINC_TOKEN="s3cret")

    assert ("authorization", "Bearer s3cret") in services.memory.metadata[-1]


def test_a_closed_pipe_prints_no_error(environment: dict[str, str], spinc: Spinc) -> None:
    ran = subprocess.run(
        ["bash", "-c", f"{SPINC} help | true; exit ${{PIPESTATUS[0]}}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.stderr == ""
    assert ran.returncode in {0, 1, 141}


def test_characters_that_the_terminal_cannot_encode_are_replaced(
    services: FakeServices, spinc: Spinc
) -> None:
    services.request(ID, user="ダナ")

    table = spinc("status", ID, PYTHONIOENCODING="ascii")
    data = spinc("status", ID, "-o", "json", PYTHONIOENCODING="latin-1")

    assert (table.code, table.err) == (0, "")
    assert "caller: ??\n" in table.out
    assert json.loads(data.out)["user"] == "ダナ"


def test_an_argument_that_is_not_text_is_rejected(environment: dict[str, str]) -> None:
    ran = subprocess.run(
        [SPINC, "start", "greet", b"name=\xff"], env=environment, capture_output=True, check=False
    )

    assert ran.returncode == 1
    assert ran.stderr == b"error: word 3 of the command is not UTF-8 text\n"


def test_debug_logs_calls_on_standard_error(spinc: Spinc) -> None:
    ran = spinc("--debug", "status", ID)

    assert ran.out.startswith("   state: RUNNING")
    assert ran.err.startswith("DEBUG GetRequest to the request manager at ")
