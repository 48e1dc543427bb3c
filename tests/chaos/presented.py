"""The certificate that a listener presents, and whether it admits another one."""

from __future__ import annotations

import asyncio
import ssl

from spincycle.identity.service_identity import server_name
from spincycle.rpc.address import host_of
from spincycle.runtime.config import IdentityConfig


async def presented_certificate(address: str, service: str, identity: IdentityConfig) -> str:
    """Connect to a listener with an identity; return its certificate in PEM.

    Raises:
        OSError: one side does not trust the certificate of the other.
    """
    assert identity.certificate is not None
    context = ssl.create_default_context(cafile=identity.ca)
    context.load_cert_chain(identity.certificate, identity.key)
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(
        host_of(address),
        int(address.rpartition(":")[2]),
        ssl=context,
        server_hostname=server_name(service, identity.trust_domain),
    )
    try:
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        # A client sees the refusal of its certificate only when it reads.
        if not await reader.read(1):
            raise ConnectionRefusedError("the listener closed the connection")
    finally:
        writer.transport.abort()
    return ssl.DER_cert_to_PEM_cert(certificate)
