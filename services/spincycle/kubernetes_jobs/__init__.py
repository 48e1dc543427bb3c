"""The job type kubernetes/job: runs a container as a Kubernetes Job.

The packages of the extra `kubernetes` are imported only when such a job runs.
"""

from spincycle.job.job_types import JobTypes
from spincycle.kubernetes_jobs.kubernetes_job import KubernetesJobFactory

jobs = JobTypes()
jobs.add("kubernetes/job", KubernetesJobFactory().make)
