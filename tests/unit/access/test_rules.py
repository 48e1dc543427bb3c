"""The access rules: the decision table of the original, with its holes closed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.access.caller import OPEN, SERVICE, Caller
from spincycle.access.config import AccessConfig, AuthConfig
from spincycle.access.rules import Rule, Rules, rules_of
from spincycle.model.operation import REQUEST_OPERATIONS, Operation
from spincycle.spec import Acl
from spincycle.spec.model import NOWHERE

EVERY = set(REQUEST_OPERATIONS)
VIEW, START, STOP, SUSPEND, RESUME, RERUN, SKIP = REQUEST_OPERATIONS
ROLES = ("admin", "portal", "a", "b", "c")


def acl(role: str, *ops: str, admin: bool = False) -> Acl:
    return Acl(role, admin, ops, NOWHERE, {})


def rules(*, strict: bool = False) -> Rules:
    return Rules(frozenset({"admin"}), frozenset({"portal"}), strict)


def caller(*roles: str) -> Caller:
    return Caller("ann", roles, "token-file")


SHAPES: dict[str, tuple[list[Acl] | None, set[Operation]]] = {
    "no spec": (None, set()),
    "no ACL": ([], EVERY),
    "another role": ([acl("b", "start", "stop")], set()),
    "admin of the type": ([acl("a", admin=True)], EVERY),
    "view": ([acl("a", "view")], {VIEW}),
    "start": ([acl("a", "start")], {VIEW, START, RERUN, SKIP}),
    "stop": ([acl("a", "stop")], {VIEW, STOP, SUSPEND, RESUME}),
    "start and stop, as in old specs": ([acl("a", "start", "stop")], EVERY),
    "suspend": ([acl("a", "suspend")], {VIEW, SUSPEND}),
    "stop, and another role has suspend": (
        [acl("a", "stop"), acl("b", "suspend")],
        {VIEW, STOP, RESUME},
    ),
    "start, and another role has skip": (
        [acl("b", "skip"), acl("a", "start")],
        {VIEW, START, RERUN},
    ),
    "stop and resume": ([acl("a", "stop", "resume")], {VIEW, STOP, SUSPEND, RESUME}),
    "nothing": ([acl("a")], set()),
    "an unknown operation": ([acl("a", "stopp")], set()),
    "two entries": ([acl("a", "start"), acl("a", "stop")], EVERY),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operation", REQUEST_OPERATIONS)
def test_a_role_has_the_operations_that_an_acl_grants(shape: str, operation: Operation) -> None:
    acls, granted = SHAPES[shape]

    decided = rules().decide(caller("a"), operation, acls)

    assert decided.allowed == (operation in granted), decided
    assert rules().decide(caller("x", "a"), operation, acls).allowed == decided.allowed


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operation", REQUEST_OPERATIONS)
def test_admins_services_and_callers_of_open_installations_may_do_everything(
    shape: str, operation: Operation
) -> None:
    acls, _ = SHAPES[shape]
    service = Caller("spiffe://x", authenticator=SERVICE)
    is_open = Rules(is_open=True)

    assert rules(strict=True).decide(caller("b", "admin"), operation, acls).rule is Rule.ADMIN_ROLE
    assert rules(strict=True).decide(service, operation, acls).rule is Rule.SERVICE
    assert is_open.decide(Caller("", authenticator=OPEN), operation, acls).rule is Rule.OPEN


@pytest.mark.parametrize("operation", REQUEST_OPERATIONS)
def test_the_rules_are_tried_in_the_order_of_the_original(operation: Operation) -> None:
    strict = rules(strict=True)
    granting = [acl("b", admin=True)]

    assert strict.decide(caller("admin"), operation, None).rule is Rule.ADMIN_ROLE
    assert strict.decide(caller("a"), operation, None).rule is Rule.UNDEFINED_TYPE
    assert strict.decide(caller("a"), operation, []).rule is Rule.STRICT
    assert rules().decide(caller("a"), operation, []).rule is Rule.NO_ACL
    assert rules().decide(caller("a"), operation, granting).rule is Rule.NO_ROLE
    assert rules().decide(caller("a"), operation, [*granting, acl("a")]).rule is Rule.NO_OPERATION
    assert rules().decide(caller("A"), operation, [acl("a", admin=True)]).rule is Rule.NO_ROLE
    assert rules().decide(caller("b"), operation, granting).rule is Rule.ACL


def test_an_anonymous_caller_has_no_role() -> None:
    assert rules().decide(Caller(""), START, [acl("", "start")]).allowed is False
    assert rules().decide(Caller(""), Operation.ADMIN).allowed is False


def test_operations_on_the_installation_need_roles_of_the_configuration() -> None:
    assert rules().decide(caller("admin"), Operation.ADMIN).allowed
    assert rules().decide(caller("admin"), Operation.IMPERSONATE).allowed
    assert rules().decide(caller("portal"), Operation.IMPERSONATE).rule is Rule.ACL
    assert not rules().decide(caller("portal"), Operation.ADMIN).allowed
    assert not rules().decide(caller("a"), Operation.IMPERSONATE).allowed
    # An ACL cannot grant them.
    hostile = [acl("a", "admin", "impersonate", admin=True)]
    assert not rules().decide(caller("a"), Operation.ADMIN, hostile).allowed
    assert not rules().decide(caller("a"), Operation.IMPERSONATE, hostile).allowed


def test_a_denial_names_the_roles_that_have_the_operation() -> None:
    acls = [acl("b", "start"), acl("c", admin=True), acl("d", "stop"), acl("b", "rerun")]

    decided = rules().decide(caller("d"), START, acls)

    assert decided.granting_roles == ("b", "c", "admin")


OPS = st.sampled_from([*REQUEST_OPERATIONS, "stopp", "admin"])
ACLS = st.lists(
    st.builds(
        lambda role, ops, admin: acl(role, *ops, admin=admin),
        st.sampled_from(ROLES),
        st.lists(OPS, max_size=3),
        st.booleans(),
    ),
    max_size=4,
)
CALLERS = st.lists(st.sampled_from(ROLES), max_size=3).map(lambda roles: caller(*roles))


def expected(
    who: Caller, operation: Operation, acls: Sequence[Acl] | None, *, strict: bool
) -> bool:
    """Decide by a table of grants, role by role."""
    if "admin" in who.roles:
        return True
    if acls is None:
        return False
    if not acls:
        return not strict
    named = {op for one in acls for op in one.ops}
    grants: dict[str, set[str]] = {}
    for one in acls:
        granted = set(map(str, EVERY)) if one.admin else set(one.ops) & set(map(str, EVERY))
        if granted:
            granted.add("view")
        for source, implied in (("stop", ("suspend", "resume")), ("start", ("rerun", "skip"))):
            if source in granted:
                granted.update(op for op in implied if op not in named)
        grants.setdefault(one.role, set()).update(granted)
    return any(operation in grants.get(role, ()) for role in who.roles)


@given(CALLERS, st.sampled_from(REQUEST_OPERATIONS), st.none() | ACLS, st.booleans())
def test_decisions_are_those_of_a_table_of_grants(
    who: Caller, operation: Operation, acls: list[Acl] | None, strict: bool
) -> None:
    decided = rules(strict=strict).decide(who, operation, acls)

    assert decided.allowed == expected(who, operation, acls, strict=strict), decided
    if decided.allowed and decided.rule is Rule.ACL:
        assert set(who.roles) & set(decided.granting_roles)
    if not decided.allowed:
        assert not set(who.roles) & set(decided.granting_roles)


@given(CALLERS, st.dictionaries(st.sampled_from("pqrs"), ACLS), st.booleans())
def test_viewable_types_are_those_whose_view_is_allowed(
    who: Caller, types: dict[str, list[Acl]], strict: bool
) -> None:
    viewable = rules(strict=strict).viewable_types(who, types)

    if "admin" in who.roles:
        assert viewable is None
    else:
        assert viewable == tuple(
            sorted(name for name, acls in types.items() if expected(who, VIEW, acls, strict=strict))
        )


def test_types_without_an_acl_are_for_admins_only_if_other_machines_reach_the_listener() -> None:
    def strict(listen: str, configured: bool | None = None) -> bool:
        return rules_of(AccessConfig(strict=configured), AuthConfig(), listen).strict

    assert strict("0.0.0.0:32310")  # not bound
    assert strict("10.0.0.1:32310")
    assert not strict("127.0.0.1:32310")
    assert not strict("localhost:32310")
    assert not strict("0.0.0.0:32310", configured=False)  # not bound
    assert strict("127.0.0.1:32310", configured=True)


def test_nobody_is_restricted_where_callers_are_not_authenticated() -> None:
    assert rules_of(AccessConfig(), AuthConfig(none=True), "10.0.0.1:1").is_open
    assert not rules_of(AccessConfig(), AuthConfig(), "10.0.0.1:1").is_open
