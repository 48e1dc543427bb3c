"""SpecService: wire types in, wire types out."""

from __future__ import annotations

from typing import Any

import grpc

from spincycle.access.caller import current_caller
from spincycle.graph import declared_args
from spincycle.model.operation import Operation
from spincycle.request_manager.codec import encode_arg, encode_finding
from spincycle.request_manager.requests.access_control import AccessControl
from spincycle.request_manager.requests.audit_log import AuditLog
from spincycle.request_manager.requests.lint_workers import LintWorkers
from spincycle.request_manager.requests.spec_repository import SpecRepository
from spincycle.rpc.limits import CLIENT_MESSAGE_BYTES
from spincycle.rpc.page_token import decode_page_token, encode_page_token
from spincycle.spec import Source, bounded
from spincycle.v1 import spec_pb2, spec_service_pb2, spec_service_pb2_grpc

DEFAULT_PAGE = 500
"""Requests in a page of ListSpecs when the caller sets no page size."""

MAX_PAGE = 1000
"""Most requests in a page of ListSpecs."""

_LISTED = ("specs",)

Context = grpc.aio.ServicerContext[Any, Any]


class SpecService(spec_service_pb2_grpc.SpecServiceServicer):
    """Serves SpecService of the contract."""

    def __init__(
        self,
        specs: SpecRepository,
        lint_workers: LintWorkers,
        access: AccessControl,
        audit: AuditLog,
    ) -> None:
        self._specs = specs
        self._access = access
        self._audit = audit
        self._lint_workers = lint_workers

    async def ListSpecs(
        self, request: spec_service_pb2.ListSpecsRequest, context: Context
    ) -> spec_service_pb2.ListSpecsResponse:
        after = ""
        if request.page_token:
            (after,) = map(str, decode_page_token(_LISTED, request.page_token, str))
        page_size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        specs = self._specs.specs
        caller = current_caller()
        viewable = self._access.viewable_types(caller)
        response = spec_service_pb2.ListSpecsResponse(specs_hash=specs.revision)
        size = 0
        for sequence in specs.requests():
            if after and sequence.name <= after:
                continue
            if viewable is not None and sequence.name not in viewable:
                continue
            if len(response.specs) == page_size or size > CLIENT_MESSAGE_BYTES:
                last = response.specs[-1].name
                response.next_page_token = encode_page_token(_LISTED, (last,))
                break
            spec = spec_pb2.RequestSpec(
                name=sequence.name,
                args=[encode_arg(arg) for arg in declared_args(sequence)],
                allowed_operations=self._access.allowed_operations(caller, sequence.name),
            )
            size += spec.ByteSize()
            response.specs.append(spec)
        return response

    async def Lint(
        self, request: spec_service_pb2.LintRequest, context: Context
    ) -> spec_service_pb2.LintResponse:
        await self._access.authorize_admin(current_caller(), "lint of spec files")
        sources = [Source(file.path, file.content) for file in request.files]
        findings = await self._lint_workers.check(
            sources, self._specs.job_types, self._specs.roles()
        )
        return spec_service_pb2.LintResponse(findings=[encode_finding(found) for found in findings])

    async def ReloadSpecs(
        self, request: spec_service_pb2.ReloadSpecsRequest, context: Context
    ) -> spec_service_pb2.ReloadSpecsResponse:
        actor = await self._access.authorize_admin(current_caller(), "reload of specs")
        await self._audit.record(actor, Operation.ADMIN, "reload of specs")
        reloaded = await self._specs.reload()
        return spec_service_pb2.ReloadSpecsResponse(
            specs_hash=reloaded.revision,
            changed=reloaded.changed,
            findings=[encode_finding(found) for found in bounded(reloaded.findings)],
        )
