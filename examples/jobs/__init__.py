"""The job types of the example specs: a fleet of small HTTP servers on one machine.

Load them with `--jobs examples.jobs:jobs` or the configuration key `jobs`.
"""

from examples.jobs import fleet, hosts, pool

from spincycle.job import JobTypes

jobs = JobTypes.combine(fleet.jobs, hosts.jobs, pool.jobs)
