"""The commands `spincycle certs`: a certificate authority, and certificates for the services."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spincycle.admin.age import Age
from spincycle.admin.failure import fail
from spincycle.identity.service_identity import (
    DEFAULT_TRUST_DOMAIN,
    SERVICES,
    ServiceIdentity,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spincycle.identity.certificate_authority import CertificateAuthority
    from spincycle.identity.certificates import Certificate

_DIRECTORY_MODE = 0o700

_MAX_DAYS = 36_500


@click.group()
def certs() -> None:
    """Make the certificates with which the services identify themselves.

    The page docs/how-to/tls.md shows how to use them.
    """


@certs.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--trust-domain",
    metavar="NAME",
    default=DEFAULT_TRUST_DOMAIN,
    show_default=True,
    help="Trust domain of the identities; internal.trust_domain of all services.",
)
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(1, _MAX_DAYS),
    default=3650,
    show_default=True,
    help="Days until the CA expires.",
)
def init(directory: Path, trust_domain: str, days: int) -> None:
    """Create a certificate authority (CA) in DIR.

    Writes ca.pem, which every service trusts, and ca.key, which only this account can read: keep it
    off the machines of the services. Never overwrites a CA.
    """
    from spincycle.identity.certificate_authority import CERTIFICATE_FILE, CertificateAuthority

    with _exit_on_error():
        authority = CertificateAuthority.create(trust_domain, timedelta(days=days))
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        authority.save(directory)
    _print(directory / CERTIFICATE_FILE)


@certs.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("service", metavar="SERVICE", type=click.Choice(SERVICES))
@click.option(
    "--instance",
    metavar="NAME",
    default="1",
    show_default=True,
    help="Last part of the identity. Processes with the same one can act for each other.",
)
@click.option(
    "--name",
    "names",
    metavar="HOST",
    multiple=True,
    help="DNS name or IP address of the public listener; may be repeated.",
)
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(1, _MAX_DAYS),
    default=90,
    show_default=True,
    help="Days until the certificate expires, at most those of the CA.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory for the two files; by default that of the CA.",
)
def issue(
    directory: Path,
    service: str,
    instance: str,
    names: tuple[str, ...],
    days: int,
    out: Path | None,
) -> None:
    """Issue a certificate for SERVICE with the CA in DIR.

    SERVICE is request-manager, job-runner, job-log or gateway. Writes SERVICE-INSTANCE.pem and
    SERVICE-INSTANCE.key with a new key. If the files exist they are replaced: services that run use
    the new ones without a restart.
    """
    from spincycle.identity.certificate_authority import CERTIFICATE_MODE, KEY_MODE
    from spincycle.identity.private_files import replace_file

    with _exit_on_error():
        authority = _load(directory)
        identity = ServiceIdentity(authority.trust_domain, service, instance)
        issued = authority.issue(identity, names, timedelta(days=days))
        target = out or directory
        target.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        file = target / f"{service}-{instance}.pem"
        replace_file(target / f"{service}-{instance}.key", issued.key, KEY_MODE)
        replace_file(file, issued.certificate, CERTIFICATE_MODE)
    _print(file)


@certs.command()
@click.argument(
    "files", metavar="FILE...", type=click.Path(path_type=Path), nargs=-1, required=True
)
@click.option(
    "--within",
    metavar="AGE",
    type=Age(),
    default="30d",
    show_default=True,
    help="Exit with 1 if a certificate expires within this time.",
)
def show(files: tuple[Path, ...], within: timedelta) -> None:
    """Print identity, names and expiry of each certificate in the files.

    The exit code is 1 if one of them expires soon or has expired, and 2 if a file has none.
    """
    expiries = [expiry for file in files for expiry in _print(file)]
    if min(expiries) <= datetime.now(UTC) + within:
        sys.exit(1)


def _load(directory: Path) -> CertificateAuthority:
    from spincycle.identity.certificate_authority import CertificateAuthority

    try:
        return CertificateAuthority.load(directory)
    except FileNotFoundError as error:
        raise ValueError(
            f"{error.filename} does not exist; create a CA with spincycle certs init {directory}"
        )


def _print(file: Path) -> list[datetime]:
    """Print the certificates in a file, and return when they expire."""
    from spincycle.identity.certificates import parse_certificates

    try:
        found = parse_certificates(file.read_bytes())
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}")
    except ValueError:
        fail(f"{file} is not a certificate in PEM; name the .pem file")
    for certificate in found:
        click.echo(file)
        for field, text in _fields(certificate):
            click.echo(f"  {field:<9} {text}")
    return [certificate.expires_at for certificate in found]


def _fields(certificate: Certificate) -> Iterator[tuple[str, str]]:
    from spincycle.identity.certificates import text_of

    if certificate.subject:
        yield "CA" if certificate.is_authority else "subject", certificate.subject
    for uri in certificate.uris:
        yield "domain" if certificate.is_authority else "identity", uri
    if certificate.names:
        yield "names", ", ".join(certificate.names)
    left = certificate.expires_at - datetime.now(UTC)
    if left <= timedelta(0):
        when = "expired"
    elif left < timedelta(days=2):
        when = f"in {round(left / timedelta(hours=1))} hours"
    else:
        when = f"in {round(left / timedelta(days=1))} days"
    yield "expires", f"{text_of(certificate.expires_at)} ({when})"


@contextmanager
def _exit_on_error() -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        fail(f"{error.filename} exists already; use another directory, or remove it first")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    except ValueError as error:
        fail(str(error))
