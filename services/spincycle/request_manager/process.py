"""The process of the request manager: its composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import structlog

from spincycle.access.authentication import Authentication
from spincycle.access.authenticators import open_authentication
from spincycle.access.known_roles import known_roles
from spincycle.access.plugin import Plugin
from spincycle.database.database import Database
from spincycle.database.migrations import prepare_schema
from spincycle.database.queries import load_queries
from spincycle.graph import Expander, Limits
from spincycle.identity.caller_table import CallerTable
from spincycle.identity.grant_key_file import open_grant_keys
from spincycle.identity.key_file import KeyFile
from spincycle.identity.service_identity import JOB_LOG, REQUEST_MANAGER
from spincycle.internal.v1.read_access_service_pb2_grpc import (
    add_ReadAccessServiceServicer_to_server,
)
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    add_RunnerCoordinationServiceServicer_to_server,
)
from spincycle.job.errors import JobsNotLoaded
from spincycle.job.loading import load_jobs
from spincycle.metrics.serving import serve_metrics
from spincycle.request_manager.access_service import AccessService
from spincycle.request_manager.audit_service import AuditService
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.coordination_service import RunnerCoordinationService
from spincycle.request_manager.manager import RequestManager
from spincycle.request_manager.read_access_service import ReadAccessService
from spincycle.request_manager.requests.lint_workers import LintWorkers
from spincycle.request_manager.requests.spec_repository import SpecRepository
from spincycle.request_manager.secrets_in_clear import refuse_secrets_in_clear
from spincycle.request_manager.server_service import ServerService
from spincycle.request_manager.service import RequestManagerService
from spincycle.request_manager.spec_service import SpecService
from spincycle.request_manager.storage.secret_store import SecretStore
from spincycle.rpc.certificate_expiry import CertificateExpiry
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.health import Vitals
from spincycle.rpc.limits import INTERNAL, PUBLIC
from spincycle.rpc.peer import Peer
from spincycle.rpc.server import RpcServer, RpcService, identifies_callers
from spincycle.runtime.config import ConfigError
from spincycle.runtime.log_scrubber import LogScrubber
from spincycle.runtime.loop_monitor import LoopMonitor
from spincycle.runtime.process import Shutdown, run_until_shutdown, service_command, supervise
from spincycle.sealing.sealing_key_file import SealingKeyFile
from spincycle.sealing.secret_sealer import SecretSealer
from spincycle.v1.access_service_pb2_grpc import add_AccessServiceServicer_to_server
from spincycle.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from spincycle.v1.request_manager_service_pb2_grpc import (
    add_RequestManagerServiceServicer_to_server,
)
from spincycle.v1.server_service_pb2_grpc import add_ServerServiceServicer_to_server
from spincycle.v1.spec_service_pb2_grpc import add_SpecServiceServicer_to_server

PACKAGE = "spincycle.request_manager"
SCHEMA = "request_manager"


async def serve(config: RequestManagerConfig, shutdown: Shutdown) -> None:
    """Serve until shutdown is requested."""
    dialer = Dialer(config.internal, REQUEST_MANAGER)
    expiry = CertificateExpiry(config.internal, config.tls)
    authentication = open_authentication(config.auth, config.listen)
    grant_keys = open_grant_keys(
        config.append_grant_keys, required=identifies_callers(config.internal)
    )
    sealing_keys = config.secrets.key_file and SealingKeyFile(config.secrets.key_file)
    try:
        jobs = load_jobs(config.jobs)
    except JobsNotLoaded as error:
        raise ConfigError(str(error))
    specs = await SpecRepository.open(
        config.specs_dir,
        jobs.types(),
        lambda: known_roles(authentication, config.auth, config.access),
        allow_empty=config.allow_empty_specs,
    )
    database = await Database.open(
        config.database, load_queries(PACKAGE), "request-manager", schema_ready=False
    )
    log_scrubber = LogScrubber()
    log_scrubber.install()
    expander = Expander(
        jobs, Limits(create_timeout=config.create_timeout), on_secrets=log_scrubber.add
    )
    sealer = SecretSealer(
        (lambda: sealing_keys.keys) if sealing_keys else None, plaintext=config.secrets.plaintext
    )
    plugin = authentication.find(Plugin)
    manager = RequestManager(config, database, specs, expander, dialer, grant_keys, sealer, plugin)
    server = RpcServer(
        tls=config.tls,
        internal=config.internal,
        callers=CallerTable(legacy_runner_calls=config.legacy_runner_calls),
        on_refusal=manager.on_refusal,
        authentication=authentication,
        service=REQUEST_MANAGER,
    )
    public, internal = _services(config, manager)
    server.listen(PUBLIC, config.listen).serve(*public)
    server.listen_for_certificates(config.auth.certificates, public)
    server.listen(INTERNAL, config.internal.listen).serve(*public, *internal)
    server.listen_for_probes(config.health.listen)
    await server.start()
    structlog.get_logger().info("listening", **server.addresses)
    manager.metrics.calls(server.calls)
    manager.metrics.refusals(server.refusals)
    manager.metrics.authentications(authentication.outcomes)
    manager.metrics.bytes_in_flight(server.bytes_in_flight)
    manager.metrics.certificate_expiry(expiry.seconds, expiry.refresh)
    monitor = LoopMonitor()
    manager.metrics.event_loop_lag(monitor.lags)
    try:
        async with serve_metrics(manager.metrics, config.metrics), monitor:
            await _work(
                config,
                manager,
                database,
                server,
                dialer,
                expiry,
                [file for file in (grant_keys, sealing_keys) if file],
                shutdown,
                authentication=authentication,
            )
    finally:
        await manager.hub.close()
        await server.stop(config.grace)
        await manager.close()


def _services(
    config: RequestManagerConfig, manager: RequestManager
) -> tuple[list[RpcService], list[RpcService]]:
    """Return the public services, and the internal ones."""
    requests = RequestManagerService(manager.use_cases)
    specs = SpecService(manager.specs, LintWorkers(), manager.access, manager.audit)
    audit = AuditService(manager.audit)
    access = AccessService(manager.access, manager.use_cases.reader)
    reads = ReadAccessService(manager.use_cases.reader)
    info = ServerService(config.installation_name)
    coordination = RunnerCoordinationService(
        manager.registry,
        manager.reports,
        manager.reconciler,
        manager.networks,
        manager.grants,
        manager.on_refusal,
        config.beat_interval,
        config.silence_limit,
    )
    public = [
        RpcService(
            "spincycle.v1.RequestManagerService",
            partial(add_RequestManagerServiceServicer_to_server, requests),
        ),
        RpcService("spincycle.v1.AuditService", partial(add_AuditServiceServicer_to_server, audit)),
        RpcService("spincycle.v1.SpecService", partial(add_SpecServiceServicer_to_server, specs)),
        RpcService(
            "spincycle.v1.AccessService",
            partial(add_AccessServiceServicer_to_server, access),
        ),
        RpcService(
            "spincycle.v1.ServerService", partial(add_ServerServiceServicer_to_server, info)
        ),
    ]
    internal = [
        RpcService(
            "spincycle.internal.v1.RunnerCoordinationService",
            partial(add_RunnerCoordinationServiceServicer_to_server, coordination),
        ),
        RpcService(
            "spincycle.internal.v1.ReadAccessService",
            partial(add_ReadAccessServiceServicer_to_server, reads),
        ),
    ]
    return public, internal


async def _work(
    config: RequestManagerConfig,
    manager: RequestManager,
    database: Database,
    server: RpcServer,
    dialer: Dialer,
    expiry: CertificateExpiry,
    key_files: Sequence[KeyFile[Any]],
    shutdown: Shutdown,
    *,
    authentication: Authentication,
) -> None:
    """Run the background loops until shutdown is requested."""
    recovery = manager.recovery
    loops = (manager.dispatcher.watchdog, recovery.watchdog, recovery.eviction_watchdog)
    job_log = Peer(
        "job_log", config.job_log, "spincycle.internal.v1.JournalService", dialer.to(JOB_LOG)
    )
    vitals = Vitals(
        ready=[
            lambda: database.reachable,
            lambda: manager.notifier.listening,
            job_log.is_right,
            *(loop.is_responsive for loop in loops),
        ],
        live=[loop.is_alive for loop in loops],
    )
    reloads = asyncio.Event()
    shutdown.on_reload(reloads.set)

    async def run_loops() -> None:
        await prepare_schema(database, config.database, SCHEMA, PACKAGE)
        if not (config.secrets.plaintext or config.secrets.allow_clear_rows):
            await refuse_secrets_in_clear(SecretStore(database))
        duties: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "database": database.keep_reachable,
            "dispatch": manager.dispatcher.run,
            "recovery": manager.recovery.run,
            "change publisher": manager.notifier.publish,
            "change listener": lambda: manager.notifier.listen(config.database),
            "health": lambda: server.health.monitor(vitals),
            "check of job_log": job_log.check,
            "certificates": dialer.watch,
            "credentials of callers": authentication.watch,
            "audit of refusals": manager.refusals.run,
            "seals of the audit log": manager.sealer.run,
            "expiry of certificates": expiry.watch,
            "reload": lambda: _reload(manager.specs, reloads),
        }
        duties |= {f"{file.kind.name}s": file.watch for file in key_files}
        if config.specs_interval:
            duties["changed specs"] = lambda: manager.specs.reload_on_change(config.specs_interval)
        async with asyncio.TaskGroup() as group:
            for name, work in duties.items():
                group.create_task(supervise(name, work))

    await run_until_shutdown(shutdown, run_loops())
    await server.health.drain()


async def _reload(specs: SpecRepository, requested: asyncio.Event) -> None:
    while True:
        await requested.wait()
        requested.clear()
        await specs.reload()


main = service_command("request-manager", RequestManagerConfig, serve)
