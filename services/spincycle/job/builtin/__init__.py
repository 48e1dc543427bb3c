"""The built-in job types: noop, sleep and shell-command."""

from spincycle.job.builtin.noop import Noop
from spincycle.job.builtin.shell_command import ShellCommand
from spincycle.job.builtin.sleep import Sleep
from spincycle.job.job_types import JobTypes
from spincycle.model.job_chain import NOOP

jobs = JobTypes()
jobs.register(NOOP)(Noop)
jobs.register("sleep")(Sleep)
jobs.register("shell-command")(ShellCommand)
