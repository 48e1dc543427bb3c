"""The process of the job runner: its parts, put together once."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from functools import partial

import structlog

from spincycle.chain.features import SUPPORTED
from spincycle.internal.v1.job_runner_service_pb2_grpc import add_JobRunnerServiceServicer_to_server
from spincycle.job.errors import JobsNotLoaded
from spincycle.job.loading import load_jobs
from spincycle.job_runner.config import JobRunnerConfig
from spincycle.job_runner.contained import contained_task
from spincycle.job_runner.database_clock import DatabaseClock
from spincycle.job_runner.event_log import EventLog
from spincycle.job_runner.fair_slots import FairSlots
from spincycle.job_runner.held_chains import HeldChains
from spincycle.job_runner.journal_stream import JournalStream
from spincycle.job_runner.lease import Lease
from spincycle.job_runner.outbox import Outbox
from spincycle.job_runner.output_stream import OutputStream
from spincycle.job_runner.ports import ChainDependencies
from spincycle.job_runner.presence import Identity, RunnerPresence
from spincycle.job_runner.reporter import OutboxReporter
from spincycle.job_runner.runner import JobRunner
from spincycle.job_runner.service import JobRunnerService, encode_happening
from spincycle.job_runner.threads import Threads
from spincycle.job_runner.try_execution import StopPolicy, TryEnvironment
from spincycle.metrics.registry import Metrics
from spincycle.metrics.serving import serve_metrics
from spincycle.rpc.address import WILDCARDS, host_of
from spincycle.rpc.health import Vitals
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.peer import Peer
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.rpc.tls import dialer
from spincycle.runtime.config import ConfigError
from spincycle.runtime.process import Shutdown, service_command, supervise
from spincycle.runtime.watchdog import SLOW_AFTER

COORDINATION = "spincycle.internal.v1.RunnerCoordinationService"
JOURNAL = "spincycle.internal.v1.JournalService"

SHUTDOWN_TIMEOUT = 5.0
"""Seconds to hand over the last reports after all chains have ended."""


async def serve(config: JobRunnerConfig, shutdown: Shutdown) -> None:
    """Serve until asked to end; then suspend all chains and hand them over."""
    try:
        jobs = load_jobs(config.jobs)
    except JobsNotLoaded as error:
        raise ConfigError(str(error))
    server = RpcServer(tls=config.tls)
    internal = server.listen(INTERNAL, config.internal.listen)
    server.listen_for_probes(config.health.listen)
    dial = dialer(config.tls)
    address = config.advertise or internal.address
    if host_of(address) in WILDCARDS:
        raise ConfigError(
            f"advertise: set it to the host:port at which request managers reach this runner; "
            f"nobody can call {address}"
        )

    journal = JournalStream(config.job_log, dial)
    lease = Lease()
    clock = DatabaseClock()
    # A chain that is here may have any number of jobs, whose ends would all have to wait.
    places = FairSlots(config.max_jobs or None, lambda: lease.holds() and not journal.full)
    journal.on_room(places.serve)
    threads = Threads(config.max_threads, lease.holds)
    lease.on_renewal(places.serve)
    lease.on_renewal(threads.serve)
    watchers = EventLog(encode_happening)
    outbox = Outbox(config.request_manager, dial)
    around = ChainDependencies(
        journal=journal,
        reporter=OutboxReporter(outbox),
        events=watchers,
        jobs=jobs,
        places=places,
        workshop=TryEnvironment(
            threads=threads,
            stop_policy=StopPolicy(config.stop_limit),
        ),
        draw=random.random,
        new_clock=clock.for_chain,
    )
    runner = JobRunner(around, config.max_chains or None)
    identity = Identity(
        address,
        config.max_chains,
        config.max_jobs,
        job_types=tuple(sorted(jobs.types())),
        features=tuple(sorted(SUPPORTED)),
    )
    output = OutputStream(config.job_log, runner.printing, dial)
    presence = RunnerPresence(
        config.request_manager,
        identity,
        runner,
        HeldChains(runner.epochs, outbox.unstored_ends),
        lambda: journal.oldest_unacknowledged,
        lease,
        clock,
        dial,
    )
    service = JobRunnerService(
        runner, watchers, lambda: presence.runner_id, address, outbox.unstored_ends
    )
    internal.serve(
        RpcService(
            "spincycle.internal.v1.JobRunnerService",
            partial(add_JobRunnerServiceServicer_to_server, service),
        )
    )
    peers = [
        Peer("request_manager", config.request_manager, COORDINATION),
        Peer("job_log", config.job_log, JOURNAL),
    ]
    vitals = Vitals(
        ready=[
            presence.is_heard,
            *(peer.is_right for peer in peers),
            lambda: not runner.draining,
            lambda: journal.oldest_unacknowledged < SLOW_AFTER,
        ],
        live=[presence.pulse.is_alive, outbox.pulse.is_alive],
    )
    await server.start()
    structlog.get_logger().info(
        "listening", advertised=address, runner_id=presence.runner_id, **server.addresses
    )
    try:
        async with (
            serve_metrics(_figures(runner, journal, server), config.metrics),
            asyncio.TaskGroup() as group,
        ):
            duties: dict[str, Callable[[], Coroutine[None, None, None]]] = {
                "journal": journal.run,
                "reports": lambda: outbox.run(lambda: presence.runner_id, runner.abandon),
                "presence": presence.run,
                "live output": output.run,
                "health": lambda: server.health.monitor(vitals),
                **{f"check of {peer.setting}": partial(peer.check, dial) for peer in peers},
            }
            tasks = [group.create_task(supervise(duty, work)) for duty, work in duties.items()]
            await shutdown.wait()
            await server.health.drain()
            await _drain(config, runner, presence, outbox)
            for task in tasks:
                task.cancel()
    finally:
        await server.stop(0.5)
        await journal.close()
        await output.close()
        await outbox.close()
        await presence.close()


def _figures(runner: JobRunner, journal: JournalStream, server: RpcServer) -> Metrics:
    figures = Metrics()
    figures.gauge("spincycle_chains", "Chains that are here", lambda: float(runner.chains))
    figures.gauge("spincycle_running_jobs", "Jobs that run", lambda: float(runner.jobs))
    figures.gauge(
        "spincycle_journal_backlog_seconds",
        "Age of the oldest journal entry that the job log has not acknowledged",
        lambda: journal.oldest_unacknowledged,
    )
    figures.gauge(
        "spincycle_draining",
        "1 once the runner takes nothing more, since it is to end",
        lambda: float(runner.draining),
    )
    figures.calls(server.calls)
    figures.bytes_in_flight(server.bytes_in_flight)
    return figures


async def _drain(
    config: JobRunnerConfig, runner: JobRunner, presence: RunnerPresence, outbox: Outbox
) -> None:
    log = structlog.get_logger()
    log.info("draining", chains=runner.chains)
    presence.draining = True
    left = await runner.drain(config.grace)
    try:
        async with asyncio.timeout(SHUTDOWN_TIMEOUT):
            await outbox.emptied()
    except TimeoutError:
        log.warning("reports left behind")
    for request_id in left:
        log.warning("left behind; another runner will take it over", request_id=request_id)
    await presence.leave()


def _run(work: Coroutine[None, None, int]) -> int:
    """Run on the standard event loop.

    Jobs start processes. uvloop forks for that, so that a child inherits what its siblings
    were given, and gRPC's fork handlers run in it; the standard loop does neither.
    """
    if sys.version_info < (3, 12):
        # Its default watches each process with a thread.
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    with asyncio.Runner() as runner:
        runner.get_loop().set_task_factory(contained_task)
        return runner.run(work)


main = service_command("job-runner", JobRunnerConfig, serve, _run)
