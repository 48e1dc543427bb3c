from __future__ import annotations

import json
import re
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.cli_samples import COMPLETE, ID, RUNNING, at, status
from tests.integration.cli.conftest import SPINC, Ran, Tty
from tests.integration.cli.fake_services import FakeServices
from tests.integration.cli.live_events import begin, end
from tests.issuer.process import RunningIssuer, running_issuer

from spincycle.cli.login.stored_login import LoginFile

Spinc = Callable[..., Ran]
OnTty = Callable[..., Tty]

CODE = re.compile(r"confirm the code:\s+(\S+)")


@pytest.fixture(scope="module")
def module_issuer() -> Iterator[RunningIssuer]:
    with running_issuer("--interval", "0.1") as issuer:
        yield issuer


@pytest.fixture
def issuer(module_issuer: RunningIssuer) -> Iterator[RunningIssuer]:
    yield module_issuer
    module_issuer.misbehave("")


@pytest.fixture
def log_in(tty: OnTty, issuer: RunningIssuer) -> Callable[..., Tty]:
    """Begin a login on a terminal, and return it when the code is shown."""

    def begin(*options: str) -> Tty:
        terminal = tty("login", "--issuer", issuer.url, "--client-id", "spinc", *options)
        terminal.see("confirm the code:")
        terminal.see("\r\n")
        return terminal

    return begin


@pytest.fixture
def logged_in(log_in: Callable[..., Tty], issuer: RunningIssuer, tmp_path: Path) -> Path:
    """Log in, and return the file of the login."""
    terminal = log_in()
    issuer.approve(code_of(terminal), "dana")
    assert terminal.end() == 0
    (file,) = tmp_path.glob("*.tokens/*.json")
    return file


def code_of(terminal: Tty) -> str:
    found = CODE.search(terminal.written)
    assert found, terminal.written
    return found[1]


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def token_of(file: Path) -> str:
    return str(json.loads(file.read_text())["token"])


def sent(services: FakeServices) -> str:
    return str(dict(services.memory.metadata[-1]).get("authorization", ""))


def test_a_login_is_confirmed_in_a_browser_and_its_token_is_sent(
    services: FakeServices, spinc: Spinc, logged_in: Path
) -> None:
    assert spinc("status", ID).code == 0

    assert sent(services) == f"Bearer {token_of(logged_in)}"
    assert stat.S_IMODE(logged_in.stat().st_mode) == 0o600
    assert stat.S_IMODE(logged_in.parent.stat().st_mode) == 0o700


def test_the_token_goes_over_rest_too(
    services: FakeServices, spinc: Spinc, log_in: Callable[..., Tty],
    issuer: RunningIssuer, tmp_path: Path,
) -> None:  # fmt: skip
    terminal = log_in("--rest", services.gateway)
    issuer.approve(code_of(terminal))
    assert terminal.end() == 0
    (file,) = tmp_path.glob("*.tokens/*.json")

    assert json.loads(file.read_text())["addresses"] == [services.gateway]
    assert f"OK, logged in to {services.gateway}" in terminal.written

    change(file, token="revoked")
    services.update(lambda memory: setattr(memory, "accepts", lambda token: token != "revoked"))
    assert spinc("--rest", services.gateway, "status", ID).code == 0
    assert sent(services) == f"Bearer {token_of(file)}"

    services.request(ID, state=COMPLETE)
    change(file, token="revoked")
    assert spinc("--rest", services.gateway, "watch", ID).code == 0
    assert token_of(file) != "revoked"


def test_another_address_gets_no_token_of_a_login(spinc: Spinc, logged_in: Path) -> None:
    with FakeServices() as other:
        spinc("status", ID, "--addr", other.address)
        assert sent(other) == ""
        spinc("log", ID, "--job-log", other.address)
        assert sent(other) == ""


def test_ctrl_c_ends_a_login_without_a_trace(log_in: Callable[..., Tty], tmp_path: Path) -> None:
    terminal = log_in()

    terminal.interrupt()

    assert terminal.end() == 130
    assert "Traceback" not in terminal.written
    assert list(tmp_path.glob("*.tokens/*.json")) == []


def test_a_denied_login_is_reported(log_in: Callable[..., Tty], issuer: RunningIssuer) -> None:
    terminal = log_in()

    issuer.deny(code_of(terminal))

    assert terminal.end() == 1
    assert "error: not logged in: the login was denied" in terminal.written


def test_the_issuer_is_remembered_for_the_next_login(
    tty: OnTty, issuer: RunningIssuer, spinc: Spinc, logged_in: Path
) -> None:
    before = token_of(logged_in)

    terminal = tty("login")
    terminal.see("confirm the code:")
    terminal.see("\r\n")
    issuer.approve(code_of(terminal), "erin")

    assert terminal.end() == 0
    assert token_of(logged_in) != before


def test_a_context_names_the_issuer(tty: OnTty, issuer: RunningIssuer, spinc: Spinc) -> None:
    ran = spinc("context", "set", "here", "--issuer", issuer.url, "--client-id", "spinc")
    assert ran.code == 0

    terminal = tty("--context", "here", "login")
    terminal.see("confirm the code:")
    terminal.interrupt()


def test_a_token_is_renewed_before_it_expires(
    services: FakeServices, spinc: Spinc, logged_in: Path
) -> None:
    first = token_of(logged_in)
    change(logged_in, renew_at=1.0, token="about-to-expire")

    assert spinc("status", ID).code == 0
    assert sent(services) == f"Bearer {token_of(logged_in)}"
    assert token_of(logged_in) not in {first, "about-to-expire"}


def test_a_rejected_token_is_renewed_once(
    services: FakeServices, spinc: Spinc, logged_in: Path
) -> None:
    change(logged_in, token="revoked")
    services.update(lambda memory: setattr(memory, "accepts", lambda token: token != "revoked"))

    assert spinc("status", ID).code == 0
    assert sent(services) == f"Bearer {token_of(logged_in)}"

    services.update(lambda memory: setattr(memory, "accepts", lambda _: False))
    calls = len(services.memory.metadata)
    assert spinc("status", ID).code == 1
    assert len(services.memory.metadata) == calls + 2


@pytest.mark.parametrize("over", ["grpc", "rest"])
def test_a_watch_continues_with_the_renewed_token(
    services: FakeServices, tty: OnTty, logged_in: Path, over: str
) -> None:
    options = ["--rest", services.gateway] if over == "rest" else []
    change(logged_in, addresses=[services.gateway, services.address])
    if over == "rest":
        name = f"@{quote(services.gateway, safe='')}.json"
        logged_in = logged_in.rename(logged_in.with_name(name))
    begin(services)
    spinc = tty(*options, "watch", ID)
    spinc.see("3 connections left")
    first = token_of(logged_in)

    services.update(lambda memory: setattr(memory, "accepts", lambda token: token != first))
    services.break_streams()
    services.job(status("D001", "drain", RUNNING, started_at=at(5), status="2 connections left"))
    spinc.see("2 connections left")
    end(services)

    assert spinc.end() == 0
    assert sent(services) == f"Bearer {token_of(logged_in)}"


@pytest.mark.parametrize("over", ["grpc", "rest"])
def test_a_watch_ends_with_the_credential_if_there_is_no_other(
    services: FakeServices, tty: OnTty, over: str
) -> None:
    options = ["--rest", services.gateway] if over == "rest" else []
    begin(services)
    spinc = tty(*options, "watch", ID, SPINC_TOKEN="s3cret")
    spinc.see("3 connections left")

    services.update(lambda memory: setattr(memory, "accepts", lambda _: False))
    services.break_streams()

    assert spinc.end() == 2
    assert "the caller is not authenticated" in spinc.written


def test_processes_that_renew_at_once_do_not_lose_the_refresh_token(
    environment: dict[str, str], issuer: RunningIssuer, logged_in: Path
) -> None:
    """The issuer accepts each refresh token once."""
    change(logged_in, renew_at=1.0)
    before = issuer.calls("/token")

    def status(_: int) -> int:
        return subprocess.run(
            [SPINC, "status", ID], env=environment, check=False, capture_output=True
        ).returncode

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(status, range(6))) == [0] * 6

    assert issuer.calls("/token") == before + 1
    change(logged_in, renew_at=1.0)
    assert status(0) == 0


def test_a_process_waits_for_another_one_that_renews_the_token(
    services: FakeServices,
    environment: dict[str, str],
    issuer: RunningIssuer,
    logged_in: Path,
) -> None:
    file, stored = LoginFile(logged_in), LoginFile(logged_in).read()
    assert stored is not None
    change(logged_in, renew_at=1.0)
    before = issuer.calls("/token")

    with file.lock():
        waiting = subprocess.Popen([SPINC, "status", ID], env=environment, stdout=subprocess.PIPE)
        until_open(waiting, logged_in.with_suffix(".lock"))
        file.write(replace(stored, token="renewed-by-another"))
    waiting.communicate(timeout=60)

    assert waiting.returncode == 0
    assert sent(services) == "Bearer renewed-by-another"
    assert issuer.calls("/token") == before


def until_open(process: subprocess.Popen[bytes], file: Path) -> None:
    """Wait until a process has opened a file."""
    end = time.monotonic() + 60
    while file not in opened(process):
        assert process.poll() is None, "it did not wait"
        assert time.monotonic() < end
        time.sleep(0.01)


def opened(process: subprocess.Popen[bytes]) -> set[Path]:
    found = set()
    for link in Path(f"/proc/{process.pid}/fd").glob("*"):
        with suppress(OSError):
            found.add(link.readlink())
    return found


def test_a_login_that_has_ended_is_reported(
    issuer: RunningIssuer, spinc: Spinc, logged_in: Path
) -> None:
    change(logged_in, renew_at=1.0, expires_at=2.0)
    issuer.revoke_refresh_tokens()

    ran = spinc("status", ID)

    assert ran.code == 1
    assert "the login has ended" in ran.err
    assert "log in: spinc login" in ran.err


def test_a_token_that_is_still_valid_is_sent_while_the_issuer_is_down(
    services: FakeServices, issuer: RunningIssuer, spinc: Spinc, logged_in: Path
) -> None:
    change(logged_in, renew_at=1.0)
    issuer.misbehave("down")

    assert spinc("status", ID).code == 0
    assert sent(services) == f"Bearer {token_of(logged_in)}"

    change(logged_in, expires_at=2.0)
    ran = spinc("status", ID)
    assert ran.code == 1
    assert "responded with HTTP status 503" in ran.err


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("slow", "cannot reach"),
        ("down", "responded with HTTP status 503"),
        ("text", "is not a JSON object"),
        ("redirect", "responded with HTTP status 302"),
        ("wrong-issuer", "describes another issuer: http://127.0.0.1:9"),
    ],
)
def test_an_issuer_that_does_not_work_is_reported(
    issuer: RunningIssuer, spinc: Spinc, kind: str, problem: str
) -> None:
    issuer.misbehave(kind)

    ran = spinc("login", "--issuer", issuer.url, "--client-id", "spinc", "--timeout", "500")

    assert ran.code == 1
    assert ran.err.startswith("error: not logged in: ")
    assert problem in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("url", ["http://login.example.com", "login.example.com", "file:///etc"])
def test_an_issuer_is_not_asked_in_plain_text(spinc: Spinc, url: str) -> None:
    ran = spinc("login", "--issuer", url, "--client-id", "spinc")

    assert ran.err.endswith(" is not an https URL\n")


def test_no_login_is_stored_for_an_address_in_plain_text(
    issuer: RunningIssuer, spinc: Spinc
) -> None:
    ran = spinc(
        "login", "--issuer", issuer.url, "--client-id", "spinc", "--addr", "rm.example.com:1"
    )

    assert "because the connection has no TLS" in ran.err


def test_a_login_beside_a_token_that_is_used_in_its_place_is_refused(
    spinc: Spinc, services: FakeServices, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("s3cret")
    set_context = ("context", "set", "here", "--addr", services.address)
    assert spinc(*set_context, "--token-file", str(tmp_path / "token")).code == 0

    by_variable = spinc("login", SPINC_TOKEN="s3cret")
    by_file = spinc("--context", "here", "login")

    assert "the variable SPINC_TOKEN is used in place of a login" in by_variable.err
    assert "is used in place of a login" in by_file.err


def test_logout_deletes_the_token(services: FakeServices, spinc: Spinc, logged_in: Path) -> None:
    assert spinc("logout").out == f"OK, logged out of {services.address}\n"

    assert not logged_in.exists()
    spinc("status", ID)
    assert sent(services) == ""
    assert spinc("logout").out == f"not logged in to {services.address}\n"


def test_a_deleted_context_leaves_no_token(
    log_in: Callable[..., Tty], issuer: RunningIssuer, spinc: Spinc, tmp_path: Path
) -> None:
    for name in ("here", "there"):
        assert spinc("context", "set", name).code == 0
        terminal = log_in("--context", name)
        issuer.approve(code_of(terminal))
        assert terminal.end() == 0

    assert spinc("context", "delete", "here").code == 0

    (kept,) = tmp_path.glob("*.tokens/*.json")
    assert kept.name.startswith("there@")


def test_a_damaged_file_is_reported(spinc: Spinc, logged_in: Path) -> None:
    logged_in.write_text('{"addresses": 3}')

    ran = spinc("status", ID)

    assert ran.err.splitlines() == [
        f"error: {logged_in} is not a login of spinc",
        "       delete it, and run 'spinc login'",
    ]
