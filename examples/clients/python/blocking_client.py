"""A client of Spin Cycle that blocks, for scripts and threads.

    blocking_client.py run TYPE [NAME=VALUE ...] [--key=KEY]   create, watch, print the log
    blocking_client.py watch REQUEST [CURSOR]
    blocking_client.py log REQUEST
    blocking_client.py stop|suspend|resume REQUEST

Exit code: 0 done, 1 the request has not ended well, 2 refused, 3 nobody answers, 130 Ctrl-C.
"""

from __future__ import annotations

import sys
import time
import uuid
from typing import Any

import grpc
from channel import JOB_LOGS, OPTIONS, REQUEST_MANAGERS, target
from failure import Failure
from patience import CALL_TIMEOUT, Patience
from progress import FINAL, Progress, short, show_entry

from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub
from spincycle.v1.request_pb2 import Request


class Client:
    """What can be asked of the request managers and the job logs."""

    def __init__(self, managers: grpc.Channel, job_logs: grpc.Channel) -> None:
        self._manager = RequestManagerServiceStub(managers)
        self._job_log = JobLogServiceStub(job_logs)
        self.cursor = ""

    def create(self, type_: str, args: dict[str, str], key: str) -> Request:
        """Make a request, or find the one that an earlier call with this key has made."""
        message = rm.CreateRequest(type=type_, args=args, idempotency_key=key)
        return self._ask(self._manager.Create, message).request

    def get(self, request_id: str) -> Request:
        """A request as it is now."""
        return self._ask(self._manager.Get, rm.GetRequest(request_id=request_id)).request

    def stop(self, request_id: str) -> Request:
        """End a request for good."""
        message = rm.StopRequest(request_id=request_id, reason="stopped by the example")
        return self._ask(self._manager.Stop, message).request

    def suspend(self, request_id: str) -> Request:
        """Halt a request, with all that it has done saved."""
        message = rm.SuspendRequest(request_id=request_id, reason="suspended by the example")
        return self._ask(self._manager.Suspend, message).request

    def resume(self, request_id: str) -> Request:
        """Let a suspended request go on."""
        return self._ask(self._manager.Resume, rm.ResumeRequest(request_id=request_id)).request

    def watch(self, request_id: str, cursor: str = "") -> Request:
        """Show every change of a request until it has ended, over as many streams as it takes."""
        self.cursor = cursor
        progress, patience = Progress(), Patience()
        while True:
            # A stream may be silent for days, so it has no deadline; keepalive guards it.
            call = self._manager.Watch(
                rm.WatchRequest(request_ids=[request_id], cursor=self.cursor)
            )
            try:
                for answer in call:
                    for event in answer.events:
                        progress.show(event)
                        self.cursor = event.cursor or self.cursor
                        patience.renew()
                request = self.get(request_id)
                if request.state in FINAL:
                    return request
            except grpc.RpcError as error:
                failure = Failure.of(error)
                if failure.reason == "CURSOR_TOO_OLD":
                    self.cursor = ""  # What lies between is lost: begin with a snapshot.
                elif failure.reason != "WATCHER_TOO_SLOW" and not failure.is_passing:
                    raise failure
                if patience.is_over:
                    raise failure
                print(f"lost: {failure.reason}: {failure.message}", file=sys.stderr)
            finally:
                call.cancel()
            time.sleep(patience.pause())

    def log(self, request_id: str) -> None:
        """Show all finished tries of a request's jobs."""
        position, patience = 0, Patience()
        while True:
            message = jl.TailRequest(
                request_id=request_id, after_position=position, include_output=True
            )
            try:
                for response in self._job_log.Tail(message, timeout=60):
                    for event in response.events:
                        if event.HasField("entry"):
                            show_entry(event.entry)
                            position = event.entry.position
                    patience.renew()
                return
            except grpc.RpcError as error:
                failure = Failure.of(error)
                if not failure.is_passing or patience.is_over:
                    raise failure
            time.sleep(patience.pause())

    def _ask(self, call: Any, message: Any) -> Any:
        """Call until somebody answers. All that is asked here may be asked twice."""
        patience = Patience()
        while True:
            try:
                return call(message, timeout=CALL_TIMEOUT)
            except grpc.RpcError as error:
                failure = Failure.of(error)
                if not failure.is_passing or patience.is_over:
                    raise failure
            time.sleep(patience.pause())


def run(words: list[str]) -> int:
    """Do what the command line says; answer the exit code."""
    with (
        grpc.insecure_channel(target(REQUEST_MANAGERS), OPTIONS) as managers,
        grpc.insecure_channel(target(JOB_LOGS), OPTIONS) as job_logs,
    ):
        client = Client(managers, job_logs)
        match words:
            case ["run", type_, *rest]:
                keys = [word.removeprefix("--key=") for word in rest if word.startswith("--key=")]
                args = dict(word.split("=", 1) for word in rest if not word.startswith("--"))
                key = keys[0] if keys else uuid.uuid4().hex
                print(f"key {key}", flush=True)
                request = client.create(type_, args, key)
                print(f"request {request.id}", flush=True)
                request = watch(client, request.id)
                client.log(request.id)
            case ["watch", request_id, *cursor]:
                request = watch(client, request_id, *cursor[:1])
            case ["log", request_id]:
                client.log(request_id)
                return 0
            case ["stop" | "suspend" | "resume" as verb, request_id]:
                request = getattr(client, verb)(request_id)
                print(request.id, short(request.state))
                return 0
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    print(f"ended {short(request.state)} {request.finished_jobs}/{request.total_jobs}")
    return 0 if short(request.state) == "COMPLETE" else 1


def watch(client: Client, request_id: str, cursor: str = "") -> Request:
    """Watch; at Ctrl-C, say how to go on."""
    try:
        return client.watch(request_id, cursor)
    except KeyboardInterrupt:
        print(f"left; go on with: watch {request_id} {client.cursor}", file=sys.stderr)
        raise


def main() -> int:
    """Run; say what went wrong."""
    try:
        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130
    except Failure as failure:
        print(failure.explained, file=sys.stderr)
        return 3 if failure.is_passing else 2


if __name__ == "__main__":
    sys.exit(main())
