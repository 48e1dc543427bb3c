"""The identity of a service process, a SPIFFE ID."""

from __future__ import annotations

import re
from dataclasses import dataclass

REQUEST_MANAGER = "request-manager"
JOB_RUNNER = "job-runner"
JOB_LOG = "job-log"
GATEWAY = "gateway"

SERVICES = (REQUEST_MANAGER, JOB_RUNNER, JOB_LOG, GATEWAY)
"""Services that have identities."""

DEFAULT_TRUST_DOMAIN = "spincycle"

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_INSTANCE = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_ID = re.compile(
    r"spiffe://(?P<trust_domain>[^/]*)/spincycle/(?P<service>[^/]*)/(?P<instance>[^/]*)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ServiceIdentity:
    """Identity of a process: spiffe://<trust domain>/spincycle/<service>/<instance>.

    Copies of a service may share an instance; they then have the same identity.

    Raises:
        ValueError: a part is not valid in a SPIFFE ID, or there is no such service.
    """

    trust_domain: str
    service: str
    instance: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        if self.service not in SERVICES:
            raise ValueError(
                f'"{self.service}" is not a service; the services are {", ".join(SERVICES)}'
            )
        if not _INSTANCE.fullmatch(self.instance) or self.instance in (".", ".."):
            raise ValueError(
                f'"{self.instance}" is not an instance: use up to 100 letters, digits and ".", '
                '"-", "_"'
            )

    @classmethod
    def parse(cls, spiffe_id: str) -> ServiceIdentity:
        """Parse a SPIFFE ID.

        Raises:
            ValueError: it is not the identity of a service.
        """
        found = _ID.fullmatch(spiffe_id)
        if found is None:
            raise ValueError(
                f'"{spiffe_id}" does not have the form '
                "spiffe://<trust domain>/spincycle/<service>/<instance>"
            )
        return cls(found["trust_domain"], found["service"], found["instance"])

    @property
    def server_name(self) -> str:
        """DNS name that the certificate has beside the SPIFFE ID, for verification by callers."""
        return server_name(self.service, self.trust_domain)

    def __str__(self) -> str:
        """Return the SPIFFE ID."""
        return f"spiffe://{self.trust_domain}/spincycle/{self.service}/{self.instance}"


def check_trust_domain(name: str) -> None:
    """Check the name of a trust domain.

    Raises:
        ValueError: it is not valid in a SPIFFE ID.
    """
    if not _TRUST_DOMAIN.fullmatch(name):
        raise ValueError(
            f'"{name}" is not a trust domain: use lower case letters, digits and ".", "-", "_"'
        )


def server_name(service: str, trust_domain: str) -> str:
    """Return the DNS name in the certificates of a service, which its callers expect."""
    return f"{service}.{trust_domain}"
