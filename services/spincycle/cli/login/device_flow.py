"""Logins by device code (RFC 8628): a browser elsewhere confirms the login of this terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from spincycle.cli.login.issuer import (
    Endpoints,
    IssuerClient,
    IssuerError,
    IssuerUnavailable,
    OAuthError,
    Tokens,
    duration,
)
from spincycle.cli.login.stored_login import Client

_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

_INTERVAL = 5.0
"""Seconds between two polls if the issuer names none, and those added when it asks for fewer."""

_LEAST_INTERVAL = 0.1
_MOST_INTERVAL = 60.0
_MOST_LIFETIME = 3600.0

_ENDS = {
    "access_denied": "the login was denied",
    "expired_token": "the code has expired before the login was confirmed",
}
"""Messages for error codes that end the login."""


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A login that waits to be confirmed.

    Attributes:
        device_code: identifies it to the issuer; secret.
        user_code: code that the user compares or types.
        page: URL of the page that confirms it.
        page_with_code: likewise, with the code in it; empty if the issuer has none.
        interval: seconds between two polls.
        lifetime: seconds until the code expires.
    """

    device_code: str
    user_code: str
    page: str
    page_with_code: str
    interval: float
    lifetime: float


class DeviceFlow:
    """Logs in at an issuer; `pause` and `clock` replace those of the time module in tests."""

    def __init__(
        self,
        issuer: IssuerClient,
        endpoints: Endpoints,
        client: Client,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._endpoints = endpoints
        self._client = client
        self._pause = pause
        self._clock = clock

    def begin(self) -> DeviceCode:
        """Return a new code.

        Raises:
            IssuerError: the issuer did not return one.
        """
        form = {"client_id": self._client.client_id, "scope": " ".join(self._client.scopes)}
        document = self._issuer.post(self._endpoints.device_authorization, form)
        texts = [
            document.get(name, "")
            for name in (
                "device_code",
                "user_code",
                "verification_uri",
                "verification_uri_complete",
            )
        ]
        if not all(isinstance(text, str) for text in texts) or not all(texts[:3]):
            raise IssuerError("the issuer's response has no device code")
        shown = [_printable_page(text) for text in texts[1:]]
        return DeviceCode(
            texts[0],
            shown[0],
            shown[1],
            shown[2],
            _bounded(duration(document, "interval"), _INTERVAL, _LEAST_INTERVAL, _MOST_INTERVAL),
            _bounded(duration(document, "expires_in"), _MOST_LIFETIME, 1, _MOST_LIFETIME),
        )

    def finish(self, code: DeviceCode) -> Tokens:
        """Poll until the login is confirmed, and return its tokens.

        Raises:
            IssuerError: it was denied or has expired, or the issuer cannot be reached any more.
        """
        form = {
            "grant_type": _DEVICE_CODE,
            "device_code": code.device_code,
            "client_id": self._client.client_id,
        }
        interval, end = code.interval, self._clock() + code.lifetime
        while True:
            self._pause(interval)
            try:
                return self._issuer.tokens(self._endpoints.token, form)
            except OAuthError as error:
                if error.code == "slow_down":
                    interval += _INTERVAL
                elif error.code != "authorization_pending":
                    raise IssuerError(_ENDS.get(error.code, str(error)))
            except IssuerUnavailable:
                # RFC 8628, section 3.5: poll less often while the issuer does not respond.
                interval = min(interval * 2, _MOST_INTERVAL)
                if self._clock() >= end:
                    raise
            if self._clock() >= end:
                raise IssuerError(_ENDS["expired_token"])


def _bounded(value: float | None, default: float, least: float, most: float) -> float:
    return default if value is None else min(max(value, least), most)


def _printable_page(text: str) -> str:
    from spincycle.cli.render.text import one_line

    return one_line(text)
