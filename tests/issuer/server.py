"""A small OpenID Connect issuer with signing keys, a device flow, and misbehaviours on request.

Tests and walkthroughs of the documentation start it as a process: `python -m tests.issuer`. The
paths below /control are for them, and have no counterpart in real issuers.
"""

from __future__ import annotations

import asyncio
import html
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from tests.issuer.device_flow import DENIED, DEVICE_CODE, DeviceFlow, OAuthError, Person
from tests.issuer.signing_keys import ALGORITHMS, SigningKeys

HUGE = 2 * 1024 * 1024
"""Bytes of the JWKS of the misbehaviour "huge"."""

MISBEHAVIOURS = (
    "slow", "down", "huge", "endless", "text", "no-keys", "wrong-issuer", "redirect", "drip",
)  # fmt: skip
"""
slow: no response. down: 503. huge: a valid JWKS of HUGE bytes. endless: a response without end.
text: not JSON. no-keys: JSON without keys. wrong-issuer: discovery of another issuer. redirect: to
another port. drip: a byte per second.
"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """Settings of the issuer; durations in seconds."""

    audience: str = "spincycle"
    client: str = "spinc"
    algorithm: str = "RS256"
    lifetime: float = 3600.0
    interval: float = 5.0
    code_lifetime: float = 600.0
    approves: Person | None = None


class Issuer:
    """The endpoints of the issuer.

    Attributes:
        url: issuer identifier, set once the port is bound.
        calls: number of calls by path.
    """

    def __init__(self, settings: IssuerSettings) -> None:
        self.url = ""
        self.calls: Counter[str] = Counter()
        self._settings = settings
        self._keys = SigningKeys()
        self._devices = DeviceFlow(settings.interval, settings.code_lifetime, settings.approves)
        self._misbehaviour = ""

    def application(self) -> web.Application:
        """Return the application that serves the endpoints."""
        application = web.Application(middlewares=[self._misbehave])
        application.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/jwks", self._jwks),
                web.post("/device_authorization", self._device_authorization),
                web.get("/device", self._device_page),
                web.post("/device", self._device_decision),
                web.post("/token", self._token),
                web.post("/control/token", self._sign),
                web.post("/control/rotate", self._rotate),
                web.post("/control/misbehave", self._set_misbehaviour),
                web.post("/control/decide", self._decide),
                web.post("/control/revoke", self._revoke),
                web.get("/control/calls", self._calls),
            ]
        )
        return application

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls[request.path] += 1
        kind = self._misbehaviour
        if not kind or request.path.startswith("/control/"):
            return await handler(request)
        if kind == "slow":
            await asyncio.sleep(3600)
        if kind == "down":
            return web.Response(status=503, text="down")
        if kind == "text":
            return web.Response(text="<html>Sign in</html>", content_type="text/html")
        if kind == "redirect":
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"})
        if request.path == "/jwks" and kind == "huge":
            return web.json_response({**self._keys.jwks(), "padding": "x" * HUGE})
        if request.path == "/jwks" and kind == "no-keys":
            return web.json_response({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, 7]})
        if request.path == "/jwks" and kind in ("endless", "drip"):
            return await _stream(request, drips=kind == "drip")
        return await handler(request)

    async def _discovery(self, _: web.Request) -> web.Response:
        issuer = self.url
        if self._misbehaviour == "wrong-issuer":
            issuer = "http://127.0.0.1:9"
        return web.json_response(
            {
                "issuer": issuer,
                "jwks_uri": f"{self.url}/jwks",
                "device_authorization_endpoint": f"{self.url}/device_authorization",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": list(ALGORITHMS),
                "grant_types_supported": [DEVICE_CODE, "refresh_token"],
            }
        )

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response(self._keys.jwks())

    async def _device_authorization(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("client_id") != self._settings.client:
            return web.json_response({"error": "invalid_client"}, status=401)
        device_code, grant = self._devices.start()
        page = f"{self.url}/device"
        return web.json_response(
            {
                "device_code": device_code,
                "user_code": grant.user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={grant.user_code}",
                "expires_in": int(self._settings.code_lifetime),
                "interval": self._settings.interval,
            }
        )

    async def _device_page(self, request: web.Request) -> web.Response:
        code = html.escape(request.query.get("user_code", ""))
        page = (
            "<!doctype html><title>Sign in</title><form method=post>"
            f'<p>Code <input name=user_code value="{code}">'
            "<p>Name <input name=name value=alice><p>Roles <input name=roles value=ops>"
            "<p><button>Approve</button></form>"
        )
        return web.Response(text=page, content_type="text/html")

    async def _device_decision(self, request: web.Request) -> web.Response:
        form = await request.post()
        person = Person(str(form["name"]), tuple(str(form.get("roles", "")).split(",")))
        if not self._devices.decide(str(form.get("user_code", "")), person):
            return web.Response(status=404, text="No device waits with this code.")
        return web.Response(text="Approved. You can close this page.")

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("client_id") != self._settings.client:
            return web.json_response({"error": "invalid_client"}, status=401)
        try:
            person, refresh = self._granted({name: str(value) for name, value in form.items()})
        except OAuthError as error:
            return web.json_response({"error": str(error)}, status=400)
        claims = self._claims(person)
        key = self._keys.signing(self._settings.algorithm)
        return web.json_response(
            {
                "access_token": key.sign(claims),
                "id_token": key.sign({**claims, "aud": self._settings.client}),
                "refresh_token": refresh,
                "token_type": "Bearer",
                "expires_in": int(self._settings.lifetime),
            },
            headers={"Cache-Control": "no-store"},
        )

    def _granted(self, form: dict[str, str]) -> tuple[Person, str]:
        """Return the person of a token call, and a refresh token."""
        grant_type = form.get("grant_type", "")
        if grant_type == DEVICE_CODE:
            return self._devices.poll(form.get("device_code", ""))
        if grant_type == "refresh_token":
            return self._devices.refresh(form.get("refresh_token", ""))
        raise OAuthError("unsupported_grant_type")

    def _claims(self, person: Person) -> dict[str, Any]:
        now = time.time()
        return {
            "iss": self.url,
            "aud": self._settings.audience,
            "sub": person.name,
            "preferred_username": person.name,
            "roles": list(person.roles),
            "iat": int(now),
            "nbf": int(now),
            "exp": now + self._settings.lifetime,
        }

    async def _sign(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        claims = {
            **self._claims(Person(wanted["name"], tuple(wanted["roles"]))),
            **wanted["claims"],
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        key = self._keys.signing(wanted["algorithm"] or self._settings.algorithm)
        return web.json_response({"token": key.sign(claims, wanted["headers"])})

    async def _rotate(self, request: web.Request) -> web.Response:
        self._keys.rotate(keep=(await request.json())["keep"])
        return web.json_response({})

    async def _set_misbehaviour(self, request: web.Request) -> web.Response:
        kind = (await request.json())["kind"]
        if kind and kind not in MISBEHAVIOURS:
            raise web.HTTPBadRequest(text=f"unknown misbehaviour {kind}")
        self._misbehaviour = kind
        return web.json_response({})

    async def _decide(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        name = wanted["name"]
        decision = Person(name, tuple(wanted["roles"])) if name else DENIED
        return web.json_response({"known": self._devices.decide(wanted["user_code"], decision)})

    async def _revoke(self, _: web.Request) -> web.Response:
        self._devices.revoke_all()
        return web.json_response({})

    async def _calls(self, _: web.Request) -> web.Response:
        return web.json_response(self.calls)


async def _stream(request: web.Request, *, drips: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"keys": [')
    while True:
        await response.write(b" " if drips else b" " * 65536)
        await asyncio.sleep(1 if drips else 0)
