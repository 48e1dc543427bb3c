"""The job type kubernetes/job: a container, run to its end by a Kubernetes Job.

What is installed with the extra `kubernetes` is imported only when such a job runs.
"""
