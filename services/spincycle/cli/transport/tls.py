"""TLS settings of connections, and error messages for failed handshakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spincycle.cli.problem import Problem
from spincycle.errors import RemoteError, SpinCycleError

if TYPE_CHECKING:
    import ssl

    import grpc

    from spincycle.cli.settings import Tls

_CAUSES = (
    ("CERTIFICATE_VERIFY_FAILED", "TLS_NOT_TRUSTED", "its certificate is not trusted"),
    ("Hostname Verification", "TLS_OTHER_NAME", "its certificate is made out to another name"),
    ("WRONG_VERSION_NUMBER", "TLS_NOT_SPOKEN", "it does not speak TLS"),
)
"""Text in gRPC's failure details, the error reason for it, and its explanation."""


def channel_credentials(tls: Tls | None) -> tuple[grpc.ChannelCredentials | None, str]:
    """Return the credentials of a gRPC channel (None for plaintext) and the server name to expect.

    Raises:
        Problem: a file cannot be read.
    """
    if tls is None:
        return None, ""
    import grpc

    read = [_pem(path) for path in (tls.ca, tls.key, tls.cert)]
    return grpc.ssl_channel_credentials(*read), tls.server_name


def ssl_context(tls: Tls | None) -> ssl.SSLContext:
    """Return the TLS context for connections to a gateway.

    Raises:
        Problem: a file cannot be read, or is not valid PEM.
    """
    import ssl

    try:
        context = ssl.create_default_context(cafile=_path(tls.ca) if tls and tls.ca else None)
        if tls and tls.cert:
            context.load_cert_chain(_path(tls.cert), _path(tls.key) if tls.key else None)
    except OSError as error:
        raise Problem(f"the TLS files cannot be used: {error}")
    return context


def tls_failure(details: str, service: str, address: str) -> SpinCycleError | None:
    """Return the error for gRPC's failure details; None if TLS is not the cause."""
    for sign, reason, cause in _CAUSES:
        if sign in details:
            return _failure(service, address, reason, cause)
    return None


def ssl_failure(error: ssl.SSLError, service: str, address: str) -> SpinCycleError:
    """Return the error for a failure of Python's TLS."""
    text = str(error)
    if "ostname mismatch" in text or "IP address mismatch" in text:
        text = "Hostname Verification"
    known = tls_failure(text, service, address)
    return known or _failure(service, address, "TLS_FAILED", f"{error.reason or error}")


def _failure(service: str, address: str, reason: str, cause: str) -> SpinCycleError:
    return RemoteError(f"no TLS connection to {service} at {address}: {cause}", reason=reason)


def _path(path: str) -> str:
    return str(Path(path).expanduser())


def _pem(path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}")
