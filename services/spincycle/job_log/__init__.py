"""The job log: the durable journal of every try of every job."""

import spincycle.runtime.polling  # noqa: F401 # must precede the import of gRPC
