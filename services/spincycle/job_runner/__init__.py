"""The job runner: executes job chains and journals every try."""

import os

import spincycle.runtime.polling  # noqa: F401 # before gRPC is imported

# Jobs may fork; gRPC's fork handlers must not run in their child processes.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
