"""The job types that every process knows: noop, sleep, shell-command and kubernetes/job."""

from spincycle.job.builtin.noop import Noop
from spincycle.job.builtin.shell_command import ShellCommand
from spincycle.job.builtin.sleep import Sleep
from spincycle.job.job_types import JobTypes
from spincycle.job.kubernetes.kubernetes_job import KubernetesJobFactory
from spincycle.job_chain import NOOP

jobs = JobTypes()
jobs.register(NOOP)(Noop)
jobs.register("sleep")(Sleep)
jobs.register("shell-command")(ShellCommand)
jobs.add("kubernetes/job", KubernetesJobFactory().make)
