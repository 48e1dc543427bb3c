from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli_samples import ID, entry
from tests.integration.cli.conftest import Ran
from tests.integration.cli.fake_services import FakeServices, Memory

from spincycle.errors import AccessDenied
from spincycle.v1 import access_service_pb2 as access

Spinc = Callable[..., Ran]


def sent(services: FakeServices) -> str:
    """Return the authorization of the last call."""
    return str(dict(services.memory.metadata[-1]).get("authorization", ""))


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    return file


@pytest.fixture
def context(
    services: FakeServices, spinc: Spinc, environment: dict[str, str], token_file: Path
) -> FakeServices:
    """The context `here` of the services, with a token, is the current one."""
    del environment["SPINC_ADDR"], environment["SPINC_JOB_LOG"]
    address = services.address
    both = ("--addr", address, "--job-log", address)
    assert spinc("context", "set", "here", *both, "--token-file", str(token_file)).code == 0
    assert spinc("context", "use", "here").code == 0
    return services


def test_a_context_sends_its_token_to_both_of_its_addresses(
    context: FakeServices, spinc: Spinc
) -> None:
    context.entry(entry("A000", "drain", position=1))

    assert spinc("status", ID).code == 0
    assert sent(context) == "Bearer s3cret"
    assert spinc("log", ID, "-o", "name").out == "A000/1\n"
    assert sent(context) == "Bearer s3cret"


def test_the_token_of_a_context_is_not_sent_to_another_address(
    context: FakeServices, spinc: Spinc
) -> None:
    with FakeServices() as other:
        ran = spinc("status", ID, "--addr", other.address)
        assert ran.code == 1
        assert sent(other) == ""

        other.update(lambda memory: setattr(memory, "accepts", lambda token: token == "s3cret"))
        refused = spinc("whoami", SPINC_ADDR=other.address)
        assert sent(other) == ""

    assert refused.code == 1
    assert (
        f"is for {context.address}, and is not sent to {other.address}"
        in refused.err.splitlines()[1]
    )


def test_a_changed_context_leaves_out_the_token_of_its_old_address(
    context: FakeServices, spinc: Spinc, token_file: Path
) -> None:
    with FakeServices() as other:
        changed = spinc("context", "set", "here", "--addr", other.address)
        spinc("whoami")
        assert sent(other) == ""

    assert f"the token file {token_file} is for" in changed.out


@pytest.mark.parametrize(
    "options", [("--addr", "rm.example.com:32310"), ("--rest", "http://gw.example.com")]
)
def test_no_token_is_sent_in_plain_text_to_another_machine(
    spinc: Spinc, options: tuple[str, str]
) -> None:
    ran = spinc("status", ID, *options, SPINC_TOKEN="s3cret")

    assert ran.code == 1
    assert ran.err.startswith(
        f"error: the token is not sent to {options[1]}, because the connection has no TLS\n"
    )


def test_a_token_goes_past_the_proxy_to_this_machine(services: FakeServices, spinc: Spinc) -> None:
    ran = spinc("status", ID, SPINC_TOKEN="s3cret", http_proxy="http://127.0.0.1:9")

    assert ran.code == 0
    assert sent(services) == "Bearer s3cret"


@pytest.mark.parametrize("text", ["two words", "line\nline", "tökén"])
def test_what_is_not_a_token_is_refused_without_printing_it(
    context: FakeServices, spinc: Spinc, token_file: Path, text: str
) -> None:
    token_file.write_text(text)

    ran = spinc("status", ID)

    assert ran.err == (
        f"error: the token file {token_file} does not contain a token: "
        "one word of ASCII characters\n"
    )


def test_a_replaced_token_file_is_read_again_when_the_old_token_is_rejected(
    context: FakeServices, spinc: Spinc, token_file: Path
) -> None:
    def replaced(token: str) -> bool:
        token_file.write_text("second\n")
        return token == "second"

    context.update(lambda memory: setattr(memory, "accepts", replaced))

    assert spinc("status", ID).code == 0
    assert sent(context) == "Bearer second"


def test_who_is_not_authenticated_is_pointed_to_login(services: FakeServices, spinc: Spinc) -> None:
    services.update(lambda memory: setattr(memory, "accepts", bool))

    ran = spinc("status", ID)

    assert ran.code == 1
    assert ran.err.splitlines() == [
        "error: the caller is not authenticated: the bearer token is not known here",
        "       log in: spinc login; or set a token: spinc context set <name> --token-file <file>",
    ]


def test_who_is_refused_with_a_token_reads_where_the_token_is_from(
    services: FakeServices, spinc: Spinc
) -> None:
    services.update(lambda memory: setattr(memory, "accepts", lambda _: False))

    ran = spinc("status", ID, SPINC_TOKEN="s3cret")

    assert ran.code == 1
    assert ran.err.splitlines()[1].strip() == (
        "the token of SPINC_TOKEN was sent: replace it, or log in: spinc login"
    )


def test_who_is_denied_is_pointed_to_can(services: FakeServices, spinc: Spinc) -> None:
    denied = AccessDenied("dana", "stop", "greet", "it has no ACL", "", "admin", ID)
    services.update(lambda memory: setattr(memory, "error", denied))

    ran = spinc("stop", ID)

    assert ran.code == 1
    assert ran.err.splitlines()[-1].strip() == (
        "run 'spinc can <operation> <request|ID>' to see the rule that decides"
    )


def test_whoami_prints_the_caller(services: FakeServices, spinc: Spinc) -> None:
    def fill(memory: Memory) -> None:
        memory.caller = access.WhoAmIResponse(
            name="dana", roles=["ops", "viewer"], authenticator="oidc", admin=True
        )
        memory.caller.expires_at.FromJsonString("2000-01-01T00:00:00Z")

    services.update(fill)

    table, plain = spinc("whoami"), spinc("whoami", "-o", "json")

    assert table.out.splitlines() == [
        "    name: dana",
        "   roles: ops, viewer",
        "   admin: yes",
        "known by: oidc",
        "   until: 2000-01-01 00:00:00 UTC (in 0s)",
        f" address: {services.address}",
    ]
    assert json.loads(plain.out)["roles"] == ["ops", "viewer"]
    assert spinc("whoami", "-o", "name").out == "dana\n"


def test_can_explains_a_decision_and_exits_by_it(services: FakeServices, spinc: Spinc) -> None:
    def deny(memory: Memory) -> None:
        memory.decision = access.CheckAccessResponse(
            rule="no-role", message="no role of the caller is in its ACL", granting_roles=["ops"]
        )

    allowed = spinc("can", "start", "greet")
    asked_type = services.memory.received[-1]
    services.update(deny)
    denied = spinc("can", "stop", ID)
    asked_request = services.memory.received[-1]
    failed = spinc("can", "stop", "dc2c0938di121n1t4i91")

    assert (allowed.code, denied.code, failed.code) == (0, 1, 2)
    assert allowed.out.splitlines()[0] == '     yes: role "ops" has the operation'
    assert denied.out.splitlines() == [
        "      no: no role of the caller is in its ACL",
        "    rule: no-role",
        "   roles: ops",
    ]
    assert (asked_type.request_type, asked_type.request_id) == ("greet", "")
    assert (asked_request.request_type, asked_request.request_id) == ("", ID)
