"""The request manager: specs, requests, and their assignment to runners."""

import spincycle.runtime.polling  # noqa: F401 # before gRPC is imported
