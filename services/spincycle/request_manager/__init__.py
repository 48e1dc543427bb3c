"""The request manager: specs, requests, and which runner has which."""

import spincycle.runtime.polling  # noqa: F401 # before gRPC is imported
