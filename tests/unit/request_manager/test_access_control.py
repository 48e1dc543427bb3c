"""Access control: rules, current specs and the plug-in together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from spincycle.access.caller import SERVICE, Caller
from spincycle.access.plugin import Denied, Plugin, RequestAccess
from spincycle.access.rules import Rules
from spincycle.errors import AccessDenied, RequestNotFound
from spincycle.model.operation import Operation
from spincycle.model.request_arg import REDACTED
from spincycle.request_manager.requests import access_control
from spincycle.request_manager.requests.access_control import AccessControl, Denial
from spincycle.spec import Source, SpecSet, check_sources

ADMIN = Caller("root", ("admin",), "token-file")
DEV = Caller("dana", ("dev",), "token-file")
RULES = Rules(admin_roles=frozenset({"admin"}), strict=True)


def specs(roles: str = "dev") -> SpecSet:
    text = f"""
sequences:
  deploy:
    request: true
    acl: [{{role: {roles}, ops: [start]}}]
    args:
      required: [{{name: host}}, {{name: password, secret: true}}]
    nodes:
      n: {{category: job, type: t, args: [{{expected: host}}, {{expected: password}}]}}
  part:
    nodes:
      n: {{category: job, type: t}}
"""
    loaded = check_sources([Source("a.yaml", text)])
    assert loaded.specs is not None, loaded.findings
    return loaded.specs


class Decider:
    """A plug-in that records what it is asked, and decides as the test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Operation, RequestAccess | None]] = []
        self.error: BaseException | None = None
        self.hangs = False

    async def authenticate(self, metadata: Mapping[str, Sequence[str]], peer: str) -> None:
        pass

    async def authorize(
        self, caller: Caller, operation: Operation, request: RequestAccess | None
    ) -> None:
        self.asked.append((caller.name, operation, request))
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


def control(
    plugin: Decider | None = None, denials: list[Denial] | None = None, **of_plugin: Any
) -> AccessControl:
    current = specs()
    return AccessControl(
        RULES,
        lambda: current,
        None if plugin is None else Plugin(plugin, **of_plugin),
        (denials if denials is not None else []).append,
    )


async def test_the_plugin_is_asked_about_admins_too_and_its_words_reach_the_caller() -> None:
    plugin = Decider()
    plugin.error = Denied("not on a Friday")
    denials: list[Denial] = []

    with pytest.raises(AccessDenied, match="the access plug-in denies it: not on a Friday"):
        await control(plugin, denials).authorize(ADMIN, Operation.START, "deploy")
    with pytest.raises(AccessDenied):
        await control(plugin, denials).authorize_admin(ADMIN, "reload of specs")

    assert [(denial.operation, denial.rule) for denial in denials] == [
        (Operation.START, "plugin"),
        (Operation.ADMIN, "plugin"),
    ]


async def test_the_plugin_sees_type_request_and_arguments_without_secrets() -> None:
    plugin = Decider()
    access = control(plugin)

    args = {"host": "h1", "password": "hunter2"}
    actor = await access.authorize(DEV, Operation.START, "deploy", args=args)
    await access.authorize(DEV, Operation.RERUN, "deploy", request_id="r1")
    await access.authorize_admin(ADMIN, "reload of specs")

    assert (actor.name, actor.roles, actor.rule) == ("dana", ("dev",), "acl")
    masked = {"host": "h1", "password": REDACTED}
    assert plugin.asked == [
        ("dana", Operation.START, RequestAccess("deploy", "", masked)),
        ("dana", Operation.RERUN, RequestAccess("deploy", "r1", {})),
        ("root", Operation.ADMIN, None),
    ]


async def test_the_plugin_cannot_allow_what_the_rules_deny() -> None:
    plugin = Decider()

    with pytest.raises(AccessDenied):
        await control(plugin).authorize(DEV, Operation.STOP, "deploy")
    assert plugin.asked == []


@pytest.mark.parametrize("kind", ["raises", "hangs"])
async def test_a_plugin_that_fails_denies_everything(kind: str) -> None:
    plugin = Decider()
    plugin.hangs = kind == "hangs"
    plugin.error = ZeroDivisionError("secret detail")

    with pytest.raises(AccessDenied) as denied:
        await control(plugin, deadline=0.01).authorize(ADMIN, Operation.START, "deploy")
    assert "plug-in" in denied.value.why
    assert "secret detail" not in denied.value.message


async def test_attempts_on_requests_that_may_not_be_viewed_are_recorded_and_find_nothing() -> None:
    denials: list[Denial] = []
    stranger = Caller("eve", ("sales",), "token-file")

    with pytest.raises(RequestNotFound):
        await control(denials=denials).authorize(
            stranger, Operation.STOP, "deploy", request_id="r1"
        )

    (denial,) = denials
    assert (denial.caller, denial.operation, denial.request_type, denial.request_id) == (
        stranger,
        Operation.STOP,
        "deploy",
        "r1",
    )
    assert denial.rule == "no-role"


async def test_denials_are_counted_by_operation_and_rule() -> None:
    access = control()
    for _ in range(2):
        with pytest.raises(AccessDenied):
            await access.authorize(DEV, Operation.STOP, "deploy")
    with pytest.raises(AccessDenied):
        await access.authorize_admin(DEV, "reload of specs")

    assert access.denials == {("stop", "no-operation"): 2, ("admin", "no-operation"): 1}


def test_sequences_that_are_not_requests_and_unknown_types_are_for_admins_only() -> None:
    for type_ in ("part", "none", "noop"):
        assert control().decide(DEV, Operation.START, type_).rule == "undefined-type"
        assert not control().may_view(DEV, type_)
        assert control().may_view(ADMIN, type_)


def test_viewable_types_follow_the_current_specs() -> None:
    current = specs("dev")
    access = AccessControl(RULES, lambda: current)
    assert access.viewable_types(DEV) == frozenset({"deploy"})
    assert access.viewable_types(DEV) is access.viewable_types(DEV)

    current = specs("sre")

    assert access.viewable_types(DEV) == frozenset()
    assert access.viewable_types(Caller("sam", ("sre",), "token-file")) == frozenset({"deploy"})


def test_what_is_cached_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_control, "MAX_CACHED_DECISIONS", 100)
    access = control()
    for number in range(1000):
        caller = Caller("x", (f"role-{number}",), "oidc")
        access.viewable_types(caller)
        access.decide(caller, Operation.START, "deploy")
        access.decide(caller, Operation.START, f"type-{number}")
    assert len(access._viewable) <= access_control.MAX_CACHED_ROLES
    assert len(access._decisions) <= 100


def test_decisions_follow_the_current_specs() -> None:
    current = specs("dev")
    access = AccessControl(RULES, lambda: current)
    assert access.decide(DEV, Operation.START, "deploy").allowed
    assert not access.decide(replace(DEV, roles=()), Operation.START, "deploy").allowed
    assert access.decide(replace(DEV, authenticator=SERVICE), Operation.STOP, "deploy").allowed
    assert not access.decide(DEV, Operation.STOP, "deploy").allowed

    current = specs("sre")

    assert not access.decide(DEV, Operation.START, "deploy").allowed
