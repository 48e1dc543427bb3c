"""Admits calls: finds out who calls, and refuses who may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import grpc

from spincycle.access.authentication import Authentication
from spincycle.access.call_id import CALL_ID, set_current_call_id
from spincycle.access.caller import SERVICE, Caller, set_current_caller
from spincycle.access.credential_limit import CredentialLimit
from spincycle.access.credentials import Address, Credentials, PeerCertificate, TcpConnection
from spincycle.errors import NotAuthenticated, NotIdentified
from spincycle.identity.caller_table import CallerTable
from spincycle.identity.service_identity import GATEWAY
from spincycle.rpc.caller_metadata import ASSERTION, asserted_caller
from spincycle.rpc.identification import Identification, set_identity
from spincycle.runtime.loopback import host_of_listener

Context = grpc.aio.ServicerContext[Any, Any]

WITHOUT_CALLER = frozenset({"/spincycle.v1.ServerService/GetServerInfo"})
"""Public methods that anybody may call: a client asks them before it has a credential."""

_PUBLIC = "/spincycle.v1."


class Admission(Protocol):
    """Admits the calls of one listener."""

    async def admit(self, method: str, context: Context) -> CredentialLimit | None:
        """Find out who makes the current call; `current_caller` returns it from then on.

        Return the limit of the call if it is a stream; None if the credential of the caller does
        not end.

        Raises:
            NotAuthenticated, AuthenticationUnavailable: a person or program is not authenticated.
            NotIdentified, CallerNotAllowed: a service may not call the method.
        """
        ...


class PublicAdmission:
    """Admits authenticated people and programs.

    Args:
        authentication: authenticates them.
        listen: address of the listener, host:port.

    Attributes:
        listen: the same with the bound port, once it is known.
    """

    def __init__(self, authentication: Authentication, listen: str) -> None:
        self._authentication = authentication
        self.listen = listen

    async def admit(self, method: str, context: Context) -> CredentialLimit | None:
        """See Admission."""
        if method in WITHOUT_CALLER:
            return None
        credentials = _credentials(context, self.listen)
        set_current_call_id(credentials.headers.get(CALL_ID, ()))
        caller = await self._authentication.authenticate(credentials)
        set_current_caller(caller)
        return self._authentication.limit(caller, credentials)


class InternalAdmission:
    """Admits services by the caller table, and the callers that gateways pass on.

    Args:
        identification: identifies services; None admits every one.
        table: which services may call which methods.
        authentication: authenticates callers whose bearer tokens a gateway passes on; None if this
            listener has no methods for people.
    """

    def __init__(
        self,
        identification: Identification | None,
        table: CallerTable,
        authentication: Authentication | None,
    ) -> None:
        self._identification = identification
        self._table = table
        self._authentication = authentication

    async def admit(self, method: str, context: Context) -> CredentialLimit | None:
        """See Admission."""
        service = ""
        if self._identification is not None:
            try:
                identity = self._identification.identify(context)
            except ValueError as error:
                raise NotIdentified(method.removeprefix("/"), str(error))
            set_identity(identity)
            self._table.check(method, identity)
            service = str(identity)
            if identity.service != GATEWAY:
                set_current_caller(Caller(service, authenticator=SERVICE, peer=context.peer()))
                return None
        return await self._pass_on(method, service, context)

    async def _pass_on(self, method: str, service: str, context: Context) -> CredentialLimit | None:
        """Make the caller for which a gateway calls the current one."""
        set_current_caller(Caller(service, authenticator=SERVICE, peer=context.peer()))
        if not method.startswith(_PUBLIC) or self._authentication is None:
            return None
        metadata = context.invocation_metadata() or ()
        set_current_call_id([str(value) for key, value in metadata if key == CALL_ID])
        asserted = asserted_caller([value for key, value in metadata if key == ASSERTION])
        headers = _headers(context)
        if asserted is not None:
            if headers.get("authorization"):
                raise NotAuthenticated("the gateway asserts a caller and passes on a token")
            set_current_caller(asserted)
            return CredentialLimit(asserted)
        if method in WITHOUT_CALLER:
            return None
        if not headers.get("authorization") and (
            self._identification is None or not self._table.needs_caller(method)
        ):
            return None
        credentials = Credentials(headers, context.peer())
        caller = await self._authentication.authenticate(credentials)
        set_current_caller(caller)
        return self._authentication.limit(caller, credentials)


def _credentials(context: Context, listen: str) -> Credentials:
    peer = context.peer()
    return Credentials(
        _headers(context), peer, _connection(peer, listen), _certificate(context.auth_context())
    )


def _headers(context: Context) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            headers.setdefault(key, []).append(value)
    return headers


def _connection(peer: str, listen: str) -> TcpConnection | None:
    """Return the connection of a peer as gRPC names it: ipv4:host:port or ipv6:%5Bhost%5D:port."""
    kind, _, address = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    host, _, port = address.rpartition(":")
    host = host.replace("%5B", "").replace("%5D", "").strip("[]")
    own, _, own_port = listen.rpartition(":")
    server = host_of_listener(own, is_ipv6=kind == "ipv6")
    return TcpConnection(Address(host, int(port)), Address(server, int(own_port)))


def _certificate(auth_context: Mapping[str, Any]) -> PeerCertificate | None:
    names = [value.decode(errors="replace") for value in auth_context.get("x509_common_name", ())]
    alternative = [
        value.decode(errors="replace")
        for key in ("peer_dns", "peer_email", "peer_uri")
        for value in auth_context.get(key, ())
    ]
    if not names and not alternative:
        return None
    return PeerCertificate(names[0] if names else "", tuple(alternative))
