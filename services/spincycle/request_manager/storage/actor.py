"""Who does something, as the audit log records it."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.access.call_id import current_call_id
from spincycle.access.caller import Caller


@dataclass(frozen=True, slots=True)
class Actor:
    """The caller of an operation, and the rule that allowed it.

    Attributes:
        name: name of the caller.
        roles: roles of the caller.
        rule: name of the rule that decided; empty for steps of the installation itself.
        call_id: id of the call in the logs.
        on_behalf_of: user for whom the caller acts; empty if that is the caller.
    """

    name: str
    authenticator: str = ""
    roles: tuple[str, ...] = ()
    peer: str = ""
    rule: str = ""
    call_id: str = ""
    on_behalf_of: str = ""

    @classmethod
    def of(cls, caller: Caller, rule: str, call_id: str = "", on_behalf_of: str = "") -> Actor:
        """Return the actor of a call, by default of the current one."""
        return cls(
            caller.name,
            caller.authenticator,
            caller.roles,
            caller.peer,
            rule,
            call_id or current_call_id(),
            on_behalf_of,
        )

    @property
    def columns(self) -> dict[str, str | list[str]]:
        """Its parameters of a query that inserts an audit row."""
        return {
            "caller": self.name,
            "authenticator": self.authenticator,
            "roles": list(self.roles),
            "peer": self.peer,
            "rule": self.rule,
            "call_id": self.call_id,
        }

    @property
    def user(self) -> str:
        """User of the request that it creates."""
        return self.on_behalf_of or self.name
