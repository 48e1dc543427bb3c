"""Process of the job runner: creates and connects its components."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from functools import partial

import structlog

from spincycle.chain.features import SUPPORTED
from spincycle.identity.caller_table import CallerTable
from spincycle.identity.service_identity import JOB_LOG, JOB_RUNNER, REQUEST_MANAGER
from spincycle.internal.v1.job_runner_service_pb2_grpc import add_JobRunnerServiceServicer_to_server
from spincycle.job import JobTypes
from spincycle.job.errors import JobsNotLoaded
from spincycle.job.launcher import Launcher, install, installed
from spincycle.job.loading import load_jobs
from spincycle.job_runner.blocking_job import find_job
from spincycle.job_runner.config import JobRunnerConfig
from spincycle.job_runner.database_clock import DatabaseClock
from spincycle.job_runner.environment import confine
from spincycle.job_runner.event_log import EventLog
from spincycle.job_runner.fair_slots import FairSlots
from spincycle.job_runner.held_chains import HeldChains
from spincycle.job_runner.job_logs import install_job_logs
from spincycle.job_runner.journal_stream import JournalStream
from spincycle.job_runner.lease import Lease
from spincycle.job_runner.outbox import Outbox
from spincycle.job_runner.output_stream import OutputStream
from spincycle.job_runner.ports import ChainDependencies
from spincycle.job_runner.registration import Dials, Identity, LoopLag, RunnerRegistration
from spincycle.job_runner.reporter import OutboxReporter
from spincycle.job_runner.runner import JobRunner
from spincycle.job_runner.service import JobRunnerService, encode_runner_event
from spincycle.job_runner.standard_streams import install_job_streams
from spincycle.job_runner.task_factory import isolated_task
from spincycle.job_runner.threads import Threads
from spincycle.job_runner.try_environment import StopPolicy, TryEnvironment
from spincycle.metrics.registry import Metrics
from spincycle.metrics.serving import serve_metrics
from spincycle.rpc.address import WILDCARDS, host_of
from spincycle.rpc.certificate_expiry import CertificateExpiry
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.health import Vitals
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.peer import Peer
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.runtime.child_processes import exit_with_descendants
from spincycle.runtime.config import ConfigError
from spincycle.runtime.log_scrubber import LogScrubber
from spincycle.runtime.loop_monitor import BlockLimit, LoopMonitor
from spincycle.runtime.process import Shutdown, service_command, supervise
from spincycle.runtime.watchdog import SLOW_AFTER

COORDINATION = "spincycle.internal.v1.RunnerCoordinationService"
JOURNAL = "spincycle.internal.v1.JournalService"

SHUTDOWN_TIMEOUT = 5.0
"""Seconds to send the last reports after all chains have ended."""


async def serve(config: JobRunnerConfig, shutdown: Shutdown) -> None:
    """Serve until shutdown is requested; then suspend all chains and hand them over."""
    jobs = _load_jobs(config)
    dialer = Dialer(config.internal, JOB_RUNNER)
    expiry = CertificateExpiry(config.internal)
    server = RpcServer(
        internal=config.internal,
        callers=CallerTable(legacy_runner_calls=config.legacy_runner_calls),
        service=JOB_RUNNER,
    )
    internal = server.listen(INTERNAL, config.internal.listen)
    server.listen_for_probes(config.health.listen)
    to_job_log, to_manager = dialer.to(JOB_LOG), dialer.to(REQUEST_MANAGER)
    address = _advertised(config, internal.address)

    journal = JournalStream(config.job_log, to_job_log)
    lease = Lease()
    clock = DatabaseClock()
    # Also checked per job: one resident chain can have any number of jobs to journal.
    job_slots = FairSlots(config.max_jobs or None, lambda: lease.holds() and not journal.full)
    journal.on_capacity(job_slots.dispatch)
    threads = Threads(config.max_threads, lease.holds)
    monitor = LoopMonitor(find_job, BlockLimit(config.loop_block_limit, exit_with_descendants))
    lease.on_renewal(job_slots.dispatch)
    lease.on_renewal(threads.dispatch)
    event_log = EventLog(encode_runner_event)
    outbox = Outbox(config.request_manager, to_manager)
    log_scrubber = LogScrubber()
    log_scrubber.install()
    dependencies = ChainDependencies(
        journal=journal,
        reporter=OutboxReporter(outbox),
        events=event_log,
        jobs=jobs,
        job_slots=job_slots,
        environment=TryEnvironment(
            threads=threads,
            stop_policy=StopPolicy(config.stop_limit),
            log_scrubber=log_scrubber,
            is_blocked_by=lambda job: monitor.is_blocked_by(job.id),
        ),
        draw=random.random,
        new_clock=clock.for_chain,
    )
    runner = JobRunner(dependencies, config.max_chains or None)
    identity = Identity(
        address,
        config.max_chains,
        config.max_jobs,
        job_types=tuple(sorted(jobs.types())),
        features=tuple(sorted(SUPPORTED)),
    )
    output = OutputStream(config.job_log, runner.jobs_with_output, runner.append_grant, to_job_log)
    registration = RunnerRegistration(
        config.request_manager,
        identity,
        runner,
        HeldChains(runner.epochs, outbox.unstored_ends, runner.append_grants),
        lambda: journal.oldest_unacknowledged,
        lease,
        clock,
        dials=Dials(to_manager, dialer.blocking_to(REQUEST_MANAGER)),
        lag=LoopLag(lambda: monitor.lag, config.loop_block_limit),
    )
    service = JobRunnerService(
        runner, event_log, lambda: registration.runner_id, address, outbox.unstored_ends
    )
    internal.serve(
        RpcService(
            "spincycle.internal.v1.JobRunnerService",
            partial(add_JobRunnerServiceServicer_to_server, service),
        )
    )
    peers = [
        Peer("request_manager", config.request_manager, COORDINATION, to_manager),
        Peer("job_log", config.job_log, JOURNAL, to_job_log),
    ]
    vitals = Vitals(
        ready=[
            registration.is_connected,
            *(peer.is_right for peer in peers),
            lambda: not runner.draining,
            lambda: journal.oldest_unacknowledged < SLOW_AFTER,
        ],
        live=[registration.watchdog.is_alive, outbox.watchdog.is_alive],
    )
    await server.start()
    structlog.get_logger().info(
        "listening", advertised=address, runner_id=registration.runner_id, **server.addresses
    )
    try:
        async with (
            serve_metrics(_metrics(runner, journal, server, monitor, expiry), config.metrics),
            monitor,
            asyncio.TaskGroup() as group,
        ):
            background_tasks: dict[str, Callable[[], Coroutine[None, None, None]]] = {
                "journal": journal.run,
                "reports": lambda: outbox.run(lambda: registration.runner_id, runner.abandon),
                "registration": registration.run,
                "live output": output.run,
                "health": lambda: server.health.monitor(vitals),
                "certificates": dialer.watch,
                "expiry of certificates": expiry.watch,
                **{f"check of {peer.setting}": peer.check for peer in peers},
            }
            if launcher := installed():
                background_tasks["launcher"] = partial(launcher.run, _log_lost_launcher)
            tasks = [
                group.create_task(supervise(name, work)) for name, work in background_tasks.items()
            ]
            await shutdown.wait()
            await server.health.drain()
            await _drain(config, runner, registration, outbox)
            for task in tasks:
                task.cancel()
    finally:
        await server.stop(0.5)
        await journal.close()
        await output.close()
        await outbox.close()
        await registration.close()


def _load_jobs(config: JobRunnerConfig) -> JobTypes:
    try:
        return load_jobs(config.jobs)
    except JobsNotLoaded as error:
        raise ConfigError(str(error))


def _advertised(config: JobRunnerConfig, listening: str) -> str:
    address = config.advertise or listening
    if host_of(address) in WILDCARDS:
        raise ConfigError(
            f"advertise: {address} is a wildcard address; set the host:port at which request "
            "managers reach this runner"
        )
    return address


def _metrics(
    runner: JobRunner,
    journal: JournalStream,
    server: RpcServer,
    monitor: LoopMonitor,
    expiry: CertificateExpiry,
) -> Metrics:
    metrics = Metrics()
    metrics.certificate_expiry(expiry.seconds, expiry.refresh)
    metrics.gauge("spincycle_chains", "Resident chains", lambda: float(runner.chains))
    metrics.gauge("spincycle_running_jobs", "Running jobs", lambda: float(runner.jobs))
    metrics.gauge(
        "spincycle_journal_backlog_seconds",
        "Age of the oldest journal entry that the job log has not acknowledged",
        lambda: journal.oldest_unacknowledged,
    )
    metrics.gauge(
        "spincycle_draining",
        "1 while the runner shuts down and admits no chains",
        lambda: float(runner.draining),
    )
    metrics.event_loop_lag(monitor.lags)
    metrics.calls(server.calls)
    metrics.refusals(server.refusals)
    metrics.bytes_in_flight(server.bytes_in_flight)
    return metrics


async def _drain(
    config: JobRunnerConfig, runner: JobRunner, registration: RunnerRegistration, outbox: Outbox
) -> None:
    log = structlog.get_logger()
    log.info("draining", chains=runner.chains)
    registration.draining = True
    remaining = await runner.drain(config.grace)
    try:
        async with asyncio.timeout(SHUTDOWN_TIMEOUT):
            await outbox.wait_empty()
    except TimeoutError:
        log.warning("reports not sent before shutdown")
    for request_id in remaining:
        log.warning("chain not suspended before shutdown", request_id=request_id)
    await registration.deregister()


def _log_lost_launcher(code: int) -> None:
    structlog.get_logger().error("launcher ended; starting another", code=code)


def _prepare(config: JobRunnerConfig) -> None:
    """Confine the environment and the streams before jobs are loaded, and start the launcher."""
    confine(config.jobs_environment)
    install_job_streams()
    try:
        install(Launcher())
    except OSError as error:
        raise ConfigError(f"cannot start the launcher of programs: {error.strerror}")


def _run(work: Coroutine[None, None, int]) -> int:
    """Run on the standard event loop, since jobs may start processes without the launcher.

    uvloop forks to start a process: a child would inherit the file descriptors of its siblings,
    and gRPC's fork handlers would run in it. The standard loop does neither.
    """
    if sys.version_info < (3, 12):
        # The default watcher uses one thread per process.
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    with asyncio.Runner() as runner:
        runner.get_loop().set_task_factory(isolated_task)
        return runner.run(work)


def _run_process(work: Coroutine[None, None, int]) -> int:
    install_job_logs()
    return _run(work)


main = service_command("job-runner", JobRunnerConfig, serve, _run_process, _prepare)
