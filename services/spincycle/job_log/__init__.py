"""The job log: the durable journal of every try of every job."""
