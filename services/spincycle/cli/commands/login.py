"""The commands login and logout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.login_settings import LoginSettings
from spincycle.cli.options import SpincCommand
from spincycle.cli.problem import Problem
from spincycle.cli.session import CommandSession, with_session
from spincycle.cli.settings import TOKEN_VARIABLE, Settings

if TYPE_CHECKING:
    from spincycle.cli.login.device_flow import DeviceCode
    from spincycle.cli.login.stored_login import LoginFile


@click.command("login", cls=SpincCommand, short_help=COMMANDS["login"].summary)
@click.option("--issuer", metavar="URL", help="Issuer of the tokens.")
@click.option("--client-id", metavar="ID", help="Id that the issuer has given to spinc.")
@click.option(
    "--scope", "scopes", multiple=True, help="Scope to request, repeatable. [default: openid]"
)
@click.option(
    "--id-token", is_flag=True, help="Send the ID token to the services, not the access token."
)
@with_session
def login_command(
    session: CommandSession,
    issuer: str | None,
    client_id: str | None,
    scopes: tuple[str, ...],
    id_token: bool,
) -> None:
    """Log in at an OpenID Connect issuer, by a code that you confirm in a browser.

    The token is stored for the addresses in use, and sent nowhere else. It is renewed while the
    issuer allows it. The options are needed once only: they are taken from the last login or from
    `login` of the context.

    Example: spinc login --issuer https://login.example.com --client-id spinc
    """
    from spincycle.cli.login.device_flow import DeviceFlow
    from spincycle.cli.login.issuer import IssuerClient, IssuerError
    from spincycle.cli.login.renewal import chosen_token
    from spincycle.cli.login.stored_login import StoredLogin

    file = _login_file(session.settings)
    _check_addresses(session.settings)
    last = file.read()
    given = LoginSettings(issuer or "", client_id or "", scopes, id_token or None)
    client = given.over(session.settings.login_settings).client(last.client if last else None)
    try:
        calls = IssuerClient(session.settings.timeout)
        endpoints = calls.discover(client.issuer)
        flow = DeviceFlow(calls, endpoints, client)
        code = flow.begin()
        _show(session, code)
        tokens = flow.finish(code)
        login = StoredLogin(
            tuple(sorted(session.settings.addresses)),
            client,
            endpoints.token,
            chosen_token(tokens, client),
            tokens.refresh_token,
            tokens.renew_at,
            tokens.expires_at,
        )
    except IssuerError as error:
        raise Problem(f"not logged in: {error}")
    with file.lock():
        file.write(login)
    session.terminal.line(f"OK, logged in to {session.settings.target}")


def _show(session: CommandSession, code: DeviceCode) -> None:
    terminal = session.terminal
    terminal.lines([f"Open this page in a browser: {code.page_with_code or code.page}"])
    terminal.lines([f"and confirm the code:        {code.user_code}"])
    terminal.out.flush()


def _check_addresses(settings: Settings) -> None:
    from spincycle.cli.transport.bearer import check_plaintext

    for address in settings.addresses:
        if not (address.startswith("https://") if settings.rest else settings.tls):
            check_plaintext(address)


@click.command("logout", cls=SpincCommand, short_help=COMMANDS["logout"].summary)
@with_session
def logout_command(session: CommandSession) -> None:
    """Delete the token that `spinc login` stored for the addresses in use.

    Copies of the token stay valid until they expire. To end them, end the session at the issuer.

    Example: spinc logout
    """
    file = _login_file(session.settings)
    with file.lock():
        was_stored = file.delete()
    target = session.settings.target
    session.terminal.line(
        f"OK, logged out of {target}" if was_stored else f"not logged in to {target}"
    )


def _login_file(settings: Settings) -> LoginFile:
    """Return the file of the login.

    Raises:
        Problem: another token would be used in its place.
    """
    from spincycle.cli.login.stored_login import LoginFile

    if os.environ.get(TOKEN_VARIABLE):
        raise Problem(f"the variable {TOKEN_VARIABLE} is used in place of a login", "unset it")
    credential = settings.credential
    if credential.file is not None and credential.is_for(settings.target):
        raise Problem(
            f"the token file {credential.source} is used in place of a login",
            "take it out of the config file",
        )
    if settings.login is None:
        raise Problem("there is no config file beside which a login is stored")
    return LoginFile(settings.login)
