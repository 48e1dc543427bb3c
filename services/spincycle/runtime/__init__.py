"""The frame of every process: configuration, logs, signals, supervision, watchdogs, listeners."""
