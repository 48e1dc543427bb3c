"""Renews the token of a login by its refresh token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spincycle.cli.login.issuer import IssuerClient, IssuerError, IssuerUnavailable, Tokens
from spincycle.cli.login.stored_login import Client, LoginFile, StoredLogin
from spincycle.errors import AuthenticationUnavailable, NotAuthenticated


def current_token(path: Path, timeout: float) -> str:
    """Return the token of a login, renewed if it is about to expire; empty without a login.

    Raises:
        SpinCycleError: it has expired, and was not renewed.
        Problem: the file cannot be used.
    """
    stored = LoginFile(path).read()
    if stored is None:
        return ""
    return stored.token if stored.is_fresh() else _renew(path, None, timeout)


def renewed_token(path: Path, rejected: str, timeout: float) -> str:
    """Return another token than one that a service has rejected; empty if there is none.

    Raises:
        SpinCycleError: the issuer did not issue one.
        Problem: the file cannot be used.
    """
    return _renew(path, rejected, timeout)


def _renew(path: Path, rejected: str | None, timeout: float) -> str:
    file = LoginFile(path)
    with file.lock():
        # Another process may have renewed it meanwhile, and so used up the refresh token.
        stored = file.read()
        if stored is None:
            return ""
        if stored.is_fresh() and stored.token != rejected:
            return stored.token
        is_usable = rejected is None and not stored.has_expired()
        if not stored.refresh_token:
            if is_usable:
                return stored.token
            if rejected is not None:
                return ""
            raise NotAuthenticated("the login has expired")
        try:
            renewed = _refreshed(stored, timeout)
        except IssuerUnavailable as error:
            if is_usable:
                return stored.token
            raise AuthenticationUnavailable(f"the token has expired; {error}")
        except IssuerError as error:
            if is_usable:
                return stored.token
            raise NotAuthenticated(f"the login has ended: {error}")
        file.write(renewed)
    return renewed.token


def _refreshed(stored: StoredLogin, timeout: float) -> StoredLogin:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": stored.refresh_token,
        "client_id": stored.client.client_id,
    }
    tokens = IssuerClient(timeout).tokens(stored.token_endpoint, form)
    return replace(
        stored,
        token=chosen_token(tokens, stored.client),
        refresh_token=tokens.refresh_token or stored.refresh_token,
        renew_at=tokens.renew_at,
        expires_at=tokens.expires_at,
    )


def chosen_token(tokens: Tokens, client: Client) -> str:
    """Return the token that is sent to the services.

    Raises:
        IssuerError: the issuer did not return it.
    """
    token = tokens.id_token if client.use_id_token else tokens.access_token
    if not token:
        name = "ID token" if client.use_id_token else "access token"
        raise IssuerError(f"the issuer {client.issuer} returned no {name}")
    return token
