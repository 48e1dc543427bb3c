"""Decides what callers may do with requests, by the access rules and the current specs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spincycle.access.caller import Caller
from spincycle.access.plugin import Denied, Plugin, PluginFailed, RequestAccess
from spincycle.access.rules import Decision, Rule, Rules
from spincycle.errors import AccessDenied, RequestNotFound
from spincycle.model.job_chain import Value
from spincycle.model.operation import REQUEST_OPERATIONS, Operation
from spincycle.model.request_arg import REDACTED
from spincycle.request_manager.storage.actor import Actor
from spincycle.spec import SpecSet

MAX_CACHED_ROLES = 200
"""Most sets of roles whose viewable types are cached."""

MAX_CACHED_DECISIONS = 20_000
"""Most decisions that are cached."""


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

    What the rules allow a plug-in may still deny, also to admins. It is not asked who may view
    requests: lists are filtered by the rules alone.

    Args:
        rules: the access rules.
        specs: returns the current specs, whose ACLs count.
        plugin: the plug-in of the operator; None without one.
        on_denied: receives denied attempts.

    Attributes:
        denials: number of denied attempts by operation and rule.
    """

    def __init__(
        self,
        rules: Rules,
        specs: Callable[[], SpecSet],
        plugin: Plugin | None = None,
        on_denied: OnDenied = lambda _: None,
    ) -> None:
        self._rules = rules
        self._specs = specs
        self._plugin = plugin
        self._on_denied = on_denied
        self.denials: Counter[tuple[str, str]] = Counter()
        self._cached_for: SpecSet | None = None
        self._viewable: dict[frozenset[str], frozenset[str]] = {}
        self._decisions: dict[tuple[bool, tuple[str, ...], Operation, str], Decision] = {}

    async def authorize(
        self,
        caller: Caller,
        operation: Operation,
        type_: str,
        *,
        request_id: str = "",
        args: Mapping[str, Value] | None = None,
    ) -> Actor:
        """Authorize an operation on a request, or the creation of one; return who does it.

        Args:
            caller: who wants to do it.
            operation: one of REQUEST_OPERATIONS.
            type_: type of the request.
            request_id: the request; empty if it is to be created.
            args: arguments of a request to be created.

        Raises:
            AccessDenied: the caller may not do that.
            RequestNotFound: the caller may not even view the request.
        """
        decision = self.decide(caller, operation, type_)
        if decision.allowed and self._plugin is not None:
            request = RequestAccess(type_, request_id, self._masked(type_, args or {}))
            decision = await self._ask(self._plugin, caller, operation, request, decision)
        if not decision.allowed:
            subject = subject_of(type_, request_id)
            denied = _error(caller, operation, subject, decision, request_id)
            self._deny(Denial(caller, operation, type_, request_id, decision.rule, denied))
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
        if decision.allowed and self._plugin is not None:
            decision = await self._ask(self._plugin, caller, operation, None, decision)
        if not decision.allowed:
            denied = _error(caller, operation, subject, decision)
            self._deny(Denial(caller, operation, "", "", decision.rule, denied))
            raise denied
        return Actor.of(caller, decision.rule)

    def decide(self, caller: Caller, operation: Operation, type_: str = "") -> Decision:
        """Return the decision of the rules, without any consequence."""
        specs = self._current_specs()
        key = (caller.is_service, caller.roles, operation, type_)
        decision = self._decisions.get(key)
        if decision is None:
            sequence = specs.sequences.get(type_)
            is_request = sequence is not None and sequence.request
            acls = sequence.acl if sequence is not None and is_request else None
            decision = self._rules.decide(caller, operation, acls)
            if acls is not None:
                if len(self._decisions) >= MAX_CACHED_DECISIONS:
                    self._decisions.clear()
                self._decisions[key] = decision
        return decision

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
        specs = self._current_specs()
        roles = frozenset(caller.roles)
        viewable = self._viewable.get(roles)
        if viewable is None:
            acls = {sequence.name: sequence.acl for sequence in specs.requests()}
            viewable = frozenset(self._rules.viewable_types(caller, acls) or ())
            if len(self._viewable) >= MAX_CACHED_ROLES:
                self._viewable.clear()
            self._viewable[roles] = viewable
        return viewable

    def may_view(self, caller: Caller, type_: str) -> bool:
        """Return whether a caller may view requests of a type."""
        viewable = self.viewable_types(caller)
        return viewable is None or type_ in viewable

    def _deny(self, denial: Denial) -> None:
        self.denials[denial.operation, denial.rule] += 1
        self._on_denied(denial)

    def _current_specs(self) -> SpecSet:
        """Return the current specs; what is cached for others is dropped."""
        specs = self._specs()
        if self._cached_for is not specs:
            self._cached_for = specs
            self._viewable = {}
            self._decisions = {}
        return specs

    async def _ask(
        self,
        plugin: Plugin,
        caller: Caller,
        operation: Operation,
        request: RequestAccess | None,
        decision: Decision,
    ) -> Decision:
        """Return the decision of the rules, or that of the plug-in if it denies the operation."""
        try:
            await plugin.authorize(caller, operation, request)
        except Denied as denied:
            why = f"the access plug-in denies it: {denied}"
        except PluginFailed as error:
            why = str(error)
        else:
            return decision
        return Decision(Rule.PLUGIN, why, decision.granting_roles)

    def _masked(self, type_: str, args: Mapping[str, Value]) -> dict[str, object]:
        sequence = self._specs().sequences.get(type_)
        declared = sequence.args.all() if sequence is not None else ()
        secret = {arg.name for arg in declared if arg.secret}
        return {name: REDACTED if name in secret else value for name, value in args.items()}


def subject_of(type_: str, request_id: str = "") -> str:
    """Return how messages name a request, or the requests of a type."""
    return f"request {request_id} of type {type_}" if request_id else f"requests of type {type_}"


def explanation(caller: Caller, operation: Operation, subject: str, decision: Decision) -> str:
    """Return a decision and its ground as a sentence."""
    if not decision.allowed:
        return _error(caller, operation, subject, decision).message
    what = f"{operation} {subject}".rstrip()
    return f'the caller "{caller.name}" may {what}: {decision.why}'


def _error(
    caller: Caller, operation: Operation, subject: str, decision: Decision, request_id: str = ""
) -> AccessDenied:
    return AccessDenied(
        caller=caller.name,
        operation=operation,
        subject=subject,
        why=decision.why,
        roles=_listed(caller.roles),
        granting_roles=_listed(decision.granting_roles),
        request_id=request_id,
    )


def _listed(roles: tuple[str, ...]) -> str:
    return ", ".join(roles) or "none"
