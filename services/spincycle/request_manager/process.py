"""The process of the request manager: its composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from spincycle.chain.rebuild import rebuild, replay
from spincycle.database.database import Database
from spincycle.database.migrations import prepare_schema
from spincycle.database.queries import load_queries
from spincycle.graph import Expander, Limits
from spincycle.identity.append_grants import GrantKeys
from spincycle.identity.caller_table import CallerTable
from spincycle.identity.grant_key_file import GrantKeyFile, open_grant_keys
from spincycle.identity.service_identity import JOB_LOG, JOB_RUNNER, REQUEST_MANAGER
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    add_RunnerCoordinationServiceServicer_to_server,
)
from spincycle.job.errors import JobsNotLoaded
from spincycle.job.loading import load_jobs
from spincycle.metrics.registry import Metrics
from spincycle.metrics.serving import serve_metrics
from spincycle.request_manager.chain_archive import ChainArchive
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.coordination_service import RunnerCoordinationService
from spincycle.request_manager.metrics import register_metrics
from spincycle.request_manager.refusal_audit import RefusalAudit
from spincycle.request_manager.request_encoding import encode_args
from spincycle.request_manager.requests.control import RequestControl
from spincycle.request_manager.requests.create import RequestCreator
from spincycle.request_manager.requests.explain import Explainer
from spincycle.request_manager.requests.lint_workers import LintWorkers
from spincycle.request_manager.requests.planner import SpecPlanner
from spincycle.request_manager.requests.read import RequestReader
from spincycle.request_manager.requests.rerun import ChainCodec, RerunCreator
from spincycle.request_manager.requests.running_jobs import RunningJobs
from spincycle.request_manager.requests.saved_chain import adopt
from spincycle.request_manager.requests.spec_repository import SpecRepository
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.runners.dispatcher import Dispatcher, DispatchPolicy, DispatchStores
from spincycle.request_manager.runners.reconciliation import Reconciler
from spincycle.request_manager.runners.recovery import Recovery, RecoveryPolicy, RecoveryStores
from spincycle.request_manager.runners.registry import RunnerRegistry
from spincycle.request_manager.runners.reports import Reports
from spincycle.request_manager.runners.runner_networks import RunnerNetworks
from spincycle.request_manager.runners.silence import SilenceMonitor
from spincycle.request_manager.server_service import ServerService
from spincycle.request_manager.service import RequestManagerService, UseCases
from spincycle.request_manager.spec_service import SpecService
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.audit_store import AuditStore, Refusal
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.change_notifier import ChangeNotifier
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.claim_store import ClaimStore
from spincycle.request_manager.storage.desired_state_store import DesiredStateStore
from spincycle.request_manager.storage.dispatch_store import DispatchStore
from spincycle.request_manager.storage.job_log_client import JobLogClient
from spincycle.request_manager.storage.reconciliation_store import ReconciliationStore
from spincycle.request_manager.storage.recovery_store import RecoveryStore
from spincycle.request_manager.storage.report_store import ReportStore
from spincycle.request_manager.storage.request_counts import RequestCounts
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.request_manager.storage.runner_store import RunnerStore
from spincycle.request_manager.watch.cursor_replay import CursorReplay, ReplayStores
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots
from spincycle.request_manager.watch.snapshots import RequestSnapshots
from spincycle.request_manager.watch.subscriptions import Subscriptions
from spincycle.rpc.certificate_expiry import CertificateExpiry
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.health import Vitals
from spincycle.rpc.identification import RefusedCall, log_refusal
from spincycle.rpc.limits import INTERNAL, PUBLIC
from spincycle.rpc.peer import Peer
from spincycle.rpc.server import RpcServer, RpcService, identifies_callers
from spincycle.runtime.config import ConfigError
from spincycle.runtime.log_scrubber import LogScrubber
from spincycle.runtime.loop_monitor import LoopMonitor
from spincycle.runtime.process import Shutdown, run_until_shutdown, service_command, supervise
from spincycle.v1 import job_chain_pb2
from spincycle.v1.request_manager_service_pb2_grpc import (
    add_RequestManagerServiceServicer_to_server,
)
from spincycle.v1.server_service_pb2_grpc import add_ServerServiceServicer_to_server
from spincycle.v1.spec_service_pb2_grpc import add_SpecServiceServicer_to_server
from spincycle.wire.chain import (
    decode_chain,
    encode_chain,
    encode_periods,
    encode_suspended_chain,
)

PACKAGE = "spincycle.request_manager"
SCHEMA = "request_manager"


class RequestManager:
    """All parts of one request manager."""

    def __init__(
        self,
        config: RequestManagerConfig,
        database: Database,
        specs: SpecRepository,
        expander: Expander,
        dialer: Dialer,
        grant_keys: GrantKeyFile | None,
    ) -> None:
        self._config = config
        self._database = database
        self._expander = expander
        self.specs = specs
        self.grants: Callable[[], GrantKeys] | None = (
            None if grant_keys is None else lambda: grant_keys.keys
        )
        self.networks = RunnerNetworks(config.runner_networks)
        self.refusals = RefusalAudit(AuditStore(database))
        counts = RequestCounts()
        store = RequestStore(database, counts)
        archive_store = ArchiveStore(database, encode_periods)
        dispatch_store = DispatchStore(database, counts)
        report_store = ReportStore(database, counts)
        runner_store = RunnerStore(database)
        self._job_log = JobLogClient(config.job_log, dial=dialer.to(JOB_LOG))
        archive = ChainArchive(archive_store, self._job_log, rebuild)
        self.changes = ChangeBus()
        self.notifier = ChangeNotifier(database, self.changes)
        policy = RecoveryPolicy(
            interval=min(1.0, config.silence_limit / 4), silence_timeout=config.silence_limit
        )
        silences = SilenceMonitor(policy.timeouts)
        self._runners = RunnerDirectory(
            runner_store,
            silences,
            config.dispatch_timeout,
            doubtful_after=2 * config.beat_interval + 1,
            dial=dialer.to(JOB_RUNNER),
            grants=self.grants,
        )
        changes = ChangeStore(database, encode_args)
        feeds = RunnerFeeds(self._runners)
        snapshots = RequestSnapshots(store, changes, feeds, archive, self._job_log)
        self.hub = Hub(changes, feeds, self.changes, snapshots)
        shared = SharedSnapshots(snapshots)
        cursor_replay = CursorReplay(ReplayStores(store, changes), feeds, shared)
        self.recovery = Recovery(
            RecoveryStores(
                recovery=RecoveryStore(database),
                runners=runner_store,
                archives=archive_store,
                dispatch=dispatch_store,
                reports=report_store,
            ),
            self._runners,
            silences,
            self.changes,
            archive.rebuild,
            self._wake_dispatcher,
            policy,
        )
        self.dispatcher = Dispatcher(
            DispatchStores(dispatch_store, ClaimStore(database), archive_store),
            self._runners,
            self.changes,
            self.recovery.recover_unanswered,
            self._job_log.fence_all,
            DispatchPolicy(),
        )
        control = RequestControl(
            store,
            DesiredStateStore(database, counts),
            self._runners,
            self.dispatcher,
            self.changes,
        )
        codec = ChainCodec(
            decode=lambda chain: decode_chain(job_chain_pb2.JobChain.FromString(chain)),
            encode=lambda chain: encode_chain(chain).SerializeToString(),
            encode_suspended=lambda chain: encode_suspended_chain(chain).SerializeToString(),
            replay=replay,
        )
        creator = RequestCreator(
            SpecPlanner(specs, expander),
            codec.encode,
            store,
            archive_store,
            self.dispatcher,
            self.changes,
        )
        self.reconciler = Reconciler(ReconciliationStore(database), self.changes)
        self.registry = RunnerRegistry(runner_store, silences, self.changes)
        self.changes.on_resync(self._runners.invalidate)
        self.changes.on_resync(self.dispatcher.wake)
        self.reports = reports = Reports(
            report_store, archive_store, self.changes, self.dispatcher, adopt
        )
        self.metrics = Metrics()
        register_metrics(self.metrics, counts, dispatch_store, self.dispatcher, self.recovery)
        self.metrics.batches(creator.coalescers | reports.coalescers | control.coalescers)
        self.use_cases = UseCases(
            creator=creator,
            rerun_creator=RerunCreator(
                store, archive_store, control, self._job_log, codec, self.dispatcher, self.changes
            ),
            control=control,
            explainer=Explainer(archive_store, self._runners, self._job_log, config.silence_limit),
            reader=RequestReader(store, archive),
            running_jobs=RunningJobs(store, self._runners),
            watch=Subscriptions(store, self.hub, cursor_replay, snapshots, shared),
            archive=archive,
            store=store,
        )

    def on_refusal(self, refused: RefusedCall) -> None:
        """Audit and log a refused call."""
        is_new = self.refusals.record(
            Refusal(
                refused.caller,
                refused.method.removeprefix("/"),
                refused.error.reason,
                refused.error.message,
                refused.peer,
                refused.error.request_id_or_empty,
            )
        )
        if is_new:
            log_refusal(refused)

    def _wake_dispatcher(self) -> None:
        self.dispatcher.wake()

    async def close(self) -> None:
        """Close channels, threads and connections."""
        await self.refusals.close()
        await self._runners.close()
        await self._job_log.close()
        self._expander.close()
        await self._database.close()


async def serve(config: RequestManagerConfig, shutdown: Shutdown) -> None:
    """Serve until shutdown is requested."""
    dialer = Dialer(config.internal, REQUEST_MANAGER)
    expiry = CertificateExpiry(config.internal, config.tls)
    grant_keys = open_grant_keys(
        config.append_grant_keys, required=identifies_callers(config.internal)
    )
    try:
        jobs = load_jobs(config.jobs)
    except JobsNotLoaded as error:
        raise ConfigError(str(error))
    specs = await SpecRepository.open(
        config.specs_dir, jobs.types(), allow_empty=config.allow_empty_specs
    )
    database = await Database.open(
        config.database, load_queries(PACKAGE), "request-manager", schema_ready=False
    )
    log_scrubber = LogScrubber()
    log_scrubber.install()
    expander = Expander(
        jobs, Limits(create_timeout=config.create_timeout), on_secrets=log_scrubber.add
    )
    manager = RequestManager(config, database, specs, expander, dialer, grant_keys)
    server = RpcServer(
        tls=config.tls,
        internal=config.internal,
        callers=CallerTable(legacy_runner_calls=config.legacy_runner_calls),
        on_refusal=manager.on_refusal,
        service=REQUEST_MANAGER,
    )
    public, internal = _services(config, manager)
    server.listen(PUBLIC, config.listen).serve(*public)
    server.listen(INTERNAL, config.internal.listen).serve(*public, *internal)
    server.listen_for_probes(config.health.listen)
    await server.start()
    structlog.get_logger().info("listening", **server.addresses)
    manager.metrics.calls(server.calls)
    manager.metrics.refusals(server.refusals)
    manager.metrics.bytes_in_flight(server.bytes_in_flight)
    manager.metrics.certificate_expiry(expiry.seconds, expiry.refresh)
    monitor = LoopMonitor()
    manager.metrics.event_loop_lag(monitor.lags)
    try:
        async with serve_metrics(manager.metrics, config.metrics), monitor:
            await _work(config, manager, database, server, dialer, expiry, grant_keys, shutdown)
    finally:
        await manager.hub.close()
        await server.stop(config.grace)
        await manager.close()


def _services(
    config: RequestManagerConfig, manager: RequestManager
) -> tuple[list[RpcService], list[RpcService]]:
    """Return the public services, and the internal ones."""
    requests = RequestManagerService(manager.use_cases)
    specs = SpecService(manager.specs, LintWorkers())
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
        RpcService("spincycle.v1.SpecService", partial(add_SpecServiceServicer_to_server, specs)),
        RpcService(
            "spincycle.v1.ServerService", partial(add_ServerServiceServicer_to_server, info)
        ),
    ]
    internal = [
        RpcService(
            "spincycle.internal.v1.RunnerCoordinationService",
            partial(add_RunnerCoordinationServiceServicer_to_server, coordination),
        )
    ]
    return public, internal


async def _work(
    config: RequestManagerConfig,
    manager: RequestManager,
    database: Database,
    server: RpcServer,
    dialer: Dialer,
    expiry: CertificateExpiry,
    grant_keys: GrantKeyFile | None,
    shutdown: Shutdown,
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
        duties: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "database": database.keep_reachable,
            "dispatch": manager.dispatcher.run,
            "recovery": manager.recovery.run,
            "change publisher": manager.notifier.publish,
            "change listener": lambda: manager.notifier.listen(config.database),
            "health": lambda: server.health.monitor(vitals),
            "check of job_log": job_log.check,
            "certificates": dialer.watch,
            "audit of refusals": manager.refusals.run,
            "expiry of certificates": expiry.watch,
            "reload": lambda: _reload(manager.specs, reloads),
        }
        if grant_keys is not None:
            duties["grant keys"] = grant_keys.watch
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
