"""The job runner: walks job chains, tries jobs, journals every try."""

import os

import spincycle.runtime.polling  # noqa: F401 # before gRPC is imported

# Jobs start processes, also by forking; gRPC's handlers have no business in those.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
