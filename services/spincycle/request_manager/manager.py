"""All parts of one request manager, and how they are connected."""

from __future__ import annotations

from collections.abc import Callable

from spincycle.access.limits import CallerLimits
from spincycle.access.plugin import Plugin
from spincycle.access.rules import rules_of
from spincycle.chain.rebuild import rebuild, replay
from spincycle.database.database import Database
from spincycle.graph import Expander
from spincycle.identity.append_grants import GrantKeys
from spincycle.identity.grant_key_file import GrantKeyFile
from spincycle.identity.service_identity import JOB_LOG, JOB_RUNNER
from spincycle.identity.signing_keys import SigningKey
from spincycle.metrics.registry import Metrics
from spincycle.request_manager.audit.sealer import Sealer
from spincycle.request_manager.chain_archive import ChainArchive
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.metrics import register_audit, register_denials, register_metrics
from spincycle.request_manager.refusal_audit import RefusalAudit
from spincycle.request_manager.request_encoding import encode_args
from spincycle.request_manager.requests.access_control import AccessControl, Denial
from spincycle.request_manager.requests.audit_log import AuditLog
from spincycle.request_manager.requests.control import RequestControl
from spincycle.request_manager.requests.create import RequestCreator
from spincycle.request_manager.requests.explain import Explainer
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
from spincycle.request_manager.service import UseCases
from spincycle.request_manager.storage.actor import Actor
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
from spincycle.request_manager.storage.seal_store import SealStore
from spincycle.request_manager.storage.secret_columns import SecretColumns
from spincycle.request_manager.watch.cursor_replay import CursorReplay, ReplayStores
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots
from spincycle.request_manager.watch.snapshots import RequestSnapshots
from spincycle.request_manager.watch.subscriptions import Subscriptions
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.identification import RefusedCall, log_refusal
from spincycle.sealing.secret_sealer import SecretSealer
from spincycle.v1 import job_chain_pb2
from spincycle.wire.chain import (
    decode_chain,
    encode_chain,
    encode_periods,
    encode_suspended_chain,
)


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
        secret_sealer: SecretSealer,
        plugin: Plugin | None = None,
    ) -> None:
        self._config = config
        self._database = database
        self._expander = expander
        self.specs = specs
        self.grants: Callable[[], GrantKeys] | None = (
            None if grant_keys is None else lambda: grant_keys.keys
        )
        self.networks = RunnerNetworks(config.runner_networks)
        audit_store = AuditStore(database)
        self.refusals = RefusalAudit(audit_store)
        self.access = AccessControl(
            rules_of(config.access, config.auth, config.listen),
            lambda: specs.specs,
            plugin,
            self.on_denied,
        )
        self.audit = AuditLog(audit_store, self.access)
        limits = CallerLimits(config.access.limits)
        key = None if config.audit.signing_key is None else SigningKey(config.audit.signing_key)
        self.sealer = Sealer(SealStore(database), key, config.audit.seal_interval)
        counts = RequestCounts()
        columns = SecretColumns(secret_sealer)
        store = RequestStore(database, counts, columns)
        archive_store = ArchiveStore(database, encode_periods, columns)
        dispatch_store = DispatchStore(database, counts)
        report_store = ReportStore(database, counts, columns)
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
            self.access,
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
            access=self.access,
            limits=limits,
        )
        self.reconciler = Reconciler(ReconciliationStore(database), self.changes)
        self.registry = RunnerRegistry(runner_store, silences, self.changes)
        self.changes.on_resync(self._runners.invalidate)
        self.changes.on_resync(self.dispatcher.wake)
        self.reports = reports = Reports(
            report_store, archive_store, self.changes, self.dispatcher, adopt
        )
        self.metrics = Metrics()
        register_metrics(
            self.metrics, counts, dispatch_store, self.dispatcher, self.recovery, secret_sealer
        )
        register_denials(self.metrics, self.access.denials)
        register_audit(self.metrics, self.sealer, self.refusals)
        self.metrics.batches(creator.coalescers | reports.coalescers | control.coalescers)
        self.use_cases = UseCases(
            creator=creator,
            rerun_creator=RerunCreator(
                store,
                archive_store,
                control,
                self._job_log,
                codec,
                self.dispatcher,
                self.changes,
                access=self.access,
                limits=limits,
            ),
            control=control,
            explainer=Explainer(archive_store, self._runners, self._job_log, config.silence_limit),
            reader=RequestReader(store, archive, self.access),
            running_jobs=RunningJobs(store, self._runners, self.access),
            watch=Subscriptions(store, self.hub, cursor_replay, snapshots, shared),
            archive=archive,
            access=self.access,
            limits=limits,
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

    def on_denied(self, denial: Denial) -> None:
        """Audit a denied attempt."""
        self.refusals.record(
            Refusal.of_operation(
                Actor.of(denial.caller, denial.rule),
                denial.operation,
                denial.error.message,
                denial.request_type,
                denial.request_id,
            )
        )

    def _wake_dispatcher(self) -> None:
        self.dispatcher.wake()

    async def close(self) -> None:
        """Close channels, threads and connections."""
        await self.refusals.close()
        await self._runners.close()
        await self._job_log.close()
        self._expander.close()
        await self._database.close()
