"""A standby that lags is promoted in place of the database.

Replication is asynchronous, so commits that were acknowledged may be missing afterwards. Faults
made here, chosen before any of them was run:

1. The connection of the standby to the primary is cut for some seconds under load, the primary is
   killed (SIGKILL), and the standby is promoted and takes over the primary's address. Runners and
   request managers live on.
2. The same, and the runners are restarted while the connection is cut, so that the promoted
   database knows only runners that are gone and the live ones know nothing of its requests.
3. The same as 1, and a runner is killed while the connection is cut, so that the requests that were
   recovered, with the epochs and fences of the recovery, go back to before it.
4. The same as 1, and requests are stopped and suspended just after the promotion.
"""

from __future__ import annotations
