"""HTTP calls of an OpenID Connect issuer: its endpoints, and the tokens that they return."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from spincycle.runtime.loopback import is_loopback

MAX_BYTES = 1 << 20
"""Most bytes of a response."""

_CHUNK = 1 << 16

_OK = 200
_SERVER_ERRORS = 500

_LONGEST = 1e9
"""Seconds of the longest duration that counts as one."""

_RENEWED_EARLY = 30.0
"""Most seconds before its end at which a token is renewed; a fifth of its life if that is less."""


class IssuerError(Exception):
    """A call of the issuer failed; the message is for people."""


class IssuerUnavailable(IssuerError):
    """The issuer could not be reached, or did not work."""


class OAuthError(IssuerError):
    """The issuer refused a call.

    Attributes:
        code: error code of OAuth 2.0, for example "invalid_grant".
    """

    def __init__(self, url: str, code: str, description: str) -> None:
        super().__init__(f"{_origin(url)} refused: {code}{f' ({description})' * bool(description)}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Endpoints:
    """URLs of an issuer; revocation is empty if it has none."""

    device_authorization: str
    token: str
    revocation: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that an issuer returned.

    Attributes:
        access_token, id_token, refresh_token: empty if the response had none.
        renew_at, expires_at: when to renew the token, and when it ends, in seconds since 1970;
            None if the issuer did not say.
    """

    access_token: str = field(repr=False)
    id_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    renew_at: float | None
    expires_at: float | None


class IssuerClient:
    """Calls an issuer; every call ends after `timeout` seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    def discover(self, issuer: str) -> Endpoints:
        """Return the endpoints of an issuer.

        Raises:
            IssuerError: they cannot be read, or the issuer has no device flow.
        """
        url = issuer.rstrip("/") + "/.well-known/openid-configuration"
        document = self._call(Request(check_url(url), headers={"Accept": "application/json"}))  # noqa: S310 # its scheme is checked
        named = _text(document, "issuer")
        if named.rstrip("/") != issuer.rstrip("/"):
            raise IssuerError(f"{url} describes another issuer: {_shown(named)}")
        device, token = (
            _text(document, name) for name in ("device_authorization_endpoint", "token_endpoint")
        )
        if not device or not token:
            raise IssuerError(f"the issuer {issuer} does not offer logins by device code")
        revocation = _text(document, "revocation_endpoint")
        for endpoint in filter(None, (device, token, revocation)):
            check_url(endpoint)
        return Endpoints(device, token, revocation)

    def post(self, url: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the response of an endpoint.

        Raises:
            OAuthError: the issuer refused.
            IssuerError: the issuer cannot be reached, or its response is invalid.
        """
        body = urlencode(form).encode()
        return self._call(Request(check_url(url), body, {"Accept": "application/json"}))  # noqa: S310 # its scheme is checked

    def tokens(self, url: str, form: Mapping[str, str]) -> Tokens:
        """Return the tokens of the token endpoint.

        Raises:
            OAuthError, IssuerError: see `post`.
        """
        document = self.post(url, form)
        lifetime = duration(document, "expires_in")
        renew_at = expires_at = None
        if lifetime is not None:
            expires_at = time.time() + lifetime
            renew_at = expires_at - min(_RENEWED_EARLY, lifetime / 5)
        return Tokens(
            _text(document, "access_token"),
            _text(document, "id_token"),
            _text(document, "refresh_token"),
            renew_at,
            expires_at,
        )

    def _call(self, request: Request) -> dict[str, Any]:
        url = request.full_url
        end = time.monotonic() + self._timeout
        try:
            with _opener(url).open(request, timeout=self._timeout) as response:
                return _document(url, response.status, _read(url, response, end))
        except HTTPError as error:
            with error:
                return _document(url, error.code, _read(url, error, end))
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise IssuerUnavailable(f"cannot reach {_origin(url)}: {_shown(str(reason))}")


def check_url(url: str) -> str:
    """Return a URL of an issuer if it uses TLS, or is on this machine.

    Raises:
        IssuerError: it is not, so that others could read the tokens.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise IssuerError(f"{_shown(url)} is not a URL")
    if host and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(f"{host}:0"))):
        return url
    raise IssuerError(f"{_shown(url)} is not an https URL")


class _NoRedirects(HTTPRedirectHandler):
    """Treats redirects as errors: they would lead codes and tokens elsewhere."""

    def redirect_request(
        self,
        req: Request,  # noqa: ARG002 # part of the signature
        fp: IO[bytes],  # noqa: ARG002 # part of the signature
        code: int,  # noqa: ARG002 # part of the signature
        msg: str,  # noqa: ARG002 # part of the signature
        headers: HTTPMessage,  # noqa: ARG002 # part of the signature
        newurl: str,  # noqa: ARG002 # part of the signature
    ) -> Request | None:
        """Follow nothing."""
        return None


def _opener(url: str) -> OpenerDirector:
    """Return an opener that uses the proxies of the environment, except for this machine."""
    if is_loopback(f"{urlsplit(url).hostname}:0"):
        return build_opener(ProxyHandler({}), _NoRedirects())
    return build_opener(_NoRedirects())


def _read(url: str, response: Any, end: float) -> bytes:
    body = b""
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            raise IssuerUnavailable(f"the response of {_origin(url)} is larger than 1 MiB")
        if time.monotonic() > end:
            raise IssuerUnavailable(f"{_origin(url)} did not respond in time")
    return body


def _document(url: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if status == _OK and isinstance(document, dict):
        return document
    if (
        status < _SERVER_ERRORS
        and isinstance(document, dict)
        and (code := _text(document, "error"))
    ):
        raise OAuthError(url, _shown(code), _shown(_text(document, "error_description")))
    if status == _OK:
        raise IssuerUnavailable(f"the response of {_origin(url)} is not a JSON object")
    raise IssuerUnavailable(f"{_origin(url)} responded with HTTP status {status}")


def duration(document: Mapping[str, Any], name: str) -> float | None:
    """Return a duration of a response, in seconds; None if it is missing or not a duration."""
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _LONGEST else None


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _shown(text: str) -> str:
    """Return the beginning of a foreign text, without control characters."""
    from spincycle.cli.render.text import cut, one_line

    return cut(one_line(text), 200)
