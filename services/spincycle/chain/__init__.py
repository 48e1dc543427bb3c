"""The rules of a job chain under way: what may run, what a try's end means, what is on record.

Plain and synchronous: events go in, commands come out. The job runner carries the commands
out; the request manager replays journals.
"""
