"""The gateway serves the original's REST API over the gRPC services."""

import spincycle.runtime.polling  # noqa: F401 # before gRPC is imported
