"""The use cases of requests: create, rerun, control, read, explain."""
