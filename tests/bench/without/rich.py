"""In the way of the real one, which only the tools of development bring along.

structlog imports it wherever it is, for tracebacks that no service draws: 4 MB a process.
"""

raise ImportError("services run without rich")
