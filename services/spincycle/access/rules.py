"""The rules by which operations are allowed or denied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from spincycle.access.caller import Caller
from spincycle.access.config import AccessConfig, AuthConfig
from spincycle.model.operation import REQUEST_OPERATIONS, Operation
from spincycle.runtime.loopback import is_loopback
from spincycle.spec import Acl

IMPLIED_BY = {
    Operation.SUSPEND: Operation.STOP,
    Operation.RESUME: Operation.STOP,
    Operation.RERUN: Operation.START,
    Operation.SKIP: Operation.START,
}
"""Operations that another one includes, unless an ACL of the request names them."""


_ANY = frozenset(REQUEST_OPERATIONS)


class Rule(StrEnum):
    """The rule that decided; the names are part of the API."""

    SERVICE = "service"
    OPEN = "open"
    ADMIN_ROLE = "admin-role"
    UNDEFINED_TYPE = "undefined-type"
    STRICT = "strict"
    NO_ACL = "no-acl"
    NO_ROLE = "no-role"
    NO_OPERATION = "no-operation"
    ACL = "acl"
    PLUGIN = "plugin"


_ALLOWING = frozenset({Rule.SERVICE, Rule.OPEN, Rule.ADMIN_ROLE, Rule.NO_ACL, Rule.ACL})


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules decided, and by which.

    Attributes:
        granting_roles: roles that have the operation, admin roles included.
        why: the ground as a clause, such as `role "ops" has the operation`.
    """

    rule: Rule
    why: str
    granting_roles: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the rule allows the operation."""
        return self.rule in _ALLOWING


@dataclass(frozen=True, slots=True)
class Rules:
    """Decides by the roles of callers and the ACLs of request types.

    Attributes:
        admin_roles: roles that may do everything.
        impersonator_roles: roles that may create requests for other users.
        strict: whether types without an ACL are for admin roles only.
        is_open: whether callers are not authenticated, and may do everything.
    """

    admin_roles: frozenset[str] = frozenset()
    impersonator_roles: frozenset[str] = frozenset()
    strict: bool = True
    is_open: bool = False

    def decide(
        self, caller: Caller, operation: Operation, acls: Sequence[Acl] | None = None
    ) -> Decision:
        """Decide on an operation of a caller.

        Args:
            caller: who wants to do it.
            operation: what it is.
            acls: ACL of the request type; None if no spec defines the type. Not used for
                operations on no request.
        """
        if rule := self._unrestricted(caller):
            return Decision(rule, _UNRESTRICTED[rule], self._granting(operation, acls))
        if operation not in REQUEST_OPERATIONS:
            return self._decide_general(caller, operation)
        if acls is None:
            return Decision(Rule.UNDEFINED_TYPE, "no spec defines it", self._admins())
        granting = self._granting(operation, acls)
        if not acls:
            if self.strict:
                return Decision(Rule.STRICT, "it has no ACL", granting)
            return Decision(Rule.NO_ACL, "it has no ACL", granting)
        roles = set(caller.roles)
        if not roles.intersection(acl.role for acl in acls):
            return Decision(Rule.NO_ROLE, "no role of the caller is in its ACL", granting)
        for role in granting:
            if role in roles:
                return Decision(Rule.ACL, f'role "{role}" has the operation', granting)
        why = "no role of the caller has the operation"
        return Decision(Rule.NO_OPERATION, why, granting)

    def viewable_types(
        self, caller: Caller, acls: Mapping[str, Sequence[Acl]]
    ) -> tuple[str, ...] | None:
        """Return the request types that a caller may view, sorted; None means all requests.

        `acls` has the ACLs of all defined types, by type.
        """
        if self._unrestricted(caller):
            return None
        return tuple(
            sorted(
                type_
                for type_, acl in acls.items()
                if self.decide(caller, Operation.VIEW, acl).allowed
            )
        )

    def is_admin(self, caller: Caller) -> bool:
        """Return whether a caller may do everything."""
        return self._unrestricted(caller) is not None

    def _unrestricted(self, caller: Caller) -> Rule | None:
        if caller.is_service:
            return Rule.SERVICE
        if self.is_open:
            return Rule.OPEN
        if self.admin_roles.intersection(caller.roles):
            return Rule.ADMIN_ROLE
        return None

    def _decide_general(self, caller: Caller, operation: Operation) -> Decision:
        granting = self._granting(operation, None)
        for role in granting:
            if role in caller.roles:
                return Decision(Rule.ACL, f'role "{role}" has the operation', granting)
        return Decision(Rule.NO_OPERATION, "no role of the caller has the operation", granting)

    def _granting(self, operation: Operation, acls: Sequence[Acl] | None) -> tuple[str, ...]:
        if operation is Operation.IMPERSONATE:
            return (*sorted(self.impersonator_roles), *self._admins())
        return tuple(dict.fromkeys((*_granted(operation, acls or ()), *self._admins())))

    def _admins(self) -> tuple[str, ...]:
        return tuple(sorted(self.admin_roles))


_UNRESTRICTED = {
    Rule.SERVICE: "the caller is a service of the installation",
    Rule.OPEN: "callers are not authenticated here",
    Rule.ADMIN_ROLE: "the caller has an admin role",
}


def _granted(operation: Operation, acls: Sequence[Acl]) -> list[str]:
    """Return the roles to which an ACL grants an operation on requests."""
    granting = _ANY if operation is Operation.VIEW else frozenset({operation})
    implied_by = IMPLIED_BY.get(operation)
    if implied_by is not None and not any(operation in acl.ops for acl in acls):
        granting |= {implied_by}
    return [acl.role for acl in acls if acl.admin or not granting.isdisjoint(acl.ops)]


def rules_of(access: AccessConfig, auth: AuthConfig, listen: str) -> Rules:
    """Return the rules of a service whose public listener is on `listen`, host:port."""
    return Rules(
        admin_roles=frozenset(access.admin_roles),
        impersonator_roles=frozenset(access.impersonator_roles),
        strict=not is_loopback(listen) if access.strict is None else access.strict,
        is_open=auth.none,
    )
