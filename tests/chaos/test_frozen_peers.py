"""One process of each kind in turn is frozen for longer than a keepalive, and goes on later.

Faults made here, chosen before any of them was run: SIGSTOP for 30 s, then SIGCONT, under load,
with watchers of all requests and of single ones, and with HTTP clients of two gateways, of

1. a request manager,
2. a job log,
3. a runner,
4. a gateway.
"""

from __future__ import annotations
