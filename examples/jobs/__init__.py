"""The job types of the example specs: a fleet of small HTTP servers on one machine.

A process gets them by `--jobs examples.jobs:jobs`, or by its configuration key `jobs`.
"""

from examples.jobs import fleet, hosts, pool

from spincycle.job import JobTypes

jobs = JobTypes.combine(fleet.jobs, hosts.jobs, pool.jobs)
