"""The process of the job log: wires its parts together."""

from __future__ import annotations

from functools import partial

import structlog

from spincycle.access.authenticators import open_authentication
from spincycle.database.database import Database
from spincycle.database.migrations import prepare_schema
from spincycle.database.notifications import listen
from spincycle.database.queries import load_queries
from spincycle.identity.caller_table import CallerTable
from spincycle.identity.grant_key_file import open_grant_keys
from spincycle.identity.service_identity import JOB_LOG, REQUEST_MANAGER
from spincycle.internal.v1.journal_service_pb2_grpc import add_JournalServiceServicer_to_server
from spincycle.job_log.config import JobLogConfig
from spincycle.job_log.followers import Followers
from spincycle.job_log.intake import Intake
from spincycle.job_log.journal import Journal
from spincycle.job_log.journal_service import JournalService
from spincycle.job_log.live_output import OutputHub
from spincycle.job_log.read_access import RequestManagerAccess
from spincycle.job_log.service import EVERYBODY, JobLogService
from spincycle.job_log.store import JournalStore
from spincycle.job_log.tail import Tail
from spincycle.metrics.registry import Metrics
from spincycle.metrics.serving import serve_metrics
from spincycle.rpc.certificate_expiry import CertificateExpiry
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.health import Vitals
from spincycle.rpc.identification import RefusalLog
from spincycle.rpc.limits import INTERNAL, PUBLIC
from spincycle.rpc.peer import Peer
from spincycle.rpc.server import RpcServer, RpcService, identifies_callers
from spincycle.runtime.config import ConfigError
from spincycle.runtime.loop_monitor import LoopMonitor
from spincycle.runtime.process import Shutdown, run_until_shutdown, service_command, supervise
from spincycle.v1.job_log_service_pb2_grpc import add_JobLogServiceServicer_to_server

PACKAGE = "spincycle.job_log"
SCHEMA = "job_log"
CHANNEL = "spincycle_job_log"
OUTPUT_CHANNEL = "spincycle_job_log_output"
"""Channel of notifications between job logs: subscriptions to live output, and the output."""


async def serve(config: JobLogConfig, shutdown: Shutdown) -> None:
    """Serve until shutdown is requested."""
    grants = open_grant_keys(config.append_grant_keys, required=identifies_callers(config.internal))
    expiry = CertificateExpiry(config.internal, config.tls)
    dialer = Dialer(config.internal, JOB_LOG)
    access = _open_access(config, dialer)
    queries = load_queries(PACKAGE)
    database = await Database.open(config.database, queries, "job-log", schema_ready=False)
    journal = Journal(JournalStore(database), Intake(config.text_limit, config.data_limit))
    followers = Followers(
        partial(
            listen,
            config.database,
            CHANNEL,
            setup=queries["follow"].sql,
            teardown=queries["unfollow"].sql,
        )
    )
    output = OutputHub(
        lambda payload: database.execute("notify", channel=OUTPUT_CHANNEL, payload=payload)
    )
    tail = Tail(journal, followers, output)
    writes = JournalService(journal, output, (lambda: grants.keys) if grants else None)
    authentication = open_authentication(config.auth, config.listen)
    server = RpcServer(
        tls=config.tls,
        internal=config.internal,
        callers=CallerTable(legacy_runner_calls=config.legacy_runner_calls),
        on_refusal=RefusalLog(),
        authentication=authentication,
        service=JOB_LOG,
    )
    reads = RpcService(
        "spincycle.v1.JobLogService",
        partial(
            add_JobLogServiceServicer_to_server, JobLogService(journal, tail, access or EVERYBODY)
        ),
    )
    server.listen(PUBLIC, config.listen).serve(reads)
    server.listen_for_certificates(config.auth.certificates, [reads])
    server.listen(INTERNAL, config.internal.listen).serve(
        reads,
        RpcService(
            "spincycle.internal.v1.JournalService",
            partial(add_JournalServiceServicer_to_server, writes),
        ),
    )
    server.listen_for_probes(config.health.listen)
    await server.start()
    structlog.get_logger().info("listening", **server.addresses)
    metrics = Metrics()
    metrics.batches(journal.coalescers)
    if access is not None:
        metrics.batches(access.coalescers)
    metrics.calls(server.calls)
    metrics.refusals(server.refusals)
    metrics.authentications(authentication.outcomes)
    metrics.bytes_in_flight(server.bytes_in_flight)
    metrics.certificate_expiry(expiry.seconds, expiry.refresh)
    monitor = LoopMonitor()
    metrics.event_loop_lag(monitor.lags)
    try:
        async with serve_metrics(metrics, config.metrics), monitor:
            await run_until_shutdown(
                shutdown,
                prepare_schema(database, config.database, SCHEMA, PACKAGE),
                database.keep_reachable(),
                *([grants.watch()] if grants else []),
                expiry.watch(),
                supervise("credentials of callers", authentication.watch),
                dialer.watch(),
                *([_peer(config, dialer).check()] if access else []),
                listen(config.database, OUTPUT_CHANNEL, output.on_notification, lambda: None),
                server.health.monitor(
                    Vitals(
                        ready=[lambda: database.reachable, journal.write.is_responsive],
                        live=[journal.attempt.is_alive],
                    )
                ),
            )
    finally:
        await server.health.drain()
        # Otherwise Append, Tail and OfferOutput would last for the whole grace period.
        writes.end()
        tail.end()
        output.end()
        await server.stop(config.grace)
        await output.close()
        await journal.close(config.grace)
        await followers.close()
        if access is not None:
            await access.close()
        await database.close()


def _open_access(config: JobLogConfig, dialer: Dialer) -> RequestManagerAccess | None:
    """Return what asks request managers which journals a caller may read; None if all may.

    Raises:
        ConfigError: `request_manager` is needed and empty.
    """
    if config.auth.none:
        return None
    if not config.request_manager:
        raise ConfigError(
            "request_manager: the request managers decide which journals a caller may read: set "
            "it to their internal listener, or set auth.none: true to let everybody read all"
        )
    return RequestManagerAccess(config.request_manager, dialer.to(REQUEST_MANAGER))


def _peer(config: JobLogConfig, dialer: Dialer) -> Peer:
    return Peer(
        "request_manager",
        config.request_manager,
        "spincycle.internal.v1.ReadAccessService",
        dialer.to(REQUEST_MANAGER),
    )


main = service_command("job-log", JobLogConfig, serve)
