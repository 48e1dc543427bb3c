"""The disk of the whole database server, with its write-ahead log, fills up and is freed.

Faults made here, chosen before any of them was run:

1. All room is taken under load for longer than the silence limit of runners, then freed. The server
   lives: rows cannot be stored, and reads succeed.
2. The same, and another program writes to the write-ahead log until it needs a segment that does
   not fit: the server panics, and cannot be started again until there is room. Whoever supervises
   it starts it again and again.
"""

from __future__ import annotations
