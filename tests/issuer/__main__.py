"""Runs the issuer until it is terminated; prints its URL as the first line."""

from __future__ import annotations

import argparse
import asyncio
import sys

from aiohttp import web
from tests.issuer.device_flow import Person
from tests.issuer.server import Issuer, IssuerSettings


def _person(text: str) -> Person:
    name, _, roles = text.partition(":")
    return Person(name, tuple(role for role in roles.split(",") if role))


def _settings() -> tuple[IssuerSettings, str]:
    defaults = IssuerSettings()
    parser = argparse.ArgumentParser(prog="python -m tests.issuer", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", help="loopback address, host:port")
    parser.add_argument("--audience", default=defaults.audience)
    parser.add_argument("--client", default=defaults.client)
    parser.add_argument("--algorithm", default=defaults.algorithm)
    parser.add_argument("--lifetime", type=float, default=defaults.lifetime)
    parser.add_argument("--interval", type=float, default=defaults.interval)
    parser.add_argument("--code-lifetime", type=float, default=defaults.code_lifetime)
    parser.add_argument(
        "--approve", type=_person, metavar="NAME:ROLES", help="who approves every device at once"
    )
    given = parser.parse_args()
    return (
        IssuerSettings(
            given.audience,
            given.client,
            given.algorithm,
            given.lifetime,
            given.interval,
            given.code_lifetime,
            given.approve,
        ),
        given.listen,
    )


async def _serve() -> None:
    settings, listen = _settings()
    issuer = Issuer(settings)
    runner = web.AppRunner(issuer.application(), access_log=None, shutdown_timeout=0)
    await runner.setup()
    host, _, port = listen.rpartition(":")
    site = web.TCPSite(runner, host, int(port))
    await site.start()
    issuer.url = f"http://{host}:{runner.addresses[0][1]}"
    sys.stdout.write(issuer.url + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


asyncio.run(_serve())
