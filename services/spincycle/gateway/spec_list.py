"""The requests that can be created, collected from all pages."""

from __future__ import annotations

from spincycle.gateway.service_clients import ServiceClient
from spincycle.v1 import spec_pb2, spec_service_pb2
from spincycle.v1.spec_service_pb2_grpc import SpecServiceStub


async def list_specs(client: ServiceClient[SpecServiceStub]) -> list[spec_pb2.RequestSpec]:
    """Return the requests that can be created, by name.

    Raises:
        SpinCycleError: the request manager refuses or does not respond.
    """
    specs: list[spec_pb2.RequestSpec] = []
    message = spec_service_pb2.ListSpecsRequest()
    while True:
        page = await client.call(client.stub.ListSpecs, message)
        specs += page.specs
        if not page.next_page_token:
            return specs
        message.page_token = page.next_page_token
