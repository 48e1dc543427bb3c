"""The job type kubernetes/job: a container, run to its end by a Kubernetes Job.

What is installed with the extra `kubernetes` is imported only when such a job runs.
"""

from spincycle.job.job_types import JobTypes
from spincycle.kubernetes_jobs.kubernetes_job import KubernetesJobFactory

jobs = JobTypes()
jobs.add("kubernetes/job", KubernetesJobFactory().make)
