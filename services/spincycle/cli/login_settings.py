"""Settings of `spinc login`: of its options, of the key `login` of a context, of the last login."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spincycle.cli.problem import Problem

if TYPE_CHECKING:
    from spincycle.cli.login.stored_login import Client

DEFAULT_SCOPES = ("openid",)


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """Where to log in; what is empty or None is not set.

    Attributes:
        issuer: URL of the issuer.
        client_id: id that the issuer gave to spinc.
        scopes: scopes to request.
        id_token: whether the ID token is sent to the services, not the access token.
    """

    issuer: str = ""
    client_id: str = ""
    scopes: tuple[str, ...] = ()
    id_token: bool | None = None

    @classmethod
    def of(cls, keys: Any) -> LoginSettings:
        """Return the settings of the key `login` of a context."""
        if not isinstance(keys, Mapping):
            return cls()
        scopes = keys.get("scopes") or ()
        return cls(
            str(keys.get("issuer") or ""),
            str(keys.get("client-id") or ""),
            tuple(map(str, [scopes] if isinstance(scopes, str) else scopes)),
            keys.get("id-token"),
        )

    def over(self, other: LoginSettings) -> LoginSettings:
        """Return these settings, and those of `other` where they are not set."""
        return LoginSettings(
            self.issuer or other.issuer,
            self.client_id or other.client_id,
            self.scopes or other.scopes,
            other.id_token if self.id_token is None else self.id_token,
        )

    def client(self, last: Client | None) -> Client:
        """Return the client to log in as; settings that are not set are those of the last login.

        Raises:
            Problem: no issuer or no client id is known.
        """
        from spincycle.cli.login.stored_login import Client

        settings = self
        if last is not None:
            settings = self.over(
                LoginSettings(last.issuer, last.client_id, last.scopes, last.use_id_token)
            )
        if not settings.issuer or not settings.client_id:
            raise Problem(
                "the issuer to log in at is not known",
                "spinc login --issuer <URL> --client-id <ID>; or set a token: "
                "spinc context set <name> --token-file <file>",
            )
        return Client(
            settings.issuer,
            settings.client_id,
            settings.scopes or DEFAULT_SCOPES,
            bool(settings.id_token),
        )
