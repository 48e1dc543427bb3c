"""The gateway: REST with the original's payload shapes in front of the gRPC services."""

import spincycle.runtime.polling  # noqa: F401 # before gRPC is imported
