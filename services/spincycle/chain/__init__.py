"""The rules of a running job chain, as a synchronous state machine: events in, commands out.

The job runner executes the commands; the request manager rebuilds chains from journals.
"""
