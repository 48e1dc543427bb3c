"""Authenticates the callers of the API, and passes them on to the services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spincycle.access.authentication import Authentication, bearer_token
from spincycle.access.caller import NOBODY, set_current_caller
from spincycle.access.credentials import Address, Credentials, TcpConnection
from spincycle.gateway.caller_channel import PassedOn, pass_on
from spincycle.gateway.client_certificate import CLIENT_CERTIFICATE


async def authenticate(authentication: Authentication, scope: Mapping[str, Any]) -> None:
    """Authenticate the caller of an HTTP call, given its ASGI scope.

    Raises:
        NotAuthenticated, AuthenticationUnavailable: see Authentication.
    """
    credentials = _credentials(scope)
    caller = await authentication.authenticate(credentials)
    set_current_caller(caller)
    if bearer_token(credentials):
        pass_on(PassedOn(authorization=credentials.authorization[0]))
    else:
        pass_on(PassedOn(caller=caller))


def forget_caller() -> None:
    """Make the current call one of nobody.

    A pipelined call inherits the context of the call before it, and so its caller.
    """
    set_current_caller(NOBODY)
    pass_on(PassedOn())


def _credentials(scope: Mapping[str, Any]) -> Credentials:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    client, server = scope.get("client"), scope.get("server")
    connection = None
    if client and server and server[1] is not None:
        connection = TcpConnection(Address(*client), Address(*server))
    peer = f"{client[0]}:{client[1]}" if client else ""
    return Credentials(headers, peer, connection, scope.get(CLIENT_CERTIFICATE))
