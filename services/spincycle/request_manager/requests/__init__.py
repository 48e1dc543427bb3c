"""Use cases of requests: create, rerun, control, read, explain, list running jobs."""
