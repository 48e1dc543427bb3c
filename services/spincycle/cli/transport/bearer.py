"""The bearer token that goes with each call of a backend."""

from __future__ import annotations

import asyncio

from spincycle.cli.credential import read_token
from spincycle.cli.problem import Problem
from spincycle.cli.settings import Settings

CREDENTIAL_RENEWED = "CREDENTIAL_RENEWED"
"""Reason of the error of a stream that ended with its credential, if there is a new one."""


class BearerToken:
    """Hands out the token for each call, and renews it.

    It is handed out only for the addresses that it was stored for, and never for a connection in
    plain text to another machine.
    """

    def __init__(self, settings: Settings) -> None:
        self._credential = settings.credential
        self._token = settings.credential.token
        self._timeout = settings.timeout

    async def token(self, address: str, *, encrypted: bool) -> str:
        """Return the token for a call to an address; empty if there is none for it.

        Raises:
            Problem: the connection to another machine would not be encrypted.
            SpinCycleError: the token has expired, and could not be renewed.
        """
        if not self._credential.is_for(address):
            return ""
        if not encrypted:
            check_plaintext(address)
        if self._credential.login is not None:
            from spincycle.cli.login.renewal import current_token

            path = self._credential.login
            self._token = await asyncio.to_thread(current_token, path, self._timeout)
        return self._token

    async def renew(self, rejected: str) -> bool:
        """Replace a token that a service has rejected; return whether there is another one.

        Raises:
            SpinCycleError: the issuer did not issue another one.
        """
        if not rejected:
            return False
        if self._credential.login is not None:
            from spincycle.cli.login.renewal import renewed_token

            path = self._credential.login
            self._token = await asyncio.to_thread(renewed_token, path, rejected, self._timeout)
        elif self._credential.file is not None:
            self._token = read_token(self._credential.file)
        return self._token not in {"", rejected}


def check_plaintext(address: str) -> None:
    """Check that an address without TLS, host:port or a URL, is on this machine.

    Raises:
        Problem: it is on another one, or may be.
    """
    from urllib.parse import urlsplit

    from spincycle.rpc.address import is_unix
    from spincycle.runtime.loopback import is_loopback

    if "://" in address:
        listen = f"{urlsplit(address).hostname}:0"
        hint = "use the gateway's https address"
    else:
        listen = address
        hint = "connect with TLS: spinc context set <name> --tls"
    if is_unix(address) or is_loopback(listen):
        return
    raise Problem(f"the token is not sent to {address}, because the connection has no TLS", hint)
