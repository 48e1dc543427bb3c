"""Decides what callers may do with requests, by the access rules and the current specs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spincycle.access.caller import Caller
from spincycle.access.rules import Decision, Rules
from spincycle.errors import AccessDenied, RequestNotFound
from spincycle.model.operation import REQUEST_OPERATIONS, Operation
from spincycle.request_manager.storage.actor import Actor
from spincycle.spec import SpecSet

MAX_CACHED_ROLES = 1000
"""Most sets of roles whose viewable types are cached."""


@dataclass(frozen=True, slots=True)
class Denial:
    """A denied attempt to change something.

    Attributes:
        request_type: type of the request; empty for operations on the installation.
        request_id: request that was named; empty if none was.
        rule: name of the rule that decided.
        error: what the caller would get, if it may view the request.
    """

    caller: Caller
    operation: Operation
    request_type: str
    request_id: str
    rule: str
    error: AccessDenied


OnDenied = Callable[[Denial], None]


class AccessControl:
    """Authorizes operations of callers.

    Args:
        rules: the access rules.
        specs: returns the current specs, whose ACLs count.
        on_denied: receives denied attempts.
    """

    def __init__(
        self, rules: Rules, specs: Callable[[], SpecSet], on_denied: OnDenied = lambda _: None
    ) -> None:
        self._rules = rules
        self._specs = specs
        self._on_denied = on_denied
        self._viewable: dict[frozenset[str], frozenset[str]] = {}
        self._viewable_in: SpecSet | None = None

    async def authorize(
        self,
        caller: Caller,
        operation: Operation,
        type_: str,
        *,
        request_id: str = "",
    ) -> Actor:
        """Authorize an operation on a request, or the creation of one; return who does it.

        Args:
            caller: who wants to do it.
            operation: one of REQUEST_OPERATIONS.
            type_: type of the request.
            request_id: the request; empty if it is to be created.

        Raises:
            AccessDenied: the caller may not do that.
            RequestNotFound: the caller may not even view the request.
        """
        decision = self.decide(caller, operation, type_)
        if not decision.allowed:
            subject = f"requests of type {type_}"
            if request_id:
                subject = f"request {request_id} of type {type_}"
            denied = self._denied(caller, operation, subject, decision, type_, request_id)
            if request_id and not self.may_view(caller, type_):
                raise RequestNotFound(request_id)
            raise denied
        return Actor.of(caller, decision.rule)

    async def authorize_admin(self, caller: Caller, action: str) -> Actor:
        """Authorize an operation on the installation, such as "reload of specs".

        Raises:
            AccessDenied: the caller may not do that.
        """
        return await self._authorize_general(caller, Operation.ADMIN, f"({action})")

    async def authorize_impersonation(self, caller: Caller, user: str) -> None:
        """Authorize that a caller acts for a user.

        Raises:
            AccessDenied: the caller may not do that.
        """
        await self._authorize_general(caller, Operation.IMPERSONATE, f'"{user}"')

    async def _authorize_general(self, caller: Caller, operation: Operation, subject: str) -> Actor:
        decision = self._rules.decide(caller, operation)
        if not decision.allowed:
            raise self._denied(caller, operation, subject, decision)
        return Actor.of(caller, decision.rule)

    def decide(self, caller: Caller, operation: Operation, type_: str = "") -> Decision:
        """Return the decision of the rules, without any consequence."""
        sequence = self._specs().sequences.get(type_)
        is_defined = sequence is not None and sequence.request
        return self._rules.decide(
            caller, operation, sequence.acl if sequence is not None and is_defined else None
        )

    def allowed_operations(self, caller: Caller, type_: str) -> tuple[Operation, ...]:
        """Return the operations that the rules allow on requests of a type."""
        return tuple(
            operation
            for operation in REQUEST_OPERATIONS
            if self.decide(caller, operation, type_).allowed
        )

    def may_impersonate(self, caller: Caller) -> bool:
        """Return whether the rules let a caller create requests for other users."""
        return self._rules.decide(caller, Operation.IMPERSONATE).allowed

    def is_admin(self, caller: Caller) -> bool:
        """Return whether a caller may do everything."""
        return self._rules.is_admin(caller)

    def viewable_types(self, caller: Caller) -> frozenset[str] | None:
        """Return the request types that a caller may view; None means all requests.

        Only admins may view requests whose type is no longer defined.
        """
        if self._rules.is_admin(caller):
            return None
        specs = self._specs()
        if self._viewable_in is not specs or len(self._viewable) >= MAX_CACHED_ROLES:
            self._viewable = {}
            self._viewable_in = specs
        roles = frozenset(caller.roles)
        if roles not in self._viewable:
            acls = {sequence.name: sequence.acl for sequence in specs.requests()}
            self._viewable[roles] = frozenset(self._rules.viewable_types(caller, acls) or ())
        return self._viewable[roles]

    def may_view(self, caller: Caller, type_: str) -> bool:
        """Return whether a caller may view requests of a type."""
        viewable = self.viewable_types(caller)
        return viewable is None or type_ in viewable

    def _denied(
        self,
        caller: Caller,
        operation: Operation,
        subject: str,
        decision: Decision,
        type_: str = "",
        request_id: str = "",
    ) -> AccessDenied:
        error = AccessDenied(
            caller=caller.name,
            operation=operation,
            subject=subject,
            why=decision.why,
            roles=_listed(caller.roles),
            granting_roles=_listed(decision.granting_roles),
            request_id=request_id,
        )
        self._on_denied(Denial(caller, operation, type_, request_id, decision.rule, error))
        return error


def _listed(roles: tuple[str, ...]) -> str:
    return ", ".join(roles) or "none"
