"""A backup of one of the two schemas, or of both, is restored while the other one is newer.

Faults made here, chosen before any of them was run: a runner is killed after the backup, so that
epochs and fences rise, and some seconds later under load one of these is restored:

1. `request_manager` alone: the journal and its fences are ahead of the rows.
2. `job_log` alone: the rows are ahead of the journal and its fences.
3. Both.

Each is restored both beneath services that run, in one transaction, and as docs/operations.md says:
all services are ended with SIGTERM, `pg_restore --clean`, all are started.
"""

from __future__ import annotations
