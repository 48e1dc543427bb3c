"""What holds for all tests."""

from __future__ import annotations

import os
import signal

# Tests start servers, under another account, from processes in which gRPC runs: Python must
# fork for that, and gRPC's own preparations for a fork crash the child now and then. They are
# for children that go on with gRPC, which ours never do.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from hypothesis import HealthCheck, settings

import spincycle.runtime.polling  # noqa: F401 # as in the services, before gRPC is imported

# Where tests run in the background Ctrl-C is ignored, and so it would be by all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no defect of what is tested.
settings.register_profile(
    "untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
