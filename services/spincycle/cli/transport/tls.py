"""TLS connections of spinc: their files, and what is told when one cannot be made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spincycle.cli.problem import Problem
from spincycle.errors import RemoteError, SpinCycleError

if TYPE_CHECKING:
    import ssl

    import grpc

    from spincycle.cli.settings import Tls

_WRONG = (
    ("CERTIFICATE_VERIFY_FAILED", "TLS_NOT_TRUSTED", "its certificate is not trusted"),
    ("Hostname Verification", "TLS_OTHER_NAME", "its certificate is made out to another name"),
    ("WRONG_VERSION_NUMBER", "TLS_NOT_SPOKEN", "it does not speak TLS"),
)
"""What gRPC says, the reason that it stands for here, and what is told."""


def channel_credentials(tls: Tls | None) -> tuple[grpc.ChannelCredentials | None, str]:
    """Credentials for a gRPC channel, and the name to expect; None for a plain channel.

    Raises:
        Problem: a file cannot be read.
    """
    if tls is None:
        return None, ""
    import grpc

    read = [_pem(path) for path in (tls.ca, tls.key, tls.cert)]
    return grpc.ssl_channel_credentials(*read), tls.server_name


def ssl_context(tls: Tls | None) -> ssl.SSLContext:
    """The context for connections to a gateway.

    Raises:
        Problem: a file cannot be read, or is not what it should be.
    """
    import ssl

    try:
        context = ssl.create_default_context(cafile=_path(tls.ca) if tls and tls.ca else None)
        if tls and tls.cert:
            context.load_cert_chain(_path(tls.cert), _path(tls.key) if tls.key else None)
    except OSError as error:
        raise Problem(f"the TLS files cannot be used: {error}")
    return context


def failure_told_by_grpc(details: str, service: str, address: str) -> SpinCycleError | None:
    """What a connection has failed of, if that was TLS."""
    for sign, reason, told in _WRONG:
        if sign in details:
            return _failure(service, address, reason, told)
    return None


def failure_of_ssl(error: ssl.SSLError, service: str, address: str) -> SpinCycleError:
    """The same for a failure of Python's TLS."""
    text = str(error)
    if "ostname mismatch" in text or "IP address mismatch" in text:
        text = "Hostname Verification"
    told = failure_told_by_grpc(text, service, address)
    return told or _failure(service, address, "TLS_FAILED", f"{error.reason or error}")


def _failure(service: str, address: str, reason: str, told: str) -> SpinCycleError:
    return RemoteError(f"no TLS connection to {service} at {address}: {told}", reason=reason)


def _path(path: str) -> str:
    return str(Path(path).expanduser())


def _pem(path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}")
