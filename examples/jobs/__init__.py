"""The job types of the example specs: a fleet of small HTTP servers on one machine.

Load them with `--jobs examples.jobs:jobs` or the configuration key `jobs`. In an installed wheel
the package is `spincycle.examples.jobs`; its imports are relative for that reason.
"""

from spincycle.job import JobTypes

from . import fleet, hosts, pool

jobs = JobTypes.combine(fleet.jobs, hosts.jobs, pool.jobs)
