"""The client certificate of an HTTP connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spincycle.access.credentials import PeerCertificate

CLIENT_CERTIFICATE = "spincycle.client_certificate"
"""Key of the certificate in the ASGI scope of a call: a PeerCertificate, or None."""

_NAMES = ("DNS", "email", "URI")


def peer_certificate(certificate: Mapping[str, Any] | None) -> PeerCertificate | None:
    """Return the names of a certificate, given as by SSLSocket.getpeercert; None without one."""
    if not certificate:
        return None
    subject = [pair for names in certificate.get("subject", ()) for pair in names]
    common = [value for key, value in subject if key == "commonName"]
    alternative = [value for kind, value in certificate.get("subjectAltName", ()) if kind in _NAMES]
    return PeerCertificate(common[0] if common else "", tuple(alternative))
