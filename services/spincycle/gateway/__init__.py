"""The gateway: REST with the original's payload shapes in front of the gRPC services."""
